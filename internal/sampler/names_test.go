package sampler

import (
	"strings"
	"testing"
)

func TestParseSampler(t *testing.T) {
	tests := []struct {
		text     string
		name     Name
		schedule Schedule
	}{
		{"euler", Euler, ""},
		{"Euler", Euler, ""},
		{"Euler a", EulerAncestral, ""},
		{"EULER_ANCESTRAL", EulerAncestral, ""},
		{"Euler a Karras", EulerAncestral, Karras},
		{"ddim", DDIM, ""},
		{"DPM++ 2M", DPMpp2M, ""},
		{"DPM++ 2M Karras", DPMpp2M, Karras},
		{"DPM++ 2M SGM Uniform", DPMpp2M, SGMUniform},
		{"dpmpp_2m_karras", DPMpp2M, Karras},
		{"dpm_solver_multistep", DPMpp2M, ""},
		{"dpm++", DPMpp2M, ""},
		{"DPMpp", DPMpp2M, ""},
		{" ddpm ", DDPM, ""},
	}
	for _, test := range tests {
		name, schedule, err := ParseSampler(test.text)
		if err != nil || name != test.name || schedule != test.schedule {
			t.Errorf("%q: got %q, %q, %v; want %q, %q", test.text, name, schedule, err, test.name, test.schedule)
		}
	}
	for _, text := range []string{"", "karras", "euler b", "_karras", strings.Repeat("x", 1<<20)} {
		_, _, err := ParseSampler(text)
		if err == nil || !strings.Contains(err.Error(), "dpmpp_2m") || len(err.Error()) > 500 {
			t.Errorf("%.20q: got %v, want an error that lists the names", text, err)
		}
	}
}

func TestParseSchedule(t *testing.T) {
	for text, want := range map[string]Schedule{
		"": "", "Automatic": "", "Karras": Karras, "sgm uniform": SGMUniform, "Align Your Steps": AlignYourSteps, "AYS": AlignYourSteps,
		"uniform": Normal, "DDIM": DDIMUniform, "beta (comfyui)": BetaComfy, "simple": Simple,
	} {
		if got, err := ParseSchedule(text); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
	if _, err := ParseSchedule("fast"); err == nil || !strings.Contains(err.Error(), "polyexponential") {
		t.Errorf("unknown schedule: got %v, want an error that lists the names", err)
	}
}

// TestNamesAreUnique: no spelling means two samplers or two schedules, and every listed spelling is understood.
func TestNamesAreUnique(t *testing.T) {
	seen := map[string]Name{}
	for _, info := range Samplers() {
		for _, text := range append([]string{string(info.Name), info.Label}, info.Aliases...) {
			if other, taken := seen[fold(text)]; taken && other != info.Name {
				t.Errorf("%q means %s and %s", text, other, info.Name)
			}
			seen[fold(text)] = info.Name
			if name, _, err := ParseSampler(text); err != nil || name != info.Name {
				t.Errorf("%q: got %q, %v", text, name, err)
			}
		}
	}
	for _, info := range Schedules() {
		for _, text := range append([]string{string(info.Name), info.Label}, info.Aliases...) {
			if name, err := ParseSchedule(text); err != nil || name != info.Name {
				t.Errorf("%q: got %q, %v, want %q", text, name, err, info.Name)
			}
		}
	}
}
