package sd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"waggle/gpu"
	"waggle/internal/nn"
	"waggle/internal/sampler"
	"waggle/internal/weights"
)

// quick is a small picture of two steps.
var quick = Request{Prompt: "a red circle on a blue background", Width: 64, Height: 64, Steps: 2, Seed: 7}

func generate(t *testing.T, p *Pipeline, r Request) []uint8 {
	t.Helper()
	img, err := p.Generate(context.Background(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if img.Rect.Dx() != r.Width || img.Rect.Dy() != r.Height {
		t.Fatalf("picture of %v, want %d×%d", img.Rect, r.Width, r.Height)
	}
	return img.Pix
}

func TestProgress(t *testing.T) {
	p := tinyPipeline(t, plainGo{})
	var steps []int
	_, err := p.Generate(context.Background(), quick, func(g Progress) {
		steps = append(steps, g.Step)
		l := g.Latent
		if g.Total != 2 || l.Channels != 4 || l.Height != 8 || l.Width != 8 || len(l.Data) != 256 || g.Elapsed <= 0 {
			t.Errorf("progress %d of %d, latent %d×%d×%d", g.Step, g.Total, l.Channels, l.Height, l.Width)
		}
		for _, v := range l.Data {
			if !(math.Abs(float64(v)) < 10) { // the guess of the picture, not the noisy latent nor NaN
				t.Fatalf("latent holds %v", v)
			}
		}
		if img := p.Preview(l); img.Rect.Dx() != 8 || img.Rect.Dy() != 8 {
			t.Errorf("preview of %v", img.Rect)
		}
	})
	if err != nil || !slices.Equal(steps, []int{1, 2}) {
		t.Errorf("steps %v, error %v", steps, err)
	}
}

func TestCancel(t *testing.T) {
	p := tinyPipeline(t, plainGo{})
	ctx, cancel := context.WithCancel(context.Background())
	r, calls := quick, 0
	r.Steps = 5
	img, err := p.Generate(ctx, r, func(Progress) { calls++; cancel() })
	if !errors.Is(err, context.Canceled) || img != nil || calls != 1 {
		t.Errorf("error %v after %d steps", err, calls)
	}
	r.Steps = 1 // cancelled in the last step: no picture either
	ctx, cancel = context.WithCancel(context.Background())
	if _, err := p.Generate(ctx, r, func(Progress) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestGuidance(t *testing.T) {
	p := tinyPipeline(t, plainGo{})
	with := func(guidance float64, negative string) []uint8 {
		r := quick
		r.Guidance, r.Negative = guidance, negative
		return generate(t, p, r)
	}
	if !slices.Equal(with(1, ""), with(1, "green")) {
		t.Error("the negative prompt matters without guidance")
	}
	if slices.Equal(with(5, ""), with(5, "green")) {
		t.Error("the negative prompt does not matter with guidance")
	}
	if !slices.Equal(with(0, ""), with(5, "")) {
		t.Error("guidance 0 is not the model's default of 5")
	}
}

// TestSamplers: every sampler draws much the same picture when it adds no noise, at whatever noise levels it asks the network.
func TestSamplers(t *testing.T) {
	p := tinyPipeline(t, testGPU(t, testDevice(t), nn.Options{}))
	r := quick
	r.Steps, r.Eta, r.Sampler, r.Schedule = 12, new(float64), "ddim", "karras"
	// Weights of even steps on Karras levels, an end that leaves noise, guidance that counts otherwise.
	far := map[sampler.Name]float64{sampler.PLMS: 15, sampler.IPNDM: 12, sampler.DPMFast: 8, sampler.DPMpp2MCFGpp: 6}
	want := generate(t, p, r)
	like := func(name sampler.Name, schedule sampler.Schedule, most float64) {
		r.Sampler, r.Schedule = string(name), string(schedule)
		sum := 0.0
		for i, v := range generate(t, p, r) {
			sum += math.Abs(float64(v) - float64(want[i]))
		}
		if mean := sum / float64(len(want)); !(mean < most) {
			t.Errorf("%s %s: mean difference %.1f of 255 from ddim", name, schedule, mean)
		}
	}
	for _, info := range sampler.Samplers() {
		most, ok := far[info.Name]
		if !ok {
			most = 2
		}
		like(info.Name, sampler.Karras, most)
	}
	like(sampler.Heun, sampler.KLOptimal, 2) // asks at the last level too, which is not 0
}

// TestEtaZero: 0 is 0 and not the sampler's own, on the way from a checkpoint too.
func TestEtaZero(t *testing.T) {
	p := tinyPipeline(t, testGPU(t, testDevice(t), nn.Options{}))
	own, plain := quick, quick
	own.Steps, own.Sampler = 3, "euler_ancestral"
	plain.Steps, plain.Sampler = 3, "euler"
	none := own
	none.Eta = new(0.0)
	want := generate(t, p, plain)
	drawn := drawWithCheckpoints(t, p, none)
	if !slices.Equal(drawn.pix, want) {
		t.Error("euler_ancestral with eta 0 is not euler")
	}
	if slices.Equal(generate(t, p, own), want) {
		t.Error("without eta, euler_ancestral adds no noise")
	}
	none.From = copied(t, drawn.checkpoints[0])
	if !slices.Equal(generate(t, p, none), want) {
		t.Error("another picture from a checkpoint on")
	}
	own.From = copied(t, drawn.checkpoints[0])
	if _, err := p.Begin(own); err == nil || !strings.Contains(err.Error(), "eta") {
		t.Errorf("from a checkpoint with eta 0, without eta: error %v", err)
	}
}

// TestGuidedTwice: a network that applies guidance itself is not given to a sampler that does too.
func TestGuidedTwice(t *testing.T) {
	p := tinyPipeline(t, plainGo{})
	r := quick
	r.Sampler = "euler_cfg_pp"
	if _, err := p.settle(r); err != nil {
		t.Fatal(err)
	}
	p.networks.unet.config.Guidance = 256
	if _, err := p.settle(r); err == nil || !strings.Contains(err.Error(), "euler_cfg_pp") {
		t.Errorf("CFG++ of a network that is told of guidance: error %v", err)
	}
	r.Sampler = "lcm"
	if _, err := p.settle(r); err != nil {
		t.Error(err)
	}
}

func TestSeedAndSize(t *testing.T) {
	p := tinyPipeline(t, plainGo{})
	first := generate(t, p, quick)
	other := quick
	other.Width, other.Height = 72, 104 // latents of 9 × 13: odd sizes at every level
	generate(t, p, other)
	if !slices.Equal(first, generate(t, p, quick)) {
		t.Error("a picture depends on the one before")
	}
	other = quick
	other.Seed++
	if slices.Equal(first, generate(t, p, other)) {
		t.Error("the seed does not matter")
	}
}

// TestLongPrompts: chunks stand one after another, and both prompts have equally many.
func TestLongPrompts(t *testing.T) {
	p := tinyPipeline(t, plainGo{})
	long := quick
	long.Prompt = strings.Repeat("a red circle on a blue background ", 15)
	s, err := p.settle(long)
	if err != nil {
		t.Fatal(err)
	}
	prompts, err := p.prompts(s)
	if err != nil {
		t.Fatal(err)
	}
	if len(prompts) != 2 || len(prompts[0].context) != 2*77*96 || len(prompts[1].context) != 2*77*96 {
		t.Fatalf("%d prompts of %d and %d numbers", len(prompts), len(prompts[0].context), len(prompts[1].context))
	}
	empty := tinyGolden{T: t, Pipeline: p}.conditioning("").context
	if !slices.Equal(prompts[0].context, append(slices.Clone(empty), empty...)) {
		t.Error("an empty negative prompt is not padded with an empty chunk")
	}
	generate(t, p, long)
	long.Prompt = strings.Repeat("circle ", 9000)
	if _, err := p.Generate(context.Background(), long, nil); err == nil || !strings.Contains(err.Error(), "chunks") {
		t.Errorf("a prompt of 9000 words: error %v", err)
	}
}

func TestBadRequests(t *testing.T) {
	p := tinyPipeline(t, plainGo{})
	for want, change := range map[string]func(*Request){
		"width 65":     func(r *Request) { r.Width = 65 },
		"width 8":      func(r *Request) { r.Width = 8 },
		"height -64":   func(r *Request) { r.Height = -64 },
		"height 80000": func(r *Request) { r.Height = 80000 },
		"steps -1":     func(r *Request) { r.Steps = -1 },
		"steps 5000":   func(r *Request) { r.Steps = 5000 },
		"guidance NaN": func(r *Request) { r.Guidance = math.NaN() },
		"guidance -1":  func(r *Request) { r.Guidance = -1 },
		"rescaling":    func(r *Request) { r.GuidanceRescale = 1.5 },
		"sampler":      func(r *Request) { r.Sampler = "fastest" },
		"schedule":     func(r *Request) { r.Schedule = "weekly" },
		"dialect":      func(r *Request) { r.Dialect = "klingon" },
		"eta":          func(r *Request) { r.Eta = new(math.NaN()) },
		"clip skip 13": func(r *Request) { r.ClipSkip = 13 },
		"clip skip 12": func(r *Request) { r.ClipSkip = 12 },
		"precision":    func(r *Request) { r.Precision = "f8" },
		"sigma":        func(r *Request) { r.Sampler, r.Sigmas = "euler", []float64{1, 2, 0} },
	} {
		r := quick
		change(&r)
		_, err := p.Generate(context.Background(), r, nil)
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(want)) {
			t.Errorf("%s: error %v", want, err)
		}
	}
}

func TestDefaults(t *testing.T) {
	p := tinyPipeline(t, plainGo{})
	s, err := p.settle(Request{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Width != 128 || s.Height != 128 || s.Steps != 20 || s.Guidance != 5 || s.Sampler != "ddim" || s.grid.Steps() != 20 {
		t.Errorf("defaults %+v", s.Request)
	}
	if info := p.Info(); info.Name != "tiny-shapes" || info.Factor != 8 || info.LatentChannels != 4 || len(info.Colours.Factors) != 4 {
		t.Errorf("info %+v", info)
	}
	if got := (Request{Sampler: "euler"}).or(sd1.defaults); got.Schedule != "" {
		t.Errorf("euler alone got the schedule %s of another sampler", got.Schedule)
	}
	if got := (Request{}).or(sd1.defaults); got.Schedule != "karras" || got.Sampler != "dpmpp_2m" {
		t.Errorf("SD 1 got %s %s", got.Sampler, got.Schedule)
	}
}

// fullDevice is out of memory as long as any program is there.
type fullDevice struct {
	plainGo
	open *int
}

type countedProgram struct {
	program
	open *int
}

func (c countedProgram) Close() { *c.open-- }

func (d fullDevice) compile(g *nn.Graph, src weights.Source) (program, error) {
	if *d.open > 0 {
		return nil, fmt.Errorf("program: %w", gpu.ErrOutOfMemory)
	}
	*d.open++
	p, err := d.plainGo.compile(g, src)
	return countedProgram{p, d.open}, err
}

// TestOutOfMemory: what is not in use makes room for what is.
func TestOutOfMemory(t *testing.T) {
	open := 0
	generate(t, tinyPipeline(t, fullDevice{open: &open}), quick)
	if open != 1 {
		t.Errorf("%d programs are open, want the decoder alone", open)
	}
}

func TestCache(t *testing.T) {
	var dropped []int
	c := newCache(2, func(v int) { dropped = append(dropped, v) })
	c.put("a", 1)
	c.put("b", 2)
	if v, ok := c.get("a"); !ok || v != 1 {
		t.Errorf("a is %d, %v", v, ok)
	}
	c.put("c", 3)
	if _, ok := c.get("b"); ok || !slices.Equal(dropped, []int{2}) {
		t.Errorf("b is there: %v; dropped %v", ok, dropped)
	}
	c.shrink(0)
	if !slices.Equal(dropped, []int{2, 1, 3}) {
		t.Errorf("dropped %v", dropped)
	}
}

// TestSinusoids: values by hand, and the pair of the highest frequency first.
func TestSinusoids(t *testing.T) {
	got := sinusoids(1, 4, true, 0) // frequencies 1 and 1/100
	want := []float32{0.5403023, 0.99995, 0.841471, 0.0099998}
	for i := range want {
		if math.Abs(float64(got[i]-want[i])) > 1e-6 {
			t.Errorf("sinusoids %v, want %v", got, want)
		}
	}
	if got := sinusoids(1, 4, false, 0); math.Abs(float64(got[0]-0.841471)) > 1e-6 {
		t.Errorf("without flip %v, want sines first", got)
	}
}

func TestPlan(t *testing.T) {
	c := testGPU(t, testDevice(t), nn.Options{})
	before := c.runtime.Device().Used()
	plan, err := tinyPipeline(t, c).Plan(Request{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Parts) != 3 || plan.Total() < 9<<20 || plan.Total() > 500<<20 {
		t.Errorf("plan of %d bytes: %+v", plan.Total(), plan.Parts)
	}
	if used := c.runtime.Device().Used(); used != before {
		t.Errorf("a plan allocated %d bytes", used-before)
	}
}
