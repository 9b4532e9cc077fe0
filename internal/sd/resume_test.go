package sd

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"waggle/internal/models"
	"waggle/internal/nn"
	"waggle/internal/sampler"
	"waggle/internal/weights"
)

// drawn is a picture and a checkpoint after every step.
type drawn struct {
	pix         []uint8
	checkpoints []*Checkpoint
}

func drawWithCheckpoints(t *testing.T, p *Pipeline, r Request) drawn {
	t.Helper()
	drawing := begin(t, p, r)
	var all drawn
	for !drawing.Done() {
		step(t, p, drawing)
		c, err := drawing.Checkpoint()
		if err != nil || c.Step != drawing.StepsDone() || c.Total != drawing.Total() {
			t.Fatalf("checkpoint %+v after step %d, error %v", c, drawing.StepsDone(), err)
		}
		all.checkpoints = append(all.checkpoints, c)
	}
	all.pix = finish(t, p, drawing)
	return all
}

// copied is a checkpoint that went through bytes.
func copied(t *testing.T, c *Checkpoint) *Checkpoint {
	t.Helper()
	data, err := c.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var back Checkpoint
	if err := back.UnmarshalBinary(data); err != nil {
		t.Fatal(err)
	}
	return &back
}

// TestResume: with every sampler, dialect and step, another pipeline that goes on from a checkpoint draws the same bytes.
// It has its own device on the same adapter, as another process would.
func TestResume(t *testing.T) {
	one, other := tinyPipeline(t, testGPU(t, testDevice(t), nn.Options{})), tinyPipeline(t, testGPU(t, testDevice(t), nn.Options{}))
	check := func(r Request, steps ...int) {
		want := drawWithCheckpoints(t, one, r)
		for _, step := range steps {
			again := r
			again.From = copied(t, want.checkpoints[step-1])
			calls := 0
			img, err := other.Generate(context.Background(), again, func(g Progress) {
				if calls++; g.Step != step+calls {
					t.Errorf("%s: step %d reported, want %d", r.Sampler, g.Step, step+calls)
				}
			})
			if err != nil {
				t.Fatalf("%s from step %d: %v", r.Sampler, step, err)
			}
			if !slices.Equal(img.Pix, want.pix) || calls != r.Steps-step {
				t.Errorf("%s, %s, guidance %v: another picture from step %d of %d on (%d steps)",
					r.Sampler, r.Dialect, r.Guidance, step, r.Steps, calls)
			}
		}
	}
	for i, info := range sampler.Samplers() {
		r := quick
		r.Sampler, r.Guidance, r.Steps = string(info.Name), 1, 5
		if i%3 == 0 {
			r.Guidance = 5
		}
		check(r, 1, 3, 5)
	}
	for _, dialect := range []string{"a1111-cpu", "comfy", "diffusers"} {
		r := quick
		r.Sampler, r.Dialect, r.Steps, r.Width = "dpmpp_sde", dialect, 4, 72
		check(r, 1, 2, 3)
	}
}

// TestResumeNeedsEverything: what a checkpoint holds does matter, so that the equality above says something.
func TestResumeNeedsEverything(t *testing.T) {
	p := tinyPipeline(t, testGPU(t, testDevice(t), nn.Options{}))
	r := quick
	r.Sampler, r.Steps, r.Dialect = "dpmpp_3m_sde", 4, "diffusers" // where its noise is no Brownian motion, which has no state
	want := drawWithCheckpoints(t, p, r)
	for what, change := range map[string]func(c *Checkpoint){
		"latent":         func(c *Checkpoint) { c.Latent.Data[0]++ },
		"last estimate":  func(c *Checkpoint) { c.History[0][0]++ },
		"first estimate": func(c *Checkpoint) { c.History[1][0]++ },
		"noise":          func(c *Checkpoint) { c.Noise.Initial.Position.Count-- },
	} {
		again := r
		again.From = copied(t, want.checkpoints[1])
		change(again.From)
		if slices.Equal(generate(t, p, again), want.pix) {
			t.Errorf("the picture does not depend on the %s", what)
		}
	}
}

// TestResumeUnbegun: a picture can be left before its first step too.
func TestResumeUnbegun(t *testing.T) {
	p := tinyPipeline(t, plainGo{})
	r := quick
	r.Sampler, r.Dialect, r.Guidance = "euler_ancestral", "a1111-cpu", 1
	d := begin(t, p, r)
	c, err := d.Checkpoint()
	if err != nil || c.Step != 0 {
		t.Fatalf("checkpoint %+v, error %v", c, err)
	}
	again := r
	again.From = copied(t, c)
	if !slices.Equal(generate(t, p, again), generate(t, p, r)) {
		t.Error("another picture")
	}
}

// altered has another middle in one of its tensors.
type altered struct{ weights.Source }

func (a altered) Tensor(name string) (weights.Tensor, bool) {
	t, ok := a.Source.Tensor(name)
	if name == a.Names()[0] {
		t.Data = slices.Clone(t.Data)
		t.Data[len(t.Data)/2] ^= 1
	}
	return t, ok
}

// TestResumeAnother: a checkpoint of something else is refused, and the error says what differs.
func TestResumeAnother(t *testing.T) {
	p := tinyPipeline(t, plainGo{})
	r := quick
	r.Sampler, r.Negative = "euler_ancestral", "green"
	checkpoint := drawWithCheckpoints(t, p, r).checkpoints[0]
	renamed, retrained := *p, *p
	renamed.name = "other"
	retrained.weights, retrained.networks.unet.tensors = "", altered{p.networks.unet.tensors}
	for want, change := range map[string]func(*Request, *Pipeline){
		"another prompt":                       func(r *Request, _ *Pipeline) { r.Prompt = "a blue square" },
		"another negative prompt":              func(r *Request, _ *Pipeline) { r.Negative = strings.Repeat("red green ", 60) },
		`seed "7", not "8"`:                    func(r *Request, _ *Pipeline) { r.Seed = 8 },
		`width "64", not "128"`:                func(r *Request, _ *Pipeline) { r.Width = 128 },
		`height "64", not "72"`:                func(r *Request, _ *Pipeline) { r.Height = 72 },
		`sampler "euler_ancestral", not "ddpm`: func(r *Request, _ *Pipeline) { r.Sampler = "ddpm" },
		`steps "2", not "3"`:                   func(r *Request, _ *Pipeline) { r.Steps = 3 },
		`guidance "5", not "6"`:                func(r *Request, _ *Pipeline) { r.Guidance = 6 },
		`not "5, rescaled by 0.7"`:             func(r *Request, _ *Pipeline) { r.GuidanceRescale = 0.7 },
		"another noise schedule":               func(r *Request, _ *Pipeline) { r.Schedule = "karras" },
		`eta "the sampler's own", not "0.5"`:   func(r *Request, _ *Pipeline) { r.Eta = new(0.5) },
		`dialect "a1111", not "comfy"`:         func(r *Request, _ *Pipeline) { r.Dialect = "comfy" },
		`clip skip "0", not "1"`:               func(r *Request, _ *Pipeline) { r.ClipSkip = 1 },
		`model "tiny-shapes", not "other"`:     func(_ *Request, p *Pipeline) { *p = renamed },
		"another set of weights":               func(_ *Request, p *Pipeline) { *p = retrained },
	} {
		again, with := r, *p
		again.From = checkpoint
		change(&again, &with)
		_, err := with.Generate(context.Background(), again, nil)
		if !errors.Is(err, ErrOtherPicture) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
		if strings.HasPrefix(want, "another") && strings.Contains(err.Error(), ";") {
			t.Errorf("error %v names more than %s", err, want)
		}
	}
	again := r
	again.From, again.Seed, again.Width = checkpoint, 9, 128
	_, err := p.Generate(context.Background(), again, nil)
	if err == nil || !strings.HasSuffix(err.Error(), `seed "7", not "9"; width "64", not "128"`) {
		t.Errorf("error %v, want both differences", err)
	}
}

// TestResumeContradiction: terms that fit and contents that do not, as no program writes them.
func TestResumeContradiction(t *testing.T) {
	p := tinyPipeline(t, plainGo{})
	r := quick
	r.Sampler, r.Dialect, r.Guidance = "dpmpp_2m", "a1111-cpu", 1
	checkpoint := drawWithCheckpoints(t, p, r).checkpoints[0]
	for want, change := range map[string]func(c *Checkpoint){
		"other things":         func(c *Checkpoint) { c.Terms = c.Terms[:3] },
		"a latent of 4×8×16":   func(c *Checkpoint) { c.Latent.Width = 16 },
		"earlier latent":       func(c *Checkpoint) { c.History[0] = c.History[0][:8] },
		"0 earlier latents":    func(c *Checkpoint) { c.History = nil },
		"9 steps, want 2":      func(c *Checkpoint) { c.Total = 9 },
		"seed 1":               func(c *Checkpoint) { c.Noise.Initial.Seed = 1 },
		"generator philox":     func(c *Checkpoint) { c.Noise.Initial.Kind = "philox" },
		"at 1073741824":        func(c *Checkpoint) { c.Noise.Initial.Position.Count = 1 << 30 },
		"2 noise generators":   func(c *Checkpoint) { c.Noise.Steps = &c.Noise.Initial },
		"sampler state: step ": func(c *Checkpoint) { c.Step = -1 },
	} {
		again := r
		again.From = copied(t, checkpoint)
		change(again.From)
		_, err := p.Generate(context.Background(), again, nil)
		if err == nil || !strings.Contains(err.Error(), want) || !(errors.Is(err, ErrDamaged) || errors.Is(err, ErrOtherPicture)) {
			t.Errorf("%s: error %v", want, err)
		}
	}
}

// TestWeightsKeyOfRandomModels: a model whose tensors come as they are asked for has the same key at any time.
func TestWeightsKeyOfRandomModels(t *testing.T) {
	m, err := models.Random("sd15")
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPipeline(plainGo{}, m)
	if err != nil {
		t.Fatal(err)
	}
	before := p.weightsKey()
	p.weights = ""
	if err := unetGraph(p.networks.unet, 1, 8, 8, 77).Err(); err != nil {
		t.Fatal(err)
	}
	if after := p.weightsKey(); after != before {
		t.Errorf("key %s before, %s after", before, after)
	}
}
