package sampler

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

func encode(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// wave is a latent or noise with no meaning, different for each seed.
func wave(n, seed int) []float32 {
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(math.Sin(float64(i*7+seed*13+1)) * 1.7)
	}
	return values
}

func gridFor(t testing.TB, name Name, o Options) *Grid {
	t.Helper()
	grid, err := standardModel(t).Grid(name, o)
	if err != nil {
		t.Fatal(err)
	}
	return grid
}

func samplerFor(t testing.TB, name Name, grid *Grid, eta *float64) *Sampler {
	t.Helper()
	s, err := New(name, grid, Tuning{Eta: eta})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestResume stops a run before every step, passes the state through JSON to a new sampler and wants the same bits.
func TestResume(t *testing.T) {
	const steps, n = 20, 48
	one := 1.0
	for _, info := range Samplers() {
		for _, schedule := range []Schedule{Normal, Karras} {
			for _, style := range []Style{KDiffusion, Diffusers} {
				grid := gridFor(t, info.Name, Options{Style: style, Schedule: schedule, Steps: steps})
				var eta *float64
				if info.Name == DDIM {
					eta = &one
				}
				var states []State
				var latents [][]float32
				s, x := samplerFor(t, info.Name, grid, eta), grid.Init(wave(n, 0))
				for i := range grid.Steps() {
					states, latents = append(states, s.State()), append(latents, slices.Clone(x))
					advance(t, s, i, x)
				}
				for i := range grid.Steps() {
					resumed, y := samplerFor(t, info.Name, grid, eta), slices.Clone(latents[i])
					var state State
					if err := json.Unmarshal(encode(t, states[i]), &state); err != nil {
						t.Fatal(err)
					}
					if err := resumed.Restore(state); err != nil {
						t.Fatal(err)
					}
					for j := i; j < grid.Steps(); j++ {
						advance(t, resumed, j, y)
					}
					if !slices.Equal(x, y) {
						t.Errorf("%s %s %s: resumed before step %d ends elsewhere", info.Name, schedule, style, i)
					}
				}
			}
		}
	}
}

func advance(t *testing.T, s *Sampler, i int, x []float32) {
	t.Helper()
	if err := s.Step(i, x, analyticDenoiser, func(n int, _, _ float64) []float32 { return wave(n, i+1) }); err != nil {
		t.Fatal(err)
	}
}

// TestPerfectNetwork: with a network that always knows the picture, every sampler ends at it on every schedule.
func TestPerfectNetwork(t *testing.T) {
	picture := wave(16, 5)
	know := func(_ []float32, at Point) (Estimate, error) {
		return Estimate{Clean: slices.Clone(picture), Uncond: slices.Clone(picture)}, nil
	}
	for _, info := range Samplers() {
		if info.Name == IPNDMV { // its weights do not sum up to the length of the step, see ipndmV
			continue
		}
		for _, schedule := range Schedules() {
			for _, steps := range []int{1, 2, 7, 150} {
				grid := gridFor(t, info.Name, Options{Schedule: schedule.Name, Steps: steps})
				s, x := samplerFor(t, info.Name, grid, nil), grid.Start(picture, wave(16, 1))
				for i := range grid.Steps() {
					if err := s.Step(i, x, know, func(n int, _, _ float64) []float32 { return wave(n, i) }); err != nil {
						t.Fatal(err)
					}
				}
				end := grid.Points[grid.Steps()]
				tolerance := 1e-5 * max(10, grid.Points[0].Sigma())
				if info.Name == LMS { // goes far beyond its estimates where steps grow, and float32 shows
					tolerance = 5e-3
				}
				for i := range x {
					if d := math.Abs(float64(x[i]) - end.Signal*float64(picture[i])); !(d <= 4*end.Noise+tolerance) {
						t.Fatalf("%s %s, %d steps: x[%d] = %v, want %v", info.Name, schedule.Name, steps, i, x[i], picture[i])
					}
				}
			}
		}
	}
}

func TestGridsFall(t *testing.T) {
	for _, info := range Samplers() {
		for _, style := range []Style{KDiffusion, Diffusers} {
			for _, schedule := range Schedules() {
				for _, steps := range []int{1, 2, 3, 20, 150, 999} {
					if kind, _ := kindOf(info.Name); kind.original && steps > originalSteps && style == Diffusers {
						continue
					}
					grid := gridFor(t, info.Name, Options{Style: style, Schedule: schedule.Name, Steps: steps})
					for i, p := range grid.Points[1:] {
						if before := grid.from(i); !(p.Sigma() < before.Sigma()) || p.Timestep > before.Timestep {
							t.Errorf("%s %s %s %d steps: point %d %v does not fall from %v",
								info.Name, style, schedule.Name, steps, i+1, p, grid.Points[i])
							break
						}
					}
				}
			}
		}
	}
}

func TestGridRefuses(t *testing.T) {
	m := standardModel(t)
	tests := []struct {
		name    string
		sampler Name
		options Options
		want    string
	}{
		{"no steps", Euler, Options{}, "steps 0"},
		{"many steps", Euler, Options{Steps: 1001}, "1…1000"},
		{"many steps for a multistep solver", DPMpp2M, Options{Steps: 1000}, "1…999"},
		{"sampler", "ddimm", Options{Steps: 5}, "euler_ancestral"},
		{"schedule", Euler, Options{Steps: 5, Schedule: "fast"}, "sgm_uniform"},
		{"custom rises", Euler, Options{Sigmas: []float64{1, 2, 0}}, "sigmas[1]"},
		{"custom has no end", Euler, Options{Sigmas: []float64{2, 1}}, "want 0"},
		{"custom NaN", Euler, Options{Sigmas: []float64{math.NaN(), 0}}, "sigmas[0]"},
		{"custom infinite", Euler, Options{Sigmas: []float64{math.Inf(1), 0}}, "sigmas[0]"},
		{"custom short", Euler, Options{Sigmas: []float64{0}}, "1 values"},
	}
	for _, test := range tests {
		if _, err := m.Grid(test.sampler, test.options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want an error with %q", test.name, err, test.want)
		}
	}
}

func TestCustomSigmas(t *testing.T) {
	grid := gridFor(t, Euler, Options{Sigmas: []float64{10, 1, 0}})
	if grid.Steps() != 2 || grid.InitScale != 10 || math.Abs(grid.Points[1].Timestep-353.9) > 0.1 {
		t.Errorf("got %+v", grid)
	}
}

func TestTailAndStart(t *testing.T) {
	grid := gridFor(t, DDIM, Options{Steps: 20})
	tail, err := grid.Tail(4)
	if err != nil || tail.Steps() != 16 || tail.Points[0] != grid.Points[4] {
		t.Fatalf("got %v, %v", tail, err)
	}
	p := tail.Points[0]
	got := tail.Start([]float32{2}, []float32{3})
	if want := float32(2*p.Signal + 3*p.Noise); got[0] != want {
		t.Errorf("got %v, want %v", got[0], want)
	}
	for _, from := range []int{-1, 20} {
		if _, err := grid.Tail(from); err == nil {
			t.Errorf("tail from %d: no error", from)
		}
	}
}

func TestStepRefuses(t *testing.T) {
	grid := gridFor(t, EulerAncestral, Options{Steps: 3})
	broken := errors.New("broken")
	short := func(n int, _, _ float64) []float32 { return make([]float32, n-1) }
	tests := []struct {
		name  string
		i     int
		model Denoiser
		noise Noise
		want  string
	}{
		{"out of order", 1, analyticDenoiser, nil, "next is 0"},
		{"broken network", 0, func([]float32, Point) (Estimate, error) { return Estimate{}, broken }, nil, "broken"},
		{"short answer", 0, func([]float32, Point) (Estimate, error) { return Estimate{Clean: make([]float32, 3)}, nil }, nil, "3 values"},
		{"no noise", 0, analyticDenoiser, nil, "no source"},
		{"short noise", 0, analyticDenoiser, short, "source of noise gave"},
	}
	for _, test := range tests {
		s, x := samplerFor(t, EulerAncestral, grid, nil), wave(8, 0)
		err := s.Step(test.i, x, test.model, test.noise)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want an error with %q", test.name, err, test.want)
		}
		if !slices.Equal(x, wave(8, 0)) {
			t.Errorf("%s: x was changed", test.name)
		}
	}
	s := samplerFor(t, Euler, gridFor(t, Euler, Options{Steps: 1}), nil)
	advance(t, s, 0, wave(8, 0))
	if err := s.Step(1, wave(8, 0), analyticDenoiser, nil); err == nil {
		t.Error("a step after the last: no error")
	}
}

func TestRestoreRefuses(t *testing.T) {
	grid := gridFor(t, DPMpp2M, Options{Steps: 3})
	for name, state := range map[string]State{
		"negative":   {Next: -1},
		"beyond":     {Next: 4, History: [][]float32{{0}}},
		"no history": {Next: 2},
		"too much":   {Next: 0, History: [][]float32{{0}}},
	} {
		if err := samplerFor(t, DPMpp2M, grid, nil).Restore(state); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	s := samplerFor(t, DPMpp2M, grid, nil)
	if err := s.Restore(State{Next: 1, History: [][]float32{make([]float32, 3)}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Step(1, wave(8, 0), analyticDenoiser, nil); err == nil {
		t.Error("history of another size: no error")
	}
}

func TestNewRefusesEta(t *testing.T) {
	for _, eta := range []float64{-0.1, 1.1, math.NaN()} {
		if _, err := New(DDIM, gridFor(t, DDIM, Options{Steps: 2}), Tuning{Eta: &eta}); err == nil {
			t.Errorf("eta %v: no error", eta)
		}
	}
}

// TestDenoise makes the three outputs of a known picture and noise and wants the picture back, in both spaces.
func TestDenoise(t *testing.T) {
	const clean, noise = 0.8, -1.3
	for _, p := range []Point{exploding(3, 0), preserving(3, 0), preserving(0.1, 0)} {
		x := []float32{float32(p.Signal*clean + p.Noise*noise)}
		signal, sigma := p.Signal*p.InputScale(), p.Noise*p.InputScale()
		for prediction, output := range map[Prediction]float64{
			Epsilon: noise, V: signal*noise - sigma*clean, Sample: clean,
		} {
			got, err := p.Denoise(prediction, x, []float32{float32(output)})
			if err != nil || math.Abs(float64(got[0])-clean) > 1e-5 {
				t.Errorf("%v %s: got %v, %v, want %v", p, prediction, got, err, clean)
			}
		}
	}
	if _, err := exploding(1, 0).Denoise("x", nil, nil); err == nil {
		t.Error("unknown prediction: no error")
	}
	if _, err := exploding(1, 0).Denoise(V, make([]float32, 2), make([]float32, 3)); err == nil {
		t.Error("lengths differ: no error")
	}
}

func TestGuide(t *testing.T) {
	got := Guide([]float32{1, 2}, []float32{2, 0}, 7.5)
	if want := []float32{8.5, -13}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestBetaQuantile(t *testing.T) {
	// Beta(1/2, 1/2) is the arcsine distribution: its quantile is sin²(πp/2).
	for _, p := range []float64{0, 1e-6, 0.01, 0.3, 0.5, 0.77, 0.999, 1} {
		want := math.Pow(math.Sin(math.Pi*p/2), 2)
		if got := betaQuantile(0.5, p); math.Abs(got-want) > 1e-12 {
			t.Errorf("quantile at %v: got %v, want %v", p, got, want)
		}
	}
}

func TestRescale(t *testing.T) {
	cond, guided := []float32{1, -1, 3, -3}, []float32{9, 1, 17, -7}
	for share, want := range map[float64]float64{0: deviation(guided), 0.5: (deviation(guided) + deviation(cond)) / 2, 1: deviation(cond)} {
		if got := deviation(Rescale(guided, cond, share)); math.Abs(got-want) > 1e-6 {
			t.Errorf("share %v: deviation %v, want %v", share, got, want)
		}
	}
	if got := Rescale([]float32{2, 2}, cond, 1); got[0] != 2 || got[1] != 2 {
		t.Errorf("an even picture: %v, want it as it was", got)
	}
}
