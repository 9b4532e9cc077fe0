package sampler

import (
	"math"
	"slices"
	"testing"
)

// twoMinds is a network that sees another picture without the prompt.
func twoMinds(x []float32, at Point) (Estimate, error) {
	seen, err := analyticDenoiser(x, at)
	seen.Uncond = slices.Clone(seen.Clean)
	for i := range x {
		seen.Uncond[i] = float32(0.5*float64(seen.Clean[i]) + 0.1*math.Cos(float64(i)))
	}
	return seen, err
}

// TestCFGppEqualsWithoutGuidance: where the network sees the same with and without the prompt, CFG++ changes nothing.
func TestCFGppEqualsWithoutGuidance(t *testing.T) {
	for with, without := range map[Name]Name{
		EulerCFGpp: Euler, EulerAncestralCFGpp: EulerAncestral, DPMpp2MCFGpp: DPMpp2M, DPMpp2SAncestralCFG: DPMpp2SAncestral,
	} {
		for _, schedule := range []Schedule{Normal, Karras} {
			run := func(name Name) []float32 {
				grid := gridFor(t, name, Options{Schedule: schedule, Steps: 9})
				s, x := samplerFor(t, name, grid, nil), grid.Init(wave(24, 0))
				for i := range grid.Steps() {
					advance(t, s, i, x)
				}
				return x
			}
			got, want := run(with), run(without)
			for i := range want {
				if d := math.Abs(float64(got[i] - want[i])); d > 2e-5 {
					t.Errorf("%s %s: value %d is %v, want %v", with, schedule, i, got[i], want[i])
					break
				}
			}
		}
	}
}

// TestCFGppSteps compares with ComfyUI's formulas, written out for scalars in the space of k-diffusion.
func TestCFGppSteps(t *testing.T) {
	type state struct{ x, clean, uncond, old, from, to, before float64 }
	for name, want := range map[Name]func(s state) float64{
		EulerCFGpp: func(s state) float64 { return s.clean + s.to*(s.x-s.uncond)/s.from },
		DPMpp2MCFGpp: func(s state) float64 {
			h := math.Log(s.from / s.to)
			mix := -math.Exp(-h) * s.uncond
			if s.before > 0 && s.to > 0 {
				r := math.Log(s.before/s.from) / h
				mix -= math.Expm1(-h) / (2 * r) * (s.clean - s.old)
			}
			return s.clean + mix + math.Exp(-h)*s.x
		},
	} {
		grid := gridFor(t, name, Options{Schedule: Karras, Steps: 5})
		s, x := samplerFor(t, name, grid, nil), grid.Init(wave(24, 0))
		var old []float32
		for i := range grid.Steps() {
			start := slices.Clone(x)
			seen, err := twoMinds(x, grid.Points[i])
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Step(i, x, twoMinds, nil); err != nil {
				t.Fatal(err)
			}
			for k := range x {
				at := state{x: float64(start[k]), clean: float64(seen.Clean[k]), uncond: float64(seen.Uncond[k]),
					from: grid.Points[i].Sigma(), to: grid.Points[i+1].Sigma()}
				if i > 0 {
					at.old, at.before = float64(old[k]), grid.Points[i-1].Sigma()
				}
				if d := math.Abs(float64(x[k]) - want(at)); d > 1e-5 {
					t.Fatalf("%s step %d: value %d is %v, want %v", name, i, k, x[k], want(at))
				}
			}
			old = seen.Uncond
		}
	}
}

// TestCFGppNeedsUncond: an answer without it is an error, and others do not need it.
func TestCFGppNeedsUncond(t *testing.T) {
	half := func(x []float32, _ Point) (Estimate, error) { return Estimate{Clean: slices.Clone(x)}, nil }
	for _, info := range Samplers() {
		s := samplerFor(t, info.Name, gridFor(t, info.Name, Options{Steps: 4}), nil)
		err := s.Step(0, wave(8, 0), half, func(n int, _, _ float64) []float32 { return wave(n, 1) })
		if (err != nil) != NeedsUncond(info.Name) {
			t.Errorf("%s: error %v", info.Name, err)
		}
	}
}
