package sampler

import (
	"math"
	"strings"
	"testing"
)

func TestParseConfig(t *testing.T) {
	got, err := ParseConfig([]byte(`{"_class_name":"PNDMScheduler","beta_start":0.00085,"beta_end":0.012,"beta_schedule":
		"scaled_linear","num_train_timesteps":1000,"set_alpha_to_one":false,"steps_offset":1,"trained_betas":null}`))
	if err != nil {
		t.Fatal(err)
	}
	want := StableDiffusion(Epsilon)
	if got.BetaStart != want.BetaStart || got.BetaSchedule != want.BetaSchedule || got.StepsOffset != 1 ||
		got.SetAlphaToOne || got.Prediction != Epsilon || got.Spacing != "" {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParseConfigRefuses(t *testing.T) {
	for text, want := range map[string]string{
		``:                                "scheduler_config.json",
		`[]`:                              "scheduler_config.json",
		`{"num_train_timesteps":1e9}`:     "num_train_timesteps",
		`{"num_train_timesteps":1}`:       "num_train_timesteps",
		`{"beta_start":0}`:                "beta_start",
		`{"beta_end":1}`:                  "beta_end",
		`{"beta_start":0.5}`:              "beta_start",
		`{"prediction_type":"flow"}`:      "v_prediction",
		`{"timestep_spacing":"even"}`:     "trailing",
		`{"steps_offset":-1}`:             "steps_offset",
		`{"trained_betas":[0.1]}`:         "trained_betas",
		`{"rescale_betas_zero_snr":true}`: "rescale_betas_zero_snr",
		`{"_class_name":"FlowMatchEulerDiscreteScheduler"}`:               "flow matching",
		`{"num_train_timesteps":2,"trained_betas":[0.1,1]}`:               "trained_betas[1]",
		`{"num_train_timesteps":2,"trained_betas":["a",1]}`:               "trained_betas",
		`{"beta_start":` + strings.Repeat("0", maxConfigBytes) + `.0001}`: "limit",
	} {
		if _, err := ParseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: got %v, want an error with %q", text, err, want)
		}
	}
	config := StableDiffusion(Epsilon)
	config.BetaSchedule = "sigmoid"
	if _, err := NewModel(config); err == nil || !strings.Contains(err.Error(), "scaled_linear") {
		t.Errorf("beta_schedule: got %v", err)
	}
}

func TestModels(t *testing.T) {
	for _, change := range []func(*Config){
		func(c *Config) { c.BetaSchedule = "linear" },
		func(c *Config) { c.BetaSchedule = "squaredcos_cap_v2" },
		func(c *Config) { c.ZeroSNR, c.Prediction = true, V },
		func(c *Config) { c.TrainSteps, c.TrainedBetas = 3, []float64{0.1, 0.2, 0.3} },
	} {
		config := StableDiffusion(Epsilon)
		change(&config)
		m, err := NewModel(config)
		if err != nil {
			t.Fatal(err)
		}
		for i, sigma := range m.sigmas {
			if math.IsNaN(sigma) || math.IsInf(sigma, 0) || i > 0 && sigma < m.sigmas[i-1] {
				t.Errorf("%+v: sigma of step %d is %v", config, i, sigma)
				break
			}
			if got := m.Timestep(m.Sigma(float64(i))); math.Abs(got-float64(i)) > 1e-6 {
				t.Errorf("%+v: step %d comes back as %v", config, i, got)
				break
			}
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"beta_schedule":"scaled_linear","num_train_timesteps":1000,"timestep_spacing":"trailing"}`), 20)
	f.Add([]byte(`{"num_train_timesteps":2,"prediction_type":"v_prediction","rescale_betas_zero_snr":true}`), 2)
	f.Fuzz(func(t *testing.T, data []byte, steps int) {
		config, err := ParseConfig(data)
		if err != nil {
			return
		}
		m, err := NewModel(config)
		if err != nil {
			return
		}
		for _, info := range Samplers() {
			grid, err := m.Grid(info.Name, Options{Style: Diffusers, Steps: steps})
			if err != nil {
				continue
			}
			for _, p := range grid.Points {
				if math.IsNaN(p.Signal+p.Noise+p.Timestep) || p.Signal < 0 || p.Noise < 0 {
					t.Fatalf("%s: point %+v", info.Name, p)
				}
			}
		}
	})
}
