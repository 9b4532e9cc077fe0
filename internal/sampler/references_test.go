package sampler

import (
	"math"
	"slices"
	"testing"

	"waggle/internal/goldens"
)

// TestGoldenCFGpp runs the samplers of CFG++ beside the formulas of the paper, with two analytic denoisers.
func TestGoldenCFGpp(t *testing.T) {
	var index struct {
		Cases map[string]struct {
			Sampler  Name
			Guidance float64
			Tensors  map[string]struct{ Atol float64 }
		}
	}
	goldens.JSON(t, goldens.Reference(t, "samplers/index.json"), &index)
	data := goldens.Tensors(t, goldens.Reference(t, "samplers/cfg_pp.safetensors"))
	for name, c := range index.Cases {
		t.Run(name, func(t *testing.T) {
			grid := standardModel(t).sigmaGrid(kind{}, data[name+".in.sigmas"].Float64s)
			s, err := New(c.Sampler, grid, Tuning{})
			if err != nil {
				t.Fatal(err)
			}
			noise, asked := data[name+".in.noise"], 0
			trajectory := walk(t, s, grid.Init(data[name+".in.unit"].Float32s), guidedDenoiser(c.Guidance), func(int, float64, float64) []float32 {
				asked++
				return noise.Row(asked - 1)
			})
			goldens.Near(t, "traj", slices.Concat(trajectory...), data[name+".out.traj"].Float32s, c.Tensors["out.traj"].Atol)
			goldens.Near(t, "final", trajectory[len(trajectory)-1], data[name+".out.final"].Float32s, c.Tensors["out.final"].Atol)
		})
	}
}

// guidedDenoiser is what guidance makes of the analytic denoiser and of one without a prompt.
func guidedDenoiser(guidance float64) Denoiser {
	return func(x []float32, at Point) (Estimate, error) {
		seen := Estimate{Clean: make([]float32, len(x)), Uncond: make([]float32, len(x))}
		for i, v := range x {
			y, sigma := float64(v), at.Sigma()
			plain := y/(1+sigma*sigma) - 0.05*math.Cos(y)
			seen.Uncond[i] = float32(plain)
			seen.Clean[i] = float32(plain + guidance*(analytic(y, sigma)-plain))
		}
		return seen, nil
	}
}
