package sd

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"waggle/internal/goldens"
	"waggle/internal/models"
	"waggle/internal/nn"
	"waggle/internal/sampler"
)

// Tolerances for the built-in model in float32: shares of the greatest value of the reference.
const (
	tinyForward    = 1e-5
	tinyTrajectory = 1e-4 // twenty steps with guidance 5
)

// TestGoldenTinyShapes compares the built-in model with its reference: text states, predictions, autoencoder, trajectories.
func TestGoldenTinyShapes(t *testing.T) { testTinyShapes(t, plainGo{}, false) }

// testTinyShapes runs all trajectories, or the first only.
func testTinyShapes(t *testing.T, with compiler, all bool) {
	folder := goldens.Model(t, "tiny-shapes-golden")
	in := goldens.Tensors(t, filepath.Join(folder, "golden.safetensors"))
	var about struct {
		Prompts   []string
		Guidance  float64
		Schedules map[string]struct{ Config json.RawMessage }
	}
	goldens.JSON(t, filepath.Join(folder, "golden.json"), &about)
	p := tinyPipeline(t, with)
	g := tinyGolden{t, p, in}
	g.text(about.Prompts)
	for prompt := range about.Prompts {
		g.predictions(prompt)
	}
	g.autoencoder()
	for _, name := range slices.Sorted(maps.Keys(about.Schedules)) {
		config, err := sampler.ParseConfig(about.Schedules[name].Config)
		if err != nil {
			t.Fatal(err)
		}
		for prompt, text := range about.Prompts {
			if !all && (name != "ddim" || prompt > 0) {
				continue
			}
			t.Run(fmt.Sprint(name, prompt), func(t *testing.T) {
				tinyGolden{t, p, in}.trajectory(fmt.Sprintf("p%d.", prompt), name, text, about.Guidance, config)
			})
		}
	}
}

// TestGoldenTinyShapesFile is TestGoldenTinyShapes for the single file, which has neither configuration nor tokenizer: those
// of the pipeline are the built-in model's.
func TestGoldenTinyShapesFile(t *testing.T) {
	m, err := models.Open(filepath.Join(goldens.Model(t, "tiny-shapes-ldm"), "tiny-shapes.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	p := tinyPipeline(t, testGPU(t, testDevice(t), nn.Options{}))
	if p.networks, p.family, err = readNetworks(m); err != nil {
		t.Fatal(err)
	}
	g := tinyGolden{t, p, goldens.Tensors(t, filepath.Join(goldens.Model(t, "tiny-shapes-golden"), "golden.safetensors"))}
	g.text([]string{"a red circle on a blue background"})
	g.predictions(0)
	g.autoencoder()
}

func tinyPipeline(t testing.TB, with compiler) *Pipeline {
	t.Helper()
	m, err := models.Open("tiny-shapes")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	p, err := newPipeline(with, m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

type tinyGolden struct {
	*testing.T
	*Pipeline
	in map[string]goldens.Tensor
}

// near compares values as the golden tensor stores them.
func (g tinyGolden) near(name string, got []float32, share float64) {
	g.Helper()
	want := g.in[name].Float32s
	greatest, _ := goldens.Worst(want, make([]float32, len(want)))
	goldens.Near(g, name, got, want, share*greatest)
	if len(got) == len(want) {
		d, at := goldens.Worst(got, want)
		g.Logf("%s: greatest difference %.2g at %d (values to %.3g)", name, d, at, greatest)
	}
}

func (g tinyGolden) text(prompts []string) {
	for i, text := range append([]string{""}, prompts...) {
		name := fmt.Sprintf("p%d", i-1)
		if i == 0 {
			name = "uncond"
		}
		all, err := g.tokenize(text)
		if err != nil {
			g.Fatal(err)
		}
		if got, want := all[0][0].ids, ids(g.in[name+".ids"]); !slices.Equal(got, want) {
			g.Errorf("%s.ids: got %v, want %v", name, got, want)
		}
		g.near(name+".hidden", g.conditioning(text).context, tinyForward)
	}
}

func (g tinyGolden) conditioning(text string) conditioning {
	g.Helper()
	all, err := g.tokenize(text)
	if err != nil {
		g.Fatal(err)
	}
	c, err := g.encode(all, 0)
	if err != nil {
		g.Fatal(err)
	}
	return c
}

// predictions of the UNet: empty prompt and golden one in one batch, at every timestep given.
func (g tinyGolden) predictions(prompt int) {
	prefix := fmt.Sprintf("p%d.", prompt)
	noise := channelsLast(g.in[prefix+"noise"])
	unet, err := g.program("predictions", g.networks.unet.tensors, func() *nn.Graph { return unetGraph(g.networks.unet, 2, 16, 16, 77) })
	if err != nil {
		g.Fatal(err)
	}
	for name := range g.in {
		var time float64
		if n, _ := fmt.Sscanf(name, prefix+"eps.t%g", &time); n == 0 {
			continue
		}
		hidden := [2]conditioning{{context: g.in["uncond.hidden"].Float32s}, {context: g.in[prefix+"hidden"].Float32s}}
		c := g.networks.unet.config
		inputs := c.conditions(hidden[:], 0, 0, 1)
		inputs["time"], inputs["sample"] = slices.Repeat(c.time(time), 2), slices.Repeat(noise, 2)
		out, err := run(unet, inputs, "prediction")
		if err != nil {
			g.Fatal(err)
		}
		out = transposed(out, 2, 256, 4)
		g.near(strings.Replace(name, "eps", "eps_uncond", 1), out[:len(noise)], tinyForward)
		g.near(name, out[len(noise):], tinyForward)
	}
}

func (g tinyGolden) autoencoder() {
	n := g.networks.vae
	decoder, err := g.program("decoder", n.tensors, func() *nn.Graph { return decodeGraph(n, 16, 16) })
	if err != nil {
		g.Fatal(err)
	}
	picture, err := run(decoder, map[string][]float32{"latent": channelsLast(g.in["vae.decode.latents"])}, "picture")
	if err != nil {
		g.Fatal(err)
	}
	g.near("vae.decode.image", transposed(picture, 1, 128*128, 3), tinyForward)
	encoder, err := g.program("encoder", n.tensors, func() *nn.Graph { return encodeGraph(n, 16, 16) })
	if err != nil {
		g.Fatal(err)
	}
	mean, err := run(encoder, map[string][]float32{"picture": channelsLast(g.in["vae.encode.image"])}, "mean")
	if err != nil {
		g.Fatal(err)
	}
	logvar, err := encoder.Output("logvar")
	if err != nil {
		g.Fatal(err)
	}
	g.near("vae.encode.mean", transposed(mean, 1, 256, 4), tinyForward)
	g.near("vae.encode.logvar", transposed(logvar, 1, 256, 4), tinyForward)
}

// trajectory compares the latents before, between and after all steps.
func (g tinyGolden) trajectory(prefix, schedule, text string, guidance float64, config sampler.Config) {
	own := *g.Pipeline
	var err error
	if own.model, err = sampler.NewModel(config); err != nil {
		g.Fatal(err)
	}
	method, _, _ := strings.Cut(schedule, "_")
	s, err := own.settle(Request{Sampler: method, Guidance: guidance, Dialect: "diffusers", Steps: 20})
	if err != nil {
		g.Fatal(err)
	}
	prompts := []conditioning{g.conditioning(""), g.conditioning(text)}
	d := drawingOn(g.T, &own, s, g.in[prefix+"noise"].Float32s, prompts)
	all := slices.Clone(d.latent)
	for !d.Done() {
		if err := own.Step(d); err != nil {
			g.Fatal(err)
		}
		all = append(all, d.latent...)
	}
	g.near(prefix+schedule+".latents", all, tinyTrajectory)
}
