package sd

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"waggle/gpu"
	"waggle/internal/nn"
	"waggle/internal/weights"
)

func begin(t testing.TB, p *Pipeline, r Request) *Drawing {
	t.Helper()
	d, err := p.Begin(r)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func step(t testing.TB, p *Pipeline, ds ...*Drawing) {
	t.Helper()
	if err := p.Step(ds...); err != nil {
		t.Fatal(err)
	}
}

func finish(t testing.TB, p *Pipeline, d *Drawing) []uint8 {
	t.Helper()
	img, err := p.Finish(d)
	if err != nil {
		t.Fatal(err)
	}
	return img.Pix
}

// TestDrawing goes through a picture by hand.
func TestDrawing(t *testing.T) {
	p := tinyPipeline(t, plainGo{})
	d := begin(t, p, quick)
	if shape, err := p.Shape(quick); err != nil || shape != d.Shape() || shape != (Shape{Width: 64, Height: 64, Passes: 2, Tokens: 77}) {
		t.Errorf("shape %+v, begun with %+v, error %v", shape, d.Shape(), err)
	}
	if d.StepsDone() != 0 || d.Total() != 2 || d.Done() || d.Guess().Data != nil {
		t.Errorf("%d steps of %d, guess %v before the first", d.StepsDone(), d.Total(), d.Guess().Data)
	}
	if _, err := p.Finish(d); err == nil || !strings.Contains(err.Error(), "0 of 2 steps") {
		t.Errorf("finished before the first step: error %v", err)
	}
	step(t, p, d)
	if g := d.Guess(); d.StepsDone() != 1 || len(g.Data) != 256 || g.Channels != 4 || g.Height != 8 || g.Width != 8 {
		t.Errorf("after %d steps a guess of %d×%d×%d", d.StepsDone(), g.Channels, g.Height, g.Width)
	}
	step(t, p, d)
	if !d.Done() || !slices.Equal(finish(t, p, d), generate(t, p, quick)) {
		t.Error("not the picture that Generate draws")
	}
}

// TestShape: what makes drawings unequal, and what does not.
func TestShape(t *testing.T) {
	p := tinyPipeline(t, plainGo{})
	base, err := p.Shape(quick)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		equal  bool
		change func(*Request)
	}{
		"steps, seed, sampler":   {true, func(r *Request) { r.Steps, r.Seed, r.Sampler, r.Schedule = 9, 9, "heun", "karras" }},
		"prompts, guidance":      {true, func(r *Request) { r.Prompt, r.Negative, r.Guidance = "", "a cat", 9 }},
		"width":                  {false, func(r *Request) { r.Width = 72 }},
		"height":                 {false, func(r *Request) { r.Height = 72 }},
		"no guidance":            {false, func(r *Request) { r.Guidance = 1 }},
		"a long prompt":          {false, func(r *Request) { r.Prompt = strings.Repeat("red ", 80) }},
		"a long negative prompt": {false, func(r *Request) { r.Negative = strings.Repeat("red ", 80) }},
	} {
		r := quick
		c.change(&r)
		shape, err := p.Shape(r)
		if err != nil || (shape == base) != c.equal || begin(t, p, r).Shape() != shape {
			t.Errorf("%s: shape %+v, error %v", name, shape, err)
		}
	}
	if _, err := p.Shape(Request{Steps: -1}); err == nil {
		t.Error("no error for −1 steps")
	}
}

// TestStepRefuses: drawings that cannot be stepped together are named, and none of them moves.
func TestStepRefuses(t *testing.T) {
	p, other := tinyPipeline(t, plainGo{}), tinyPipeline(t, plainGo{})
	wide, one := quick, quick
	wide.Width, one.Steps = 72, 1
	d, done := begin(t, p, quick), begin(t, p, one)
	step(t, p, done)
	for want, ds := range map[string][]*Drawing{
		"another model":        {d, begin(t, other, quick)},
		"all of its 1 steps":   {d, done},
		"drawing 1 of shape {": {d, begin(t, p, wide)},
		"twice":                {d, d},
	} {
		if err := p.Step(ds...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	if d.StepsDone() != 0 {
		t.Error("a step was done")
	}
	if err := p.Step(); err != nil {
		t.Errorf("no drawings: error %v", err)
	}
}

// TestStepTogether: drawings that take turns do not disturb each other.
func TestStepTogether(t *testing.T) {
	p := tinyPipeline(t, plainGo{})
	other := Request{Prompt: "a green square", Negative: "red", Width: 64, Height: 64, Steps: 3, Seed: 8, Sampler: "dpmpp_2m_sde", Guidance: 3}
	a, b := begin(t, p, quick), begin(t, p, other)
	step(t, p, b)
	step(t, p, a, b)
	step(t, p, b, a)
	for _, c := range []struct {
		d *Drawing
		r Request
	}{{a, quick}, {b, other}} {
		want, err := tinyPipeline(t, plainGo{}).Generate(context.Background(), c.r, nil)
		if err != nil || !slices.Equal(finish(t, p, c.d), want.Pix) {
			t.Errorf("%s: another picture than alone; error %v", c.r.Prompt, err)
		}
	}
}

// frail is a device that fails at one run of the network.
type frail struct {
	plainGo
	runs *int // left until then
}

type frailProgram struct {
	program
	runs *int
}

func (f frail) compile(g *nn.Graph, src weights.Source) (program, error) {
	p, err := f.plainGo.compile(g, src)
	return frailProgram{p, f.runs}, err
}

func (p frailProgram) Run() error {
	if *p.runs--; *p.runs == 0 {
		return gpu.ErrDeviceLost
	}
	return p.program.Run()
}

// TestStepFails: a step that fails between its questions leaves nothing running, and each drawing before its step or after it.
func TestStepFails(t *testing.T) {
	defer goleak.VerifyNone(t)
	runs := 0
	p := tinyPipeline(t, frail{runs: &runs})
	once, twice := quick, quick
	once.Sampler, twice.Sampler, twice.Seed = "euler_ancestral", "dpmpp_sde", 8
	a, b := begin(t, p, once), begin(t, p, twice)
	runs = 2 // both ask, then the second one again
	if err := p.Step(a, b); !errors.Is(err, gpu.ErrDeviceLost) || a.StepsDone() != 1 || b.StepsDone() != 0 {
		t.Errorf("error %v, steps done %d and %d", err, a.StepsDone(), b.StepsDone())
	}
	c, err := a.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	again := once
	again.From = copied(t, c)
	if !slices.Equal(generate(t, p, again), generate(t, p, once)) {
		t.Error("another picture from the checkpoint of the drawing whose step was done")
	}
}
