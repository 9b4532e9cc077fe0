package sd

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"waggle/internal/goldens"
)

// runCase is an entry of pipeline/index.json.
type runCase struct {
	File, Model string
	Outputs     map[string]struct{ Atol, Tolerance float64 }
}

// TestGoldenPipeline draws the golden pictures from their token ids and noise in plain Go. Without -short it takes minutes.
func TestGoldenPipeline(t *testing.T) { testPipelines(t, plainGo{}, 4) }

// testPipelines runs the text-to-picture cases of up to maxSteps steps.
func testPipelines(t *testing.T, with compiler, maxSteps int) {
	var index struct{ Cases map[string]runCase }
	goldens.JSON(t, "pipeline/index.json", &index)
	for _, name := range slices.Sorted(maps.Keys(index.Cases)) {
		var method, steps = "", 0
		fields := strings.Split(name, ".")
		if len(fields) != 4 || fields[1] != "txt2img" {
			continue // later work: other pictures as input, control networks
		}
		method = fields[2]
		fmt.Sscan(fields[3], &steps)
		if steps > maxSteps {
			t.Logf("%s: more than %d steps, left to the GPU", name, maxSteps)
			continue
		}
		for _, layout := range []string{"folder", "file"} {
			t.Run(name+"/"+layout, func(t *testing.T) {
				c := index.Cases[name]
				p, err := newPipeline(with, openGolden(t, c.Model, layout))
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				goldenRun{T: t, Pipeline: p, c: c, in: goldens.Tensors(t, "pipeline/"+c.File)}.check(method, steps)
			})
		}
	}
}

type goldenRun struct {
	*testing.T
	*Pipeline
	c  runCase
	in map[string]goldens.Tensor
}

func (r goldenRun) check(method string, steps int) {
	z := r.in["in.noise"]
	factor := r.networks.vae.config.Factor()
	name, schedule, _ := strings.Cut(method, "_karras")
	if name != method {
		schedule = "karras"
	}
	s, err := r.settle(Request{Width: z.Shape[3] * factor, Height: z.Shape[2] * factor, Steps: steps, Guidance: 7.5,
		Sampler: name, Schedule: schedule})
	if err != nil {
		r.Fatal(err)
	}
	prompts := []conditioning{r.conditioning("neg_"), r.conditioning("")}
	d := drawingOn(r.T, r.Pipeline, s, z.Float32s, prompts)
	for !d.Done() {
		if err := r.Step(d); err != nil {
			r.Fatal(err)
		}
	}
	r.near("latents", d.latent)
	picture, err := r.decode(s, d.latent)
	if err != nil {
		r.Fatal(err)
	}
	r.near("image", transposed(picture, 1, s.Width*s.Height, 3))
	r.bytes(toImage(picture, s.Width, s.Height, rounded).Pix)
}

// drawingOn begins a picture with given noise and prompts.
func drawingOn(t *testing.T, p *Pipeline, s settings, noise []float32, prompts []conditioning) *Drawing {
	t.Helper()
	d, err := p.begin(s)
	if err != nil {
		t.Fatal(err)
	}
	d.prompts, d.latent = prompts, s.grid.Init(noise)
	return d
}

// conditioning encodes the golden ids of the prompt with the given prefix and compares what it gives.
func (r goldenRun) conditioning(prefix string) conditioning {
	all := tokens{{chunk{ids: ids(r.in["in."+prefix+"ids"])}}}
	if second, ok := r.in["in."+prefix+"ids2"]; ok {
		all = append(all, []chunk{{ids: ids(second)}})
	}
	c, err := r.encode(all, 0)
	if err != nil {
		r.Fatal(err)
	}
	r.near(prefix+"ctx", c.context)
	r.near(prefix+"pooled", c.pooled)
	return c
}

// near compares with an output of the case, where it has that.
func (r goldenRun) near(name string, got []float32) {
	r.Helper()
	want, ok := r.in["out."+name]
	if !ok {
		return
	}
	atol := r.c.Outputs[name].Atol
	if atol <= 0 {
		r.Fatalf("%s has no tolerance", name)
	}
	goldens.Near(r, name, got, want.Float32s, atol)
	d, at := goldens.Worst(got, want.Float32s)
	r.Logf("%s: greatest difference %.2g at %d, %.2f of the tolerance", name, d, at, d/atol)
}

// bytes compares RGBA pixels with the golden picture.
func (r goldenRun) bytes(pix []uint8) {
	want := r.in["out.image_u8"].Int64s
	worst := 0.0
	for i, v := range want {
		worst = max(worst, float64(v)-float64(pix[i/3*4+i%3]), float64(pix[i/3*4+i%3])-float64(v))
	}
	if tolerance := r.c.Outputs["image_u8"].Tolerance; len(want) != len(pix)/4*3 || worst > tolerance {
		r.Errorf("picture of %d bytes differs by %v, allowed %v", len(want), worst, tolerance)
	}
}

func ids(t goldens.Tensor) []int32 {
	v := make([]int32, len(t.Int64s))
	for i, id := range t.Int64s {
		v[i] = int32(id)
	}
	return v
}
