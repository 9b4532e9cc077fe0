package sd

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"waggle/internal/goldens"
	"waggle/internal/lora"
	"waggle/internal/nn"
	"waggle/internal/weights"
)

// loraCase is an entry of lora/index.json.
type loraCase struct {
	Model     string
	Files     []string
	Result    string
	Strengths []float64
	Outputs   map[string]struct{ Atol float64 }
	Keys      int
}

// TestGoldenLoRA merges every file of the golden set into its model and compares the networks' outputs, in plain Go.
func TestGoldenLoRA(t *testing.T) { testLoRAs(t, plainGo{}) }

// TestGoldenLoRAGPU does it with the kernels that suit the device and compares the outputs.
func TestGoldenLoRAGPU(t *testing.T) { testLoRAs(t, testGPU(t, testDevice(t), nn.Options{})) }

func testLoRAs(t *testing.T, with compiler) {
	var index struct{ Cases map[string]loraCase }
	goldens.JSON(t, "lora/index.json", &index)
	for _, name := range slices.Sorted(maps.Keys(index.Cases)) {
		c := index.Cases[name]
		t.Run(name, func(t *testing.T) {
			n := goldenNetworks(t, c.Model, "file")
			in := goldens.Tensors(t, "lora/"+c.Result)
			for _, strength := range c.Strengths {
				l := loraTest{forward: forward{T: t, with: with, networks: n, in: in}, c: c, uses: c.open(t, n, strength), suffix: fmt.Sprintf("_s%v", strength)}
				l.run()
			}
		})
	}
}

// open matches the files of a case, each of which must match the model in full.
func (c loraCase) open(t *testing.T, n Networks, strength float64) (uses []lora.Use) {
	files, strengths := c.Files, []float64{strength}
	if len(files) == 0 {
		files, strengths = []string{"sd1-kohya.safetensors", "sd1-loha.safetensors"}, []float64{0.8, 0.5} // as the formula of the case says
	}
	for i, name := range files {
		f, err := weights.Open(goldens.Path(t, "lora/"+name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		l, err := lora.Match(f, n.loraParts())
		if err != nil {
			t.Fatal(err)
		}
		if r := l.Report; r.Unmatched+r.Misshapen > 0 {
			t.Errorf("%s: %v, want all matched", name, r)
		}
		uses = append(uses, lora.Use{LoRA: l, Strength: strengths[i]})
	}
	return uses
}

// loraTest is one golden case at one strength.
type loraTest struct {
	forward
	c      loraCase
	uses   []lora.Use
	suffix string
}

func (l *loraTest) run() {
	if _, ok := l.c.Outputs["eps"+l.suffix]; ok {
		l.near("eps"+l.suffix, l.unet())
	}
	for i, output := range []string{"text_last_hidden", "text2_last_hidden"} {
		if _, ok := l.c.Outputs[output+l.suffix]; ok {
			l.near(output+l.suffix, l.text(i))
		}
	}
}

func (l *loraTest) near(output string, got []float32) {
	want := l.in["out."+output]
	if len(want.Shape) == 4 {
		got = channelsFirst(got, want.Shape)
	}
	atol := l.c.Outputs[output].Atol
	goldens.Near(l, output, got, want.Float32s, atol)
	d, _ := goldens.Worst(got, want.Float32s)
	l.Logf("%s: %.2f of the tolerance", output, d/atol)
}

// source is a part's tensors with the case's changes.
func (l *loraTest) source(k lora.Kind, base weights.Source) weights.Source {
	if m := lora.Merge(base, k, l.uses); m != nil {
		return m
	}
	return base
}

func (l *loraTest) unet() []float32 {
	n, sample, ctx := l.networks.unet, l.in["in.sample"], l.in["in.ctx"]
	batch := sample.Shape[0]
	src := l.source(lora.UNet, n.tensors)
	n.tensors = src
	p, err := l.with.compile(unetGraph(n, batch, sample.Shape[2], sample.Shape[3], ctx.Shape[1]), src)
	l.must(err)
	defer p.Close()
	inputs := map[string][]float32{"sample": channelsLast(sample), "context": ctx.Float32s}
	for i := range batch {
		inputs["time"] = append(inputs["time"], n.config.time(float64(l.in["in.t"].Int64s[i]))...)
		if n.config.Added > 0 {
			inputs["added"] = append(inputs["added"], added(n.config, l.in["in.text_embeds"].Row(i), l.in["in.time_ids"].Row(i))...)
		}
	}
	l.give(p, inputs)
	l.must(p.Run())
	out, err := p.Output("prediction")
	l.must(err)
	return out
}

// text is the last hidden states of text encoder i.
func (l *loraTest) text(i int) []float32 {
	n := l.networks.text[i]
	src := l.source(lora.Text+lora.Kind(i), n.tensors)
	g := nn.NewGraph(src)
	ids := l.in[[]string{"in.text_ids", "in.text2_ids"}[i]]
	g.Output("last", TextEncoder(g, n.config, g.Input("ids", nn.PerJob, ids.Shape[0], ids.Shape[1], 1)).Last)
	p, err := l.with.compile(g, src)
	l.must(err)
	defer p.Close()
	l.give(p, map[string][]float32{"ids": floats(ids.Int64s)})
	l.must(p.Run())
	out, err := p.Output("last")
	l.must(err)
	return out
}
