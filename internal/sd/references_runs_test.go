package sd

import (
	"maps"
	"slices"
	"testing"

	"waggle/internal/goldens"
	"waggle/internal/nn"
)

// referenceRun is an entry of runs/index.json: what a pipeline of diffusers was asked for.
type referenceRun struct {
	File, Model, Sampler string
	Steps                int
	Guidance, Rescale    float64
	Seed                 uint64
	Tensors              map[string]struct{ Atol float64 }
}

// TestGoldenRuns draws whole pictures in the manner of diffusers, noise included, from token ids and a seed.
func TestGoldenRuns(t *testing.T) { testReferenceRuns(t, plainGo{}) }

func TestGoldenRunsGPU(t *testing.T) {
	testReferenceRuns(t, testGPU(t, testDevice(t), nn.Options{}))
}

func testReferenceRuns(t *testing.T, with compiler) {
	var index struct{ Cases map[string]referenceRun }
	goldens.JSON(t, goldens.Reference(t, "runs/index.json"), &index)
	for _, name := range slices.Sorted(maps.Keys(index.Cases)) {
		t.Run(name, func(t *testing.T) {
			c := index.Cases[name]
			p, err := newPipeline(with, openReference(t, c.Model))
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			c.check(t, p)
		})
	}
}

// check draws the run's picture and compares text states, latent and, where given, the picture.
func (c referenceRun) check(t *testing.T, p *Pipeline) {
	s, err := p.settle(Request{Width: 96, Height: 64, Steps: c.Steps, Guidance: max(c.Guidance, 1), GuidanceRescale: c.Rescale,
		Sampler: c.Sampler, Dialect: "diffusers", Seed: c.Seed})
	if err != nil {
		t.Fatal(err)
	}
	run := runCase{Outputs: map[string]struct{ Atol, Tolerance float64 }{}}
	for name, tensor := range c.Tensors {
		run.Outputs[name[len("out."):]] = struct{ Atol, Tolerance float64 }{Atol: tensor.Atol}
	}
	r := goldenRun{T: t, Pipeline: p, c: run, in: goldens.Tensors(t, goldens.Reference(t, "runs/"+c.File))}
	prompts := []conditioning{r.conditioning("neg_"), r.conditioning("")}
	d, err := p.begin(s)
	if err != nil {
		t.Fatal(err)
	}
	d.prompts = prompts[2-s.passes:]
	for !d.Done() {
		if err := p.Step(d); err != nil {
			t.Fatal(err)
		}
	}
	r.near("latents", d.latent)
	if _, ok := r.in["out.image"]; ok {
		picture, err := p.decode(s, d.latent)
		if err != nil {
			t.Fatal(err)
		}
		r.near("image", transposed(unitRange(picture), 1, s.Width*s.Height, 3))
	}
}

// unitRange clamps a picture of −1…1 to 0…1, as diffusers gives it.
func unitRange(picture []float32) []float32 {
	out := make([]float32, len(picture))
	for i, v := range picture {
		out[i] = min(max(v/2+0.5, 0), 1)
	}
	return out
}
