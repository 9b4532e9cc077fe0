package sampler

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

// Prediction says what a network's output means, see Point.Denoise.
type Prediction string

const (
	Epsilon Prediction = "epsilon"      // the noise
	V       Prediction = "v_prediction" // Salimans and Ho 2022: signal·noise − noise·picture
	Sample  Prediction = "sample"       // the picture itself
)

// Spacing says how time steps are chosen from the training steps, after diffusers' timestep_spacing.
type Spacing string

const (
	Leading  Spacing = "leading"
	Linspace Spacing = "linspace"
	Trailing Spacing = "trailing"
)

// Config is what a model says about its noise: the part of a diffusers scheduler_config.json that is used.
type Config struct {
	TrainSteps   int
	BetaStart    float64
	BetaEnd      float64
	BetaSchedule string    // scaled_linear, linear, squaredcos_cap_v2
	TrainedBetas []float64 // instead of BetaStart, BetaEnd and BetaSchedule
	Prediction   Prediction
	// Spacing is empty where the file says nothing: each sampler then has its own default.
	Spacing     Spacing
	StepsOffset int
	// SetAlphaToOne: DDIM's last step removes all noise; otherwise as much as the first training step leaves.
	SetAlphaToOne bool
	ZeroSNR       bool // rescale_betas_zero_snr, Lin et al. 2023
	Karras        bool // use_karras_sigmas: the model's own schedule is karras
	// FinalSigma is where multistep solvers end; empty is no noise.
	FinalSigma    FinalSigma
	SolverOrder   int    // of UniPC in style Diffusers
	SolverType    string // of UniPC in style Diffusers: bh1, bh2
	OriginalSteps int    // of the distillation of LCM and TCD
}

// FinalSigma is final_sigmas_type of diffusers.
type FinalSigma string

const (
	Zero     FinalSigma = "zero"
	SigmaMin FinalSigma = "sigma_min" // the noise of the first training step stays
)

// originalSteps is the number of steps that LCM and TCD were distilled on.
const originalSteps = 50

// StableDiffusion is the configuration of SD 1.x, 2.x and SDXL where no file says otherwise.
func StableDiffusion(prediction Prediction) Config {
	return Config{
		TrainSteps: 1000, BetaStart: 0.00085, BetaEnd: 0.012, BetaSchedule: "scaled_linear",
		Prediction: prediction, StepsOffset: 1, SolverOrder: 2, SolverType: "bh2", OriginalSteps: originalSteps,
	}
}

// Limits on a foreign configuration.
const (
	maxConfigBytes = 1 << 20
	maxTrainSteps  = 10_000
	maxSolverOrder = 3
)

// file mirrors scheduler_config.json; the defaults of absent members are diffusers'.
type file struct {
	Class         string     `json:"_class_name"`
	TrainSteps    int        `json:"num_train_timesteps"`
	BetaStart     float64    `json:"beta_start"`
	BetaEnd       float64    `json:"beta_end"`
	BetaSchedule  string     `json:"beta_schedule"`
	TrainedBetas  []float64  `json:"trained_betas"`
	Prediction    Prediction `json:"prediction_type"`
	Spacing       Spacing    `json:"timestep_spacing"`
	StepsOffset   int        `json:"steps_offset"`
	SetAlphaToOne bool       `json:"set_alpha_to_one"`
	ZeroSNR       bool       `json:"rescale_betas_zero_snr"`
	Karras        bool       `json:"use_karras_sigmas"`
	FinalSigma    FinalSigma `json:"final_sigmas_type"`
	SolverOrder   int        `json:"solver_order"`
	SolverType    string     `json:"solver_type"`
	OriginalSteps int        `json:"original_inference_steps"`
}

// ParseConfig reads a scheduler_config.json. Members that are not used here are ignored; clip_sample too, because latents
// are not pictures and must not be clipped.
func ParseConfig(data []byte) (Config, error) {
	if len(data) > maxConfigBytes {
		return Config{}, fmt.Errorf("scheduler_config.json: %d bytes, the limit is %d", len(data), maxConfigBytes)
	}
	f := file{TrainSteps: 1000, BetaStart: 0.0001, BetaEnd: 0.02, BetaSchedule: "linear", Prediction: Epsilon, SetAlphaToOne: true,
		FinalSigma: Zero, SolverOrder: 2, OriginalSteps: originalSteps}
	if err := json.Unmarshal(data, &f); err != nil {
		return Config{}, fmt.Errorf("scheduler_config.json: %w", err)
	}
	if strings.HasPrefix(f.Class, "FlowMatch") {
		return Config{}, fmt.Errorf("scheduler_config.json: _class_name %.60q: flow matching models are not supported", f.Class)
	}
	config := Config{
		TrainSteps: f.TrainSteps, BetaStart: f.BetaStart, BetaEnd: f.BetaEnd, BetaSchedule: f.BetaSchedule,
		TrainedBetas: f.TrainedBetas, Prediction: f.Prediction, Spacing: f.Spacing, StepsOffset: f.StepsOffset,
		SetAlphaToOne: f.SetAlphaToOne, ZeroSNR: f.ZeroSNR, Karras: f.Karras,
		FinalSigma: f.FinalSigma, SolverOrder: f.SolverOrder, SolverType: f.SolverType, OriginalSteps: f.OriginalSteps,
	}
	if err := config.validate(); err != nil {
		return Config{}, fmt.Errorf("scheduler_config.json: %w", err)
	}
	return config, nil
}

func (c Config) validate() error {
	switch {
	case c.TrainSteps < 2 || c.TrainSteps > maxTrainSteps:
		return fmt.Errorf("num_train_timesteps %d: want 2…%d", c.TrainSteps, maxTrainSteps)
	case c.StepsOffset < 0 || c.StepsOffset >= c.TrainSteps:
		return fmt.Errorf("steps_offset %d: want 0…%d", c.StepsOffset, c.TrainSteps-1)
	case c.Prediction != Epsilon && c.Prediction != V && c.Prediction != Sample:
		return fmt.Errorf("prediction_type %.40q: want %s, %s or %s", c.Prediction, Epsilon, V, Sample)
	case c.Spacing != "" && c.Spacing != Leading && c.Spacing != Linspace && c.Spacing != Trailing:
		return fmt.Errorf("timestep_spacing %.40q: want %s, %s or %s", c.Spacing, Leading, Linspace, Trailing)
	case c.ZeroSNR && c.Prediction == Epsilon:
		return fmt.Errorf("rescale_betas_zero_snr: pure noise says nothing about the picture, so prediction_type cannot be %s", Epsilon)
	case c.FinalSigma != "" && c.FinalSigma != Zero && c.FinalSigma != SigmaMin:
		return fmt.Errorf("final_sigmas_type %.40q: want %s or %s", c.FinalSigma, Zero, SigmaMin)
	case c.SolverOrder < 1 || c.SolverOrder > maxSolverOrder:
		return fmt.Errorf("solver_order %d: want 1…%d", c.SolverOrder, maxSolverOrder)
	case c.OriginalSteps < 1 || c.OriginalSteps > maxTrainSteps:
		return fmt.Errorf("original_inference_steps %d: want 1…%d", c.OriginalSteps, maxTrainSteps)
	case c.TrainedBetas != nil && len(c.TrainedBetas) != c.TrainSteps:
		return fmt.Errorf("trained_betas: %d values, want num_train_timesteps, %d", len(c.TrainedBetas), c.TrainSteps)
	}
	for i, beta := range c.TrainedBetas {
		if !(beta > 0 && beta < 1) {
			return fmt.Errorf("trained_betas[%d] = %v: want more than 0 and less than 1", i, beta)
		}
	}
	if c.TrainedBetas == nil && !(0 < c.BetaStart && c.BetaStart <= c.BetaEnd && c.BetaEnd < 1) {
		return fmt.Errorf("beta_start %v, beta_end %v: want 0 < start ≤ end < 1", c.BetaStart, c.BetaEnd)
	}
	return nil
}

// solver is UniPC's as configured. SolverType is also a member of other solvers' files, with values of theirs.
func (c Config) solver(kind kind) solver {
	return solver{order: c.SolverOrder, bh2: kind.bh2 || c.SolverType != "bh1"}
}

// betas are the variances that training adds in each step (Ho et al. 2020).
func (c Config) betas() ([]float64, error) {
	switch {
	case c.TrainedBetas != nil:
		return c.TrainedBetas, nil
	case c.BetaSchedule == "linear":
		return linspace(c.BetaStart, c.BetaEnd, c.TrainSteps), nil
	case c.BetaSchedule == "scaled_linear":
		betas := linspace(math.Sqrt(c.BetaStart), math.Sqrt(c.BetaEnd), c.TrainSteps)
		for i, b := range betas {
			betas[i] = b * b
		}
		return betas, nil
	case c.BetaSchedule == "squaredcos_cap_v2":
		return cosineBetas(c.TrainSteps), nil
	}
	return nil, fmt.Errorf("beta_schedule %.40q: want linear, scaled_linear or squaredcos_cap_v2", c.BetaSchedule)
}

// cosineBetas is the schedule of Nichol and Dhariwal 2021, capped at 0.999.
func cosineBetas(n int) []float64 {
	level := func(t float64) float64 { return math.Pow(math.Cos((t+0.008)/1.008*math.Pi/2), 2) }
	betas := make([]float64, n)
	for i := range betas {
		from, to := float64(i)/float64(n), float64(i+1)/float64(n)
		betas[i] = min(1-level(to)/level(from), 0.999)
	}
	return betas
}

// linspace returns n values from a to b inclusive; n = 1 gives a.
func linspace(a, b float64, n int) []float64 {
	values := make([]float64, n)
	for i := range values {
		values[i] = a
		if n > 1 {
			values[i] = a + (b-a)*float64(i)/float64(n-1)
		}
	}
	return values
}
