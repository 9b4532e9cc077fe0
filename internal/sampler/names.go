package sampler

import (
	"fmt"
	"slices"
	"strings"
)

// Name is a sampler's own name, as in k-diffusion and ComfyUI.
type Name string

const (
	Euler               Name = "euler"
	EulerAncestral      Name = "euler_ancestral"
	EulerCFGpp          Name = "euler_cfg_pp"
	EulerAncestralCFGpp Name = "euler_ancestral_cfg_pp"
	Heun                Name = "heun"
	HeunPP2             Name = "heunpp2"
	DPM2                Name = "dpm_2"
	DPM2Ancestral       Name = "dpm_2_ancestral"
	LMS                 Name = "lms"
	DPMFast             Name = "dpm_fast"
	DPMAdaptive         Name = "dpm_adaptive"
	DPMpp2S             Name = "dpmpp_2s"
	DPMpp2SAncestral    Name = "dpmpp_2s_ancestral"
	DPMpp2SAncestralCFG Name = "dpmpp_2s_ancestral_cfg_pp"
	DPMppSDE            Name = "dpmpp_sde"
	DPMpp2M             Name = "dpmpp_2m"
	DPMpp2MCFGpp        Name = "dpmpp_2m_cfg_pp"
	DPMpp2MSDE          Name = "dpmpp_2m_sde"
	DPMpp2MSDEHeun      Name = "dpmpp_2m_sde_heun"
	DPMpp3MSDE          Name = "dpmpp_3m_sde"
	DDIM                Name = "ddim"
	DDPM                Name = "ddpm"
	PLMS                Name = "plms"
	UniPC               Name = "uni_pc"
	UniPCBH2            Name = "uni_pc_bh2"
	IPNDM               Name = "ipndm"
	IPNDMV              Name = "ipndm_v"
	DEIS                Name = "deis"
	Restart             Name = "restart"
	LCM                 Name = "lcm"
	TCD                 Name = "tcd"
)

// Info describes a sampler to people.
type Info struct {
	Name    Name     `json:"name"`
	Label   string   `json:"label"` // A1111's name
	Aliases []string `json:"aliases,omitempty"`
	Eta     *float64 `json:"eta,omitempty"` // default share of new noise, where the sampler can add any
	Calls   int      `json:"calls"`         // of the network in a step, at most; 0: as many as it takes
}

// ScheduleInfo describes a schedule to people.
type ScheduleInfo struct {
	Name    Schedule `json:"name"`
	Label   string   `json:"label"` // A1111's name
	Aliases []string `json:"aliases,omitempty"`
}

// kind is a sampler: its names and its rule.
type kind struct {
	info       Info
	rule       rule
	memory     int  // earlier estimates that the rule needs
	beside     int  // latents that it needs beside them
	numbers    int  // that it remembers
	timesteps  bool // defined on training steps at variance 1, as DDIM
	multistep  bool // in diffusers one of the multistep solvers, which space their steps in their own way
	continuous bool // spaced by time as in UniPC's own code, see continuousGrid
	original   bool // in diffusers on the steps of a distillation, see originalSteps
	toZero     bool // ends without noise whatever the configuration says of alpha
	toFirst    bool // ends with the noise of the first training step
	skipsLast  bool // A1111 and ComfyUI leave out the last sigma but one
	brownian   bool // k-diffusion takes its noise from a Brownian motion
	uncond     bool // needs the estimate without the prompt
	bh2        bool // UniPC with the second kind of B(h)
	// shape makes the sampler's own levels out of a schedule's.
	shape func(m *Model, k kind, sigmas []float64) *Grid
}

// kinds are in the order in which they are shown.
var kinds = []kind{
	{info: Info{Name: Euler, Label: "Euler", Calls: 1}, rule: ancestral},
	{info: Info{Name: EulerAncestral, Label: "Euler a", Aliases: []string{"euler_a"}, Eta: eta(1), Calls: 1}, rule: ancestral},
	{info: Info{Name: EulerCFGpp, Label: "Euler CFG++", Calls: 1}, rule: ancestralCFGpp, uncond: true},
	{info: Info{Name: EulerAncestralCFGpp, Label: "Euler a CFG++", Eta: eta(1), Calls: 1}, rule: ancestralCFGpp, uncond: true},
	{info: Info{Name: Heun, Label: "Heun", Calls: 2}, rule: heun},
	{info: Info{Name: HeunPP2, Label: "HeunPP2", Aliases: []string{"Heun++"}, Calls: 3}, rule: heunpp},
	{info: Info{Name: DPM2, Label: "DPM2", Calls: 2}, rule: dpm2, skipsLast: true},
	{info: Info{Name: DPM2Ancestral, Label: "DPM2 a", Aliases: []string{"dpm2_ancestral", "dpm_2_a"}, Eta: eta(1), Calls: 2}, rule: dpm2, skipsLast: true},
	{info: Info{Name: LMS, Label: "LMS", Calls: 1}, rule: multistep(true, lms), memory: 3},
	{info: Info{Name: DPMFast, Label: "DPM fast", Eta: eta(0), Calls: 3}, rule: dpmFast, shape: (*Model).logGrid},
	{info: Info{Name: DPMAdaptive, Label: "DPM adaptive", Aliases: []string{"dpm_ad"}, Eta: eta(0)}, rule: dpmAdaptive,
		beside: 1, numbers: adaptiveNumbers, shape: (*Model).logGrid},
	{info: Info{Name: DPMpp2S, Label: "DPM++ 2S", Aliases: []string{"dpm_solver_singlestep"}, Calls: 1}, rule: dpmpp2SSingle,
		memory: 1, beside: 1, multistep: true},
	{info: Info{Name: DPMpp2SAncestral, Label: "DPM++ 2S a", Aliases: []string{"dpmpp_2s_a"}, Eta: eta(1), Calls: 2}, rule: dpmpp2S},
	{info: Info{Name: DPMpp2SAncestralCFG, Label: "DPM++ 2S a CFG++", Eta: eta(1), Calls: 2}, rule: dpmpp2SCFGpp, uncond: true},
	{info: Info{Name: DPMppSDE, Label: "DPM++ SDE", Eta: eta(1), Calls: 2}, rule: dpmppSDE, brownian: true},
	{info: Info{Name: DPMpp2M, Label: "DPM++ 2M", Aliases: []string{"dpm_solver_multistep", "dpm++", "dpmpp"}, Calls: 1},
		rule: dpmpp2M, memory: 1, multistep: true},
	{info: Info{Name: DPMpp2MCFGpp, Label: "DPM++ 2M CFG++", Calls: 1}, rule: dpmpp2MCFGpp, memory: 1, multistep: true, uncond: true},
	{info: Info{Name: DPMpp2MSDE, Label: "DPM++ 2M SDE", Eta: eta(1), Calls: 1}, rule: dpmpp2MSDE, brownian: true, memory: 1, multistep: true},
	{info: Info{Name: DPMpp2MSDEHeun, Label: "DPM++ 2M SDE Heun", Eta: eta(1), Calls: 1}, rule: dpmpp2MSDEHeun, brownian: true, memory: 1, multistep: true},
	{info: Info{Name: DPMpp3MSDE, Label: "DPM++ 3M SDE", Eta: eta(1), Calls: 1}, rule: dpmpp3MSDE, brownian: true, memory: 2, multistep: true},
	{info: Info{Name: DDIM, Label: "DDIM", Eta: eta(0), Calls: 1}, rule: ancestral, timesteps: true},
	{info: Info{Name: DDPM, Label: "DDPM", Eta: eta(1), Calls: 1}, rule: ancestral, timesteps: true, toZero: true},
	{info: Info{Name: PLMS, Label: "PLMS", Aliases: []string{"pndm"}, Calls: 2}, rule: plms, memory: 3, timesteps: true},
	{info: Info{Name: UniPC, Label: "UniPC", Calls: 1}, rule: unipc, memory: 3, beside: 1,
		timesteps: true, multistep: true, continuous: true, skipsLast: true},
	{info: Info{Name: UniPCBH2, Label: "UniPC BH2", Calls: 1}, rule: unipc, memory: 3, beside: 1,
		timesteps: true, multistep: true, continuous: true, skipsLast: true, bh2: true},
	{info: Info{Name: IPNDM, Label: "IPNDM", Calls: 1}, rule: multistep(true, ipndm), memory: 3},
	{info: Info{Name: IPNDMV, Label: "IPNDM_V", Calls: 1}, rule: multistep(true, ipndmV), memory: 3},
	{info: Info{Name: DEIS, Label: "DEIS", Calls: 1}, rule: multistep(false, deis), memory: 2, multistep: true, toFirst: true},
	{info: Info{Name: Restart, Label: "Restart", Calls: 2}, rule: restart, shape: (*Model).restartGrid},
	{info: Info{Name: LCM, Label: "LCM", Calls: 1}, rule: lcm, original: true, toZero: true},
	{info: Info{Name: TCD, Label: "TCD", Eta: eta(0.3), Calls: 1}, rule: tcd, original: true, toFirst: true},
}

func eta(share float64) *float64 { return &share }

var schedules = []ScheduleInfo{
	{Normal, "Normal", []string{"uniform", "discrete"}},
	{Karras, "Karras", []string{"ka"}},
	{Exponential, "Exponential", nil},
	{PolyExponential, "Polyexponential", nil},
	{SGMUniform, "SGM Uniform", nil},
	{Simple, "Simple", nil},
	{DDIMUniform, "DDIM", []string{"ddim"}},
	{Beta, "Beta", nil},
	{BetaComfy, "Beta (ComfyUI)", nil},
	{KLOptimal, "KL Optimal", nil},
	{AlignYourSteps, "Align Your Steps", []string{"ays", "align_your_steps_11"}},
	{AlignYourSteps32, "Align Your Steps 32", []string{"ays32"}},
	{Turbo, "Turbo", nil},
	{VP, "VP", nil},
	{LinearQuadratic, "Linear Quadratic", nil},
}

// Samplers returns all samplers, in the order in which to show them.
func Samplers() []Info {
	infos := make([]Info, len(kinds))
	for i, kind := range kinds {
		infos[i] = kind.info
		infos[i].Aliases = slices.Clone(kind.info.Aliases)
		if share := kind.info.Eta; share != nil {
			infos[i].Eta = eta(*share)
		}
	}
	return infos
}

// Schedules returns all schedules, in the order in which to show them.
func Schedules() []ScheduleInfo { return slices.Clone(schedules) }

// NeedsUncond reports whether a sampler needs the estimate without the prompt whatever the guidance is.
func NeedsUncond(name Name) bool {
	kind, err := kindOf(name)
	return err == nil && kind.uncond
}

// Brownian reports whether a sampler's noise belongs to ways between sigmas, as that of a Brownian motion does.
func Brownian(name Name) bool {
	kind, err := kindOf(name)
	return err == nil && kind.brownian
}

// ParseSampler finds a sampler by its own name, A1111's or another program's, in any case. A1111's older names end in a
// schedule ("DPM++ 2M Karras"); it is returned too, and is empty otherwise. ComfyUI's "_gpu" and the "k_" of A1111's API say
// nothing more.
func ParseSampler(text string) (Name, Schedule, error) {
	key := strings.TrimSuffix(strings.TrimPrefix(fold(text), "k_"), "_gpu")
	if name, ok := samplerByKey(key); ok {
		return name, "", nil
	}
	for _, s := range schedules {
		for _, suffix := range append([]string{string(s.Name), s.Label}, s.Aliases...) {
			stem, found := strings.CutSuffix(key, "_"+fold(suffix))
			if name, ok := samplerByKey(stem); found && ok {
				return name, s.Name, nil
			}
		}
	}
	return "", "", unknown("sampler", text, samplerNames())
}

// ParseSchedule finds a schedule by its own name or A1111's, in any case. "", "automatic" and "default" give the empty
// schedule: the caller's default.
func ParseSchedule(text string) (Schedule, error) {
	key := fold(text)
	if key == "" || key == "automatic" || key == "default" {
		return "", nil
	}
	for _, s := range schedules {
		if key == fold(string(s.Name)) || key == fold(s.Label) || slices.ContainsFunc(s.Aliases, same(key)) {
			return s.Name, nil
		}
	}
	return "", unknown("schedule", text, scheduleNames())
}

func samplerByKey(key string) (Name, bool) {
	for _, kind := range kinds {
		if key == fold(string(kind.info.Name)) || key == fold(kind.info.Label) || slices.ContainsFunc(kind.info.Aliases, same(key)) {
			return kind.info.Name, true
		}
	}
	return "", false
}

func same(key string) func(string) bool {
	return func(other string) bool { return key == fold(other) }
}

// fold makes spellings of a name equal: "DPM++ 2M" and "dpmpp-2m" become "dpmpp_2m".
func fold(text string) string {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return strings.ContainsRune(" \t_-()", r) })
	return strings.ReplaceAll(strings.Join(words, "_"), "++", "pp")
}

func kindOf(name Name) (kind, error) {
	for _, kind := range kinds {
		if kind.info.Name == name {
			return kind, nil
		}
	}
	return kind{}, unknown("sampler", string(name), samplerNames())
}

func samplerNames() (names []string) {
	for _, kind := range kinds {
		names = append(names, string(kind.info.Name))
	}
	return names
}

func scheduleNames() (names []string) {
	for _, s := range schedules {
		names = append(names, string(s.Name))
	}
	return names
}

func unknown(what, got string, names []string) error {
	return fmt.Errorf("%s %.60q is not known; want one of %s", what, got, strings.Join(names, ", "))
}
