package sd

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"waggle/internal/goldens"
	"waggle/internal/nn"
)

// forwardCase is an entry of forwards/index.json.
type forwardCase struct {
	File, Model, Kind string
	Tensors           map[string]struct{ Atol float64 }
}

// TestGoldenForwards runs every text encoder, UNet and autoencoder pass of the golden set in plain Go.
func TestGoldenForwards(t *testing.T) { testForwards(t, plainGo{}, "") }

// testForwards runs the cases of one model, or of all.
func testForwards(t *testing.T, with compiler, model string) {
	var index struct{ Cases map[string]forwardCase }
	goldens.JSON(t, "forwards/index.json", &index)
	for _, name := range slices.Sorted(maps.Keys(index.Cases)) {
		c := index.Cases[name]
		run := map[string]func(*forward){"text": (*forward).text, "unet": (*forward).unet, "vae": (*forward).vae}[c.Kind]
		if run == nil || model != "" && model != c.Model {
			continue // networks of later work: control, adapters
		}
		for _, layout := range []string{"folder", "file"} {
			t.Run(name+"/"+layout, func(t *testing.T) {
				f := &forward{T: t, with: with, c: c, name: name, networks: goldenNetworks(t, c.Model, layout)}
				f.in = goldens.Tensors(t, "forwards/"+c.File)
				run(f)
				t.Logf("greatest share of the tolerance: %.2f at %s", f.worst, f.worstAt)
			})
		}
	}
}

// forward is one golden pass under test.
type forward struct {
	*testing.T
	with     compiler
	c        forwardCase
	name     string
	networks Networks
	in       map[string]goldens.Tensor

	worst   float64 // greatest difference as a share of its tolerance
	worstAt string
}

// give sets the inputs of p.
func (f *forward) give(p program, inputs map[string][]float32) {
	f.Helper()
	for name, v := range inputs {
		f.must(p.SetInput(name, v))
	}
}

func (f *forward) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// compare an output of p with the golden tensor "out."+golden, whose channels come first if it is a picture.
func (f *forward) compare(p program, output, golden string) {
	f.Helper()
	got, err := p.Output(output)
	f.must(err)
	f.near(got, golden)
}

func (f *forward) near(got []float32, golden string) {
	f.Helper()
	want, atol := f.in["out."+golden], f.c.Tensors["out."+golden].Atol
	if want.Float32s == nil || atol <= 0 {
		f.Fatalf("golden tensor out.%s or its tolerance is missing", golden)
	}
	if len(want.Shape) == 4 {
		got = channelsFirst(got, want.Shape)
	}
	goldens.Near(f, golden, got, want.Float32s, atol)
	if d, at := goldens.Worst(got, want.Float32s); d/atol > f.worst {
		f.worst, f.worstAt = d/atol, fmt.Sprintf("%s[%d]", golden, at)
	}
}

// text compares every state of a text encoder, one chunk after another.
func (f *forward) text() {
	n := f.networks.text[cmp.Compare(strings.Count(f.name, "_2"), 0)]
	g := nn.NewGraph(n.tensors)
	ids := f.in["in.ids"]
	states := TextEncoder(g, n.config, g.Input("ids", nn.PerJob, ids.Shape[0], ids.Shape[1], 1))
	last := len(states.Layers) - 1
	for name, t := range map[string]nn.Tensor{"embeddings": states.Layers[0], "layer0": states.Layers[1],
		"penultimate": states.Layers[last-1], "last_before_ln": states.Layers[last], "last_hidden": states.Last,
		"penultimate_ln": finalNorm(g.Scope("text_model"), n.config, states.Layers[last-1])} {
		g.Output(name, t)
	}
	if n.config.Projection > 0 {
		g.Output("text_embeds", states.pooled(g, n.config))
	}
	p, err := f.with.compile(g, n.tensors)
	f.must(err)
	f.give(p, map[string][]float32{"ids": floats(ids.Int64s)})
	f.must(p.Run())
	for name := range f.c.Tensors {
		output, ok := strings.CutPrefix(name, "out.")
		switch {
		case !ok:
		case output == "pooled" || output == "text_embeds":
			f.pooled(p, n.config, output)
		default:
			f.compare(p, output, output)
		}
	}
}

// pooled compares the row of the first end-of-text token, which has the greatest id.
func (f *forward) pooled(p program, c TextConfig, golden string) {
	output := map[string]string{"pooled": "last_hidden", "text_embeds": "text_embeds"}[golden]
	all, err := p.Output(output)
	f.must(err)
	var got []float32
	ids := f.in["in.ids"]
	for i := range ids.Shape[0] {
		row := ids.Int64s[i*ids.Shape[1]:][:ids.Shape[1]]
		at, width := slices.Index(row, slices.Max(row)), len(all)/len(ids.Int64s)
		got = append(got, all[(i*ids.Shape[1]+at)*width:][:width]...)
	}
	f.near(got, golden)
}

// unet compares the predictions at every timestep of the case.
func (f *forward) unet() {
	n, sample, ctx := f.networks.unet, f.in["in.sample"], f.in["in.ctx"]
	batch, times := sample.Shape[0], f.in["in.t"].Float32s
	p, err := f.with.compile(unetGraph(n, batch, sample.Shape[2], sample.Shape[3], ctx.Shape[1]), n.tensors)
	f.must(err)
	defer p.Close()
	inputs := map[string][]float32{"sample": channelsLast(sample), "context": ctx.Float32s}
	if n.config.Added > 0 {
		for i := range batch {
			inputs["added"] = append(inputs["added"], added(n.config, f.in["in.text_embeds"].Row(i), f.in["in.time_ids"].Row(i))...)
		}
	}
	if cond, ok := f.in["in.time_cond"]; ok {
		inputs["guidance"] = cond.Float32s
	}
	f.give(p, inputs)
	for step, t := range times {
		f.must(p.SetInput("time", slices.Repeat(n.config.time(float64(t)), batch)))
		f.must(p.Run())
		f.compare(p, "prediction", fmt.Sprintf("eps_t%d", step))
	}
}

// vae compares the decoder and the encoder.
func (f *forward) vae() {
	n, z := f.networks.vae, f.in["in.z"]
	decode, err := f.with.compile(decodeGraph(n, z.Shape[2], z.Shape[3]), n.tensors)
	f.must(err)
	defer decode.Close()
	f.give(decode, map[string][]float32{"latent": channelsLast(z)})
	f.must(decode.Run())
	f.compare(decode, "picture", "decoded")

	encode, err := f.with.compile(encodeGraph(n, z.Shape[2], z.Shape[3]), n.tensors)
	f.must(err)
	defer encode.Close()
	f.give(encode, map[string][]float32{"picture": channelsLast(f.in["in.image"])})
	f.must(encode.Run())
	f.compare(encode, "mean", "mean")
	f.compare(encode, "logvar", "logvar")
}

// floats turns token ids into the numbers a graph takes.
func floats(ids []int64) []float32 {
	v := make([]float32, len(ids))
	for i, id := range ids {
		v[i] = float32(id)
	}
	return v
}

// channelsLast reorders [N,C,H,W] → [N,H,W,C].
func channelsLast(t goldens.Tensor) []float32 {
	return transposed(t.Float32s, t.Shape[0], t.Shape[1], t.Shape[2]*t.Shape[3])
}

// channelsFirst reorders [N,H,W,C] → shape [N,C,H,W].
func channelsFirst(v []float32, shape []int) []float32 {
	return transposed(v, shape[0], shape[2]*shape[3], shape[1])
}
