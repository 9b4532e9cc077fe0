package sampler

import (
	"fmt"
	"slices"
	"strings"
)

// Name is a sampler's own name, as in k-diffusion and ComfyUI.
type Name string

const (
	Euler          Name = "euler"
	EulerAncestral Name = "euler_ancestral"
	DDIM           Name = "ddim"
	DDPM           Name = "ddpm"
	DPMpp2M        Name = "dpmpp_2m"
)

// Info describes a sampler to people.
type Info struct {
	Name    Name     `json:"name"`
	Label   string   `json:"label"` // A1111's name
	Aliases []string `json:"aliases,omitempty"`
	Noisy   bool     `json:"noisy"` // adds noise in its steps, unless eta is 0
	Calls   int      `json:"calls"` // of the network in a step, at most
}

// ScheduleInfo describes a schedule to people.
type ScheduleInfo struct {
	Name    Schedule `json:"name"`
	Label   string   `json:"label"` // A1111's name
	Aliases []string `json:"aliases,omitempty"`
}

// kind is a sampler: its names and its rule.
type kind struct {
	info      Info
	rule      rule
	eta       float64 // default share of new noise
	memory    int     // earlier estimates that the rule needs
	timesteps bool    // defined on training steps at variance 1, as DDIM
	multistep bool    // in diffusers one of the multistep solvers, which space their steps in their own way
	toZero    bool    // ends without noise whatever the configuration says of alpha
}

// kinds are in the order in which they are shown.
var kinds = []kind{
	{info: Info{Euler, "Euler", nil, false, 1}, rule: ancestral},
	{info: Info{EulerAncestral, "Euler a", []string{"euler_a"}, true, 1}, rule: ancestral, eta: 1},
	{info: Info{DDIM, "DDIM", nil, false, 1}, rule: ancestral, timesteps: true},
	{info: Info{DDPM, "DDPM", nil, true, 1}, rule: ancestral, eta: 1, timesteps: true, toZero: true},
	{info: Info{DPMpp2M, "DPM++ 2M", []string{"dpm_solver_multistep", "dpm++", "dpmpp"}, false, 1},
		rule: dpmpp2M, memory: 1, multistep: true},
}

var schedules = []ScheduleInfo{
	{Normal, "Normal", []string{"uniform", "discrete"}},
	{Karras, "Karras", nil},
	{Exponential, "Exponential", nil},
	{PolyExponential, "Polyexponential", nil},
	{SGMUniform, "SGM Uniform", nil},
	{Simple, "Simple", nil},
	{DDIMUniform, "DDIM", []string{"ddim"}},
	{Beta, "Beta", nil},
	{BetaComfy, "Beta (ComfyUI)", nil},
	{KLOptimal, "KL Optimal", nil},
	{AlignYourSteps, "Align Your Steps", []string{"ays"}},
	{Turbo, "Turbo", nil},
}

// Samplers returns all samplers, in the order in which to show them.
func Samplers() []Info {
	infos := make([]Info, len(kinds))
	for i, kind := range kinds {
		infos[i] = kind.info
		infos[i].Aliases = slices.Clone(kind.info.Aliases)
	}
	return infos
}

// Schedules returns all schedules, in the order in which to show them.
func Schedules() []ScheduleInfo { return slices.Clone(schedules) }

// ParseSampler finds a sampler by its own name, A1111's or another program's, in any case. A1111's older names end in a
// schedule ("DPM++ 2M Karras"); it is returned too, and is empty otherwise.
func ParseSampler(text string) (Name, Schedule, error) {
	key := fold(text)
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
