package sampler

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"waggle/internal/goldens"
)

// Relative tolerance of sigma tables: the references are float32 and interpolate in float32.
const sigmaTolerance = 5e-6

func standardModel(t testing.TB) *Model {
	t.Helper()
	m, err := NewModel(StableDiffusion(Epsilon))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func widen(values []float32) []float64 {
	wide := make([]float64, len(values))
	for i, v := range values {
		wide[i] = float64(v)
	}
	return wide
}

// nearRelative compares sigmas; 0 must be 0.
func nearRelative(t *testing.T, name string, got, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: got %d values %v, want %d %v", name, len(got), got, len(want), want)
		return
	}
	for i := range want {
		if !(math.Abs(got[i]-want[i]) <= tolerance*math.Abs(want[i])) {
			t.Errorf("%s: value %d is %v, want %v", name, i, got[i], want[i])
			return
		}
	}
}

// tableOf maps a name in goldens/samplers to our table of levels, and reports whether there is one.
func tableOf(m *Model, name string, n int) ([]float64, bool) {
	ours := map[string]Schedule{"discrete": Normal, "ays_sd1": AlignYourSteps, "ays_sdxl": AlignYourSteps,
		"ays32_sd1": AlignYourSteps32, "ays32_sdxl": AlignYourSteps32}
	schedule, renamed := ours[name]
	if !renamed {
		schedule = Schedule(name)
	}
	switch name {
	case "polyexponential_rho1.7":
		return append(PolyExponentialSigmas(n, m.SigmaMin(), m.SigmaMax(), 1.7), 0), true
	case "karras_0.1_10":
		return append(KarrasSigmas(n, 0.1, 10, 7), 0), true
	}
	sigmas, err := m.Sigmas(schedule, n, strings.HasSuffix(name, "_sdxl"))
	return sigmas, err == nil
}

func TestGoldenSigmas(t *testing.T) {
	m := standardModel(t)
	tensors := goldens.Tensors(t, "samplers/sigmas.safetensors")
	nearRelative(t, "alphas_cumprod", m.alphas, widen(tensors["alphas_cumprod"].Float32s), 1e-7)
	nearRelative(t, "sigmas_1000", m.sigmas, widen(tensors["sigmas_1000"].Float32s), 1e-6)
	run := 0
	for key, tensor := range tensors {
		dot := strings.LastIndex(key, ".")
		if dot < 0 {
			continue
		}
		n, err := strconv.Atoi(key[dot+1:])
		if err != nil {
			continue // alphas_cumprod.diffusers_f32
		}
		sigmas, ok := tableOf(m, key[:dot], n)
		if !ok {
			t.Errorf("%s: there is no such schedule", key[:dot])
			continue
		}
		nearRelative(t, key, sigmas, widen(tensor.Float32s), sigmaTolerance)
		run++
	}
	if run == 0 {
		t.Error("no known schedule in the set")
	}
	t.Logf("%d tables", run)
}

func TestGoldenSigmaTimeMaps(t *testing.T) {
	m := standardModel(t)
	tensors := goldens.Tensors(t, "samplers/sigma_t_maps.safetensors")
	sigmas := each(widen(tensors["t"].Float32s), m.Sigma)
	nearRelative(t, "sigma of t", sigmas, widen(tensors["sigma_of_t"].Float32s), sigmaTolerance)
	times := each(widen(tensors["sigma"].Float32s), m.Timestep)
	goldens.Near(t, "t of sigma", times, widen(tensors["t_of_sigma"].Float32s), 5e-4)
}

// analytic is the denoiser of goldens/samplers, in the space of k-diffusion.
func analytic(x, sigma float64) float64 { return x/(1+sigma*sigma) + 0.1*math.Tanh(x) }

func analyticDenoiser(x []float32, at Point) (Estimate, error) {
	denoised := make([]float32, len(x))
	for i, v := range x {
		denoised[i] = float32(analytic(float64(v)/at.Signal, at.Sigma()))
	}
	return Estimate{Clean: denoised, Uncond: denoised}, nil
}

// noiseTape gives the noise tensors of goldens/samplers in order.
func noiseTape(t *testing.T) Noise {
	noise, at := goldens.Tensors(t, "samplers/inputs.safetensors")["noise"], 0
	return func(int, float64, float64) []float32 {
		at++
		return noise.Row(at - 1)
	}
}

// walk runs all steps and returns x as the network is first asked in each, and at the end.
func walk(t *testing.T, s *Sampler, x []float32, model Denoiser, noise Noise) [][]float32 {
	t.Helper()
	var trajectory [][]float32
	for i := range s.grid.Steps() {
		asking := func(x []float32, at Point) (Estimate, error) {
			if len(trajectory) == i {
				trajectory = append(trajectory, slices.Clone(x))
			}
			return model(x, at)
		}
		if err := s.Step(i, x, asking, noise); err != nil {
			t.Fatal(err)
		}
	}
	return append(trajectory, slices.Clone(x))
}

type golden struct {
	Reference string
	Args      any
	Cases     map[string]struct{ Atol float64 }
}

// TestGoldenKDiffusion runs every sampler that we have on every given table of sigmas.
func TestGoldenKDiffusion(t *testing.T) {
	var index struct {
		KDiffusion map[string]golden `json:"k_diffusion"`
	}
	goldens.JSON(t, "samplers/index.json", &index)
	want := goldens.Tensors(t, "samplers/k_diffusion.safetensors")
	tables := goldens.Tensors(t, "samplers/sigmas.safetensors")
	unit := goldens.Tensors(t, "samplers/inputs.safetensors")["x0_unit"].Float32s
	run := 0
	for key, golden := range index.KDiffusion {
		name, tuning, ok := ours(t, golden, key)
		if !ok {
			t.Errorf("%s: there is no such sampler", key)
			continue
		}
		for table, c := range golden.Cases {
			grid := goldenGrid(t, name, table, tables)
			s, err := New(name, grid, tuning)
			if err != nil {
				t.Fatal(err)
			}
			trajectory := walk(t, s, grid.Init(unit), analyticDenoiser, noiseTape(t))
			run += compare(t, strings.TrimSuffix(key+"."+table, "."), trajectory, want, c.Atol)
		}
	}
	if run == 0 {
		t.Error("no known sampler in the set")
	}
	t.Logf("%d trajectories", run)
}

// goldenGrid makes the grid of a case: of a table of sigmas, or "" or a number of steps for samplers that choose their own
// levels within those of training.
func goldenGrid(t *testing.T, name Name, table string, tables map[string]goldens.Tensor) *Grid {
	t.Helper()
	m := standardModel(t)
	if sigmas, ok := tables[table]; ok {
		if name == Restart {
			return m.restartGrid(kind{}, widen(sigmas.Float32s))
		}
		return m.sigmaGrid(kind{}, widen(sigmas.Float32s))
	}
	steps := 7
	if table != "" {
		var err error
		if steps, err = strconv.Atoi(table); err != nil {
			t.Fatal(err)
		}
	}
	return gridFor(t, name, Options{Steps: steps})
}

// ours finds the sampler of a golden's key, whose arguments may be appended to its name.
func ours(t *testing.T, golden golden, key string) (Name, Tuning, bool) {
	t.Helper()
	args, _ := golden.Args.(map[string]any)
	var tuning Tuning
	for arg, value := range args {
		number, isNumber := value.(float64)
		switch {
		case arg == "eta" && isNumber:
			tuning.Eta = &number
			key = strings.TrimSuffix(key, fmt.Sprintf("_eta%v", number))
		case arg == "s_noise" && isNumber:
			tuning.NoiseScale = number
		case arg == "solver_type": // part of the name
		default:
			return "", tuning, false
		}
	}
	for eta := range 2 { // of those without arguments
		if stem, found := strings.CutSuffix(key, fmt.Sprintf("_eta%d", eta)); found {
			share := float64(eta)
			key, tuning.Eta = stem, &share
		}
	}
	_, err := kindOf(Name(key))
	return Name(key), tuning, err == nil
}

// compare checks the final latent and, where given, all before.
func compare(t *testing.T, key string, got [][]float32, want map[string]goldens.Tensor, atol float64) int {
	t.Helper()
	if final, ok := want[key+".final"]; ok {
		goldens.Near(t, key+".final", got[len(got)-1], final.Float32s, atol)
	} else {
		t.Errorf("%s: no final latent in the set", key)
	}
	if name, _, _ := strings.Cut(key, "."); name == "deis" || strings.HasPrefix(name, "ipndm") {
		return 1 // the reference tells of its first latent at every step
	}
	if trajectory, ok := want[key+".traj"]; ok {
		goldens.Near(t, key+".traj", slices.Concat(got...), trajectory.Float32s, atol)
	}
	return 1
}

// TestGoldenDiffusers runs the schedulers of diffusers that we have, from their configuration alone.
func TestGoldenDiffusers(t *testing.T) {
	var index struct{ Diffusers map[string]any }
	goldens.JSON(t, "samplers/index.json", &index)
	want := goldens.Tensors(t, "samplers/diffusers.safetensors")
	run := 0
	for key, value := range index.Diffusers {
		golden, isCase := value.(map[string]any)
		if !isCase {
			continue
		}
		dot := strings.LastIndex(key, ".")
		name, eta, ok := schedulerOf(golden, key[:dot])
		if !ok {
			t.Errorf("%s: there is no such scheduler", key[:dot])
			continue
		}
		t.Run(key, func(t *testing.T) { runDiffusers(t, key, golden, name, eta, want) })
		run++
	}
	if run == 0 {
		t.Error("no known scheduler in the set")
	}
	t.Logf("%d trajectories", run)
}

func schedulerOf(golden map[string]any, key string) (name Name, eta float64, ok bool) {
	config := golden["config"].(map[string]any)
	switch golden["class"] {
	case "EulerDiscreteScheduler":
		return Euler, 0, true
	case "EulerAncestralDiscreteScheduler":
		return EulerAncestral, 1, true
	case "DDPMScheduler":
		return DDPM, 1, true
	case "DPMSolverMultistepScheduler":
		if config["algorithm_type"] == "sde-dpmsolver++" {
			return DPMpp2MSDE, 1, true
		}
		return DPMpp2M, 0, config["algorithm_type"] == "dpmsolver++"
	case "DDIMScheduler", "TCDScheduler":
		if _, text, found := strings.Cut(key, "_eta"); found {
			eta, _ = strconv.ParseFloat(text, 64)
		}
		return map[any]Name{"DDIMScheduler": DDIM, "TCDScheduler": TCD}[golden["class"]], eta, true
	}
	name, ok = map[any]Name{
		"HeunDiscreteScheduler": Heun, "KDPM2DiscreteScheduler": DPM2, "LMSDiscreteScheduler": LMS, "PNDMScheduler": PLMS,
		"UniPCMultistepScheduler": UniPC, "DEISMultistepScheduler": DEIS, "DPMSolverSinglestepScheduler": DPMpp2S,
		"LCMScheduler": LCM,
	}[golden["class"]]
	return name, 0, ok
}

func runDiffusers(t *testing.T, key string, golden map[string]any, name Name, eta float64, want map[string]goldens.Tensor) {
	m, schedule := configuredModel(t, golden["config"])
	steps, err := strconv.Atoi(key[strings.LastIndex(key, ".")+1:])
	if err != nil {
		t.Fatal(err)
	}
	grid, err := m.Grid(name, Options{Style: Diffusers, Schedule: schedule, Steps: steps})
	if err != nil {
		t.Fatal(err)
	}
	calls := want[key+".timesteps"].Float32s
	places := diffusersPlaces(name, steps, len(calls))
	checkGrid(t, grid, pick(calls, places[:steps]), fewer(want[key+".sigmas"].Float32s, steps), golden["init_noise_sigma"].(float64))
	s, err := New(name, grid, Tuning{Eta: &eta})
	if err != nil {
		t.Fatal(err)
	}
	unit := goldens.Tensors(t, "samplers/inputs.safetensors")["x0_unit"].Float32s
	trajectory := walk(t, s, grid.Init(unit), diffusersNetwork(m), noiseTape(t))
	var before []float32
	for _, place := range places {
		before = append(before, want[key+".traj"].Row(place)...)
	}
	goldens.Near(t, key+".traj", slices.Concat(trajectory...), before, golden["atol"].(float64))
}

// diffusersPlaces are the places in diffusers' trajectory between our steps: its schedulers ask the network once a step, ours
// twice in the steps of Heun and DPM2, except for the last, and in the first of PLMS.
func diffusersPlaces(name Name, steps, calls int) []int {
	places := make([]int, steps+1)
	for i := range places {
		switch {
		case calls == steps || i == 0:
			places[i] = i
		case name == PLMS:
			places[i] = i + 1
		default:
			places[i] = min(2*i, calls)
		}
	}
	return places
}

func pick(values []float32, places []int) []float32 {
	picked := make([]float32, len(places))
	for i, place := range places {
		picked[i] = values[place]
	}
	return picked
}

// fewer drops the sigmas that diffusers repeats.
func fewer(sigmas []float32, steps int) []float32 {
	compact := slices.Compact(slices.Clone(sigmas))
	return compact[:min(len(compact), steps+1)]
}

func configuredModel(t *testing.T, config any) (*Model, Schedule) {
	t.Helper()
	parsed, err := ParseConfig(encode(t, config))
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewModel(parsed)
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Karras {
		return m, Karras
	}
	return m, Normal
}

// checkGrid compares with diffusers' timesteps, sigmas (none for DDIM) and init_noise_sigma.
func checkGrid(t *testing.T, grid *Grid, times, sigmas []float32, init float64) {
	t.Helper()
	var gotTimes, gotSigmas []float64
	for _, p := range grid.Points {
		gotTimes, gotSigmas = append(gotTimes, p.Timestep), append(gotSigmas, p.Sigma())
	}
	goldens.Near(t, "time steps", gotTimes[:grid.Steps()], widen(times), 1e-3)
	if sigmas != nil {
		nearRelative(t, "sigmas", gotSigmas, widen(sigmas), 1e-5)
	}
	nearRelative(t, "init_noise_sigma", []float64{grid.InitScale}, []float64{init}, 1e-5)
}

// diffusersNetwork is the network of goldens/samplers' diffusers part: it sees the scaled latent and a time step, and
// predicts as configured. See _about in its index.json.
func diffusersNetwork(m *Model) Denoiser {
	return func(x []float32, at Point) (Estimate, error) {
		output := make([]float32, len(x))
		for i := range x {
			output[i] = float32(m.predictAnalytic(float64(x[i])*at.InputScale(), at.Timestep))
		}
		clean, err := at.Denoise(m.config.Prediction, x, output)
		return Estimate{Clean: clean, Uncond: clean}, err
	}
}

func (m *Model) predictAnalytic(input, t float64) float64 {
	if m.config.ZeroSNR { // whole time steps
		alpha := m.alphas[int(t)]
		a, q := math.Sqrt(alpha), math.Sqrt(1-alpha)
		clean := a*input + 0.1*math.Tanh(input)
		return a*(input-a*clean)/q - q*clean
	}
	s := m.Sigma(t)
	size := math.Hypot(1, s)
	y := input * size
	clean := analytic(y, s)
	epsilon := (y - clean) / s
	if m.config.Prediction == V {
		return epsilon/size - s/size*clean
	}
	return epsilon
}

// TestGoldenA1111Timesteps runs DDIM and PLMS on the time steps of A1111, which end at the first of them with its noise left,
// and UniPC on its own.
func TestGoldenA1111Timesteps(t *testing.T) {
	var index struct {
		Cases map[string]any `json:"a1111_timesteps"`
	}
	goldens.JSON(t, "samplers/index.json", &index)
	want := goldens.Tensors(t, "samplers/a1111_timesteps.safetensors")
	run := 0
	for key, value := range index.Cases {
		if golden, isCase := value.(map[string]any); isCase {
			t.Run(key, func(t *testing.T) { runA1111(t, key, want, golden["atol"].(float64)) })
			run++
		}
	}
	if run == 0 {
		t.Error("no sampler in the set")
	}
}

func runA1111(t *testing.T, key string, want map[string]goldens.Tensor, atol float64) {
	m := standardModel(t)
	stem := key[:strings.LastIndex(key, ".")]
	name, tuning := Name(stem), Tuning{}
	timesteps := want[key+".timesteps"].Int64s
	grid := &Grid{InitScale: 1, model: m, space: preserving}
	if text, isDDIM := strings.CutPrefix(stem, "ddim_eta"); isDDIM {
		eta, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		name, tuning.Eta = DDIM, &eta
	}
	if stem == "unipc_bh1_order3" {
		name, grid = UniPC, gridFor(t, UniPC, Options{Steps: len(timesteps)})
	} else {
		for _, step := range slices.Backward(timesteps) {
			alpha := m.alphas[step]
			grid.Points = append(grid.Points, Point{math.Sqrt(alpha), math.Sqrt(1 - alpha), float64(step)})
		}
	}
	s, err := New(name, grid, tuning)
	if err != nil {
		t.Fatal(err)
	}
	tape, x := noiseTape(t), grid.Init(goldens.Tensors(t, "samplers/inputs.safetensors")["x0_unit"].Float32s)
	var got []float32
	for i := range grid.Steps() {
		if err := s.Step(i, x, diffusersNetwork(m), tape); err != nil {
			t.Fatal(err)
		}
		switch {
		case name != UniPC:
			got = append(got, x...)
		case i > 0: // there a step ends with its correction, which is the start of the next one here
			got = append(got, s.State().History[0]...)
		}
	}
	if name == UniPC {
		got = append(got, x...)
	}
	goldens.Near(t, key, got, want[key+".traj"].Float32s, atol)
}

// TestGoldenTinyShapesGrids compares with the grids that made the pictures of the tiny-shapes model.
func TestGoldenTinyShapesGrids(t *testing.T) {
	var golden struct {
		Schedules map[string]struct {
			Config    any
			Timesteps []float32
			Sigmas    []float32
			Init      float64 `json:"init_noise_sigma"`
		}
	}
	goldens.JSON(t, goldens.Model(t, "tiny-shapes-golden/golden.json"), &golden)
	for key, want := range golden.Schedules {
		t.Run(key, func(t *testing.T) {
			m, schedule := configuredModel(t, want.Config)
			name, _, err := ParseSampler(strings.TrimSuffix(key, "_linspace"))
			if err != nil {
				t.Fatal(err)
			}
			grid, err := m.Grid(name, Options{Style: Diffusers, Schedule: schedule, Steps: len(want.Timesteps)})
			if err != nil {
				t.Fatal(err)
			}
			checkGrid(t, grid, want.Timesteps, want.Sigmas, want.Init)
		})
	}
	if len(golden.Schedules) == 0 {
		t.Error("no schedule in golden.json")
	}
}

// TestGoldenPipelineGrids checks the grids that goldens/pipeline describes: k-diffusion's for euler and dpmpp_2m karras,
// diffusers' DDIM.
func TestGoldenPipelineGrids(t *testing.T) {
	tables := goldens.Tensors(t, "samplers/sigmas.safetensors")
	m := standardModel(t)
	for _, test := range []struct {
		name     Name
		schedule Schedule
		table    string
	}{{Euler, Normal, "discrete"}, {DPMpp2M, Karras, "karras"}} {
		for _, steps := range []int{4, 20} {
			grid, err := m.Grid(test.name, Options{Schedule: test.schedule, Steps: steps})
			if err != nil {
				t.Fatal(err)
			}
			want := widen(tables[fmt.Sprintf("%s.%d", test.table, steps)].Float32s)
			var got []float64
			for _, p := range grid.Points {
				got = append(got, p.Sigma())
			}
			nearRelative(t, string(test.name), got, want, sigmaTolerance)
			nearRelative(t, "init", []float64{grid.InitScale}, want[:1], sigmaTolerance)
		}
	}
	grid, err := m.Grid(DDIM, Options{Steps: 4})
	if err != nil {
		t.Fatal(err)
	}
	checkGrid(t, grid, []float32{751, 501, 251, 1}, nil, 1)
	if last := grid.Points[4]; last.Signal != math.Sqrt(m.alphas[0]) {
		t.Errorf("DDIM ends at signal %v, want that of the first training step", last.Signal)
	}
}
