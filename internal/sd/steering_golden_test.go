package sd

import (
	"fmt"
	"slices"
	"testing"

	"waggle/internal/goldens"
	"waggle/internal/nn"
	"waggle/internal/weights"
)

// openTensors opens a weight file of the golden set.
func openTensors(t *testing.T, name string) weights.Source {
	t.Helper()
	f, err := weights.Open(goldens.Path(t, "models/"+name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// forwardOf is a case of forwards/index.json under test.
func forwardOf(t *testing.T, with compiler, name string) *forward {
	t.Helper()
	var index struct{ Cases map[string]forwardCase }
	goldens.JSON(t, "forwards/index.json", &index)
	c := index.Cases[name]
	return &forward{T: t, with: with, c: c, name: name, in: goldens.Tensors(t, goldens.Path(t, "forwards/"+name+".safetensors"))}
}

// compiled gives a graph's program its inputs and runs it.
func (f *forward) compiled(g *nn.Graph, src weights.Source, inputs map[string][]float32) program {
	f.Helper()
	p, err := f.with.compile(g, src)
	f.must(err)
	f.Cleanup(p.Close)
	f.give(p, inputs)
	f.must(p.Run())
	return p
}

// affine is a·v + b.
func affine(v []float32, a, b float32) []float32 {
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = a*x + b
	}
	return out
}

func TestGoldenTiny(t *testing.T) { testTiny(t, plainGo{}) }

func TestGoldenTinyGPU(t *testing.T) { testTiny(t, testGPU(t, testDevice(t), nn.Options{})) }

// testTiny runs TAESD from its two files and from diffusers' one.
func testTiny(t *testing.T, with compiler) {
	for _, size := range []string{"taesd.8x16", "taesd.9x6"} {
		for layout, files := range map[string][2]string{"files": {"taesd_encoder.safetensors", "taesd_decoder.safetensors"},
			"folder": {"taesd/diffusion_pytorch_model.safetensors", "taesd/diffusion_pytorch_model.safetensors"}} {
			t.Run(size+"/"+layout, func(t *testing.T) {
				f := forwardOf(t, with, size)
				encoder, err := readTiny(openTensors(t, files[0]))
				f.must(err)
				decoder, err := readTiny(openTensors(t, files[1]))
				f.must(err)
				f.tiny(encoder, decoder)
			})
		}
	}
}

// tiny compares both halves of a TAESD.
func (f *forward) tiny(encoder, decoder network[TinyConfig]) {
	z, picture := f.in["in.z"], f.in["in.image"]
	p := f.compiled(tinyEncodeGraph(encoder, z.Shape[0], z.Shape[2], z.Shape[3]), encoder.tensors,
		map[string][]float32{"picture": affine(channelsLast(picture), 0.5, 0.5)})
	f.compare(p, "latent", "latents")
	p = f.compiled(tinyDecodeGraph(decoder, z.Shape[0], z.Shape[2], z.Shape[3]), decoder.tensors,
		map[string][]float32{"latent": tinyLatent(channelsLast(z))})
	out, err := p.Output("picture")
	f.must(err)
	f.near(affine(out, 2, -1), "decoded")
}

// configOf is a golden model's config.json, or nil.
func configOf(t *testing.T, name string) []byte {
	if name == "" {
		return nil
	}
	return goldens.Bytes(t, "models/"+name+"/config.json")
}

func TestGoldenControl(t *testing.T) { testControl(t, plainGo{}) }

func TestGoldenControlGPU(t *testing.T) { testControl(t, testGPU(t, testDevice(t), nn.Options{})) }

// testControl runs ControlNets, and the UNet that they steer, from an original file without configuration, the same with it,
// and diffusers' own.
func testControl(t *testing.T, with compiler) {
	for name, c := range map[string]struct {
		forward, unet, file, config string
		family                      family
	}{
		"sd1 by its tensors": {"controlnet-sd1.8x16", "sd1", "controlnet-sd1.safetensors", "", sd1},
		"sd1":                {"controlnet-sd1.8x16", "sd1", "controlnet-sd1.safetensors", "controlnet-sd1", sd1},
		"sdxl":               {"controlnet-sdxl.8x12", "sdxl", "controlnet-sdxl/diffusion_pytorch_model.safetensors", "controlnet-sdxl", sdxl},
	} {
		t.Run(name, func(t *testing.T) {
			f := forwardOf(t, with, c.forward)
			control, err := readControl(openTensors(t, c.file), configOf(t, c.config), c.family)
			f.must(err)
			f.networks = goldenNetworks(t, c.unet, "file")
			f.control(control)
		})
	}
}

// control compares a ControlNet's results, and what the UNet predicts with and without them.
func (f *forward) control(n network[ControlConfig]) {
	sample, tokens := f.in["in.sample"], f.in["in.ctx"].Shape[1]
	batch, height, width := sample.Shape[0], sample.Shape[2], sample.Shape[3]
	inputs := f.unetValues(n.config.UNet)
	inputs["picture"] = channelsLast(f.in["in.image"])
	p := f.compiled(controlGraph(n, batch, height, width, tokens), n.tensors, inputs)
	delete(inputs, "picture")
	skips, _ := n.config.UNet.sizes(height, width)
	var results [][]float32
	for i := range len(skips) + 1 {
		name := fmt.Sprintf("control.%d", i)
		v, err := p.Output(name)
		f.must(err)
		results = append(results, v)
		if i < len(skips) {
			f.compare(p, name, fmt.Sprintf("down%d", i))
		} else {
			f.compare(p, name, "mid")
		}
	}
	unet := f.networks.unet
	for golden, scales := range map[string][]float64{"eps_scale1": controlScales(len(results), 1, false), "eps_scale0.65": controlScales(len(results), 0.65, false),
		"eps_guess": controlScales(len(results), 1, true), "eps_without": controlScales(len(results), 0, false)} {
		for i, v := range results {
			inputs[fmt.Sprintf("control.%d", i)] = affine(v, float32(scales[i]), 0)
		}
		p := f.compiled(steeredGraph(unet, batch, height, width, tokens, true, false), unet.tensors, inputs)
		f.compare(p, "prediction", golden)
	}
}

// unetValues are what a case gives a UNet, each row at its own time.
func (f *forward) unetValues(c UNetConfig) map[string][]float32 {
	inputs := map[string][]float32{"sample": channelsLast(f.in["in.sample"]), "context": f.in["in.ctx"].Float32s}
	for i, t := range append(f.in["in.t"].Float32s, floats(f.in["in.t"].Int64s)...) {
		inputs["time"] = append(inputs["time"], c.time(float64(t))...)
		if c.Added > 0 {
			inputs["added"] = append(inputs["added"], added(c, f.in["in.text_embeds"].Row(i), f.in["in.time_ids"].Row(i))...)
		}
	}
	return inputs
}

func TestGoldenAdapter(t *testing.T) { testAdapter(t, plainGo{}) }

func TestGoldenAdapterGPU(t *testing.T) { testAdapter(t, testGPU(t, testDevice(t), nn.Options{})) }

// testAdapter runs a T2I-Adapter, and the UNet that it steers.
func testAdapter(t *testing.T, with compiler) {
	for name, c := range map[string]struct{ file, config string }{
		"original": {"t2i-adapter-sd1.safetensors", ""},
		"folder":   {"t2i-adapter-sd1/diffusion_pytorch_model.safetensors", "t2i-adapter-sd1"},
	} {
		t.Run(name, func(t *testing.T) {
			f := forwardOf(t, with, "t2i-adapter-sd1.8x16")
			adapter, err := readAdapter(openTensors(t, c.file), configOf(t, c.config))
			f.must(err)
			f.networks = goldenNetworks(t, "sd1", "file")
			f.adapter(adapter)
		})
	}
}

func (f *forward) adapter(n network[AdapterConfig]) {
	sample, picture, unet := f.in["in.sample"], f.in["in.image"], f.networks.unet
	batch, height, width := sample.Shape[0], sample.Shape[2], sample.Shape[3]
	pixels := unshuffled(channelsLast(picture), picture.Shape[2], picture.Shape[3], n.config.Picture, n.config.Factor)
	p := f.compiled(adapterGraph(n, 1, height, width), n.tensors, map[string][]float32{"picture": pixels})
	for golden, scale := range map[string]float32{"eps_scale1": 1, "eps_scale0.6": 0.6} {
		inputs := f.unetValues(unet.config)
		for i := range n.config.Widths {
			name := fmt.Sprintf("feature.%d", i)
			f.compare(p, name, fmt.Sprintf("feature%d", i))
			v, err := p.Output(name)
			f.must(err)
			inputs[name] = slices.Repeat(affine(v, scale, 0), batch) // one picture for all rows
		}
		f.compare(f.compiled(steeredGraph(unet, batch, height, width, f.in["in.ctx"].Shape[1], false, true), unet.tensors, inputs), "prediction", golden)
	}
}
