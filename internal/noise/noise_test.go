package noise

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
)

func generator(t testing.TB, kind Kind, seed uint64) *Generator {
	t.Helper()
	g, err := New(kind, seed)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestGaussianIsNormal(t *testing.T) {
	const n = 100_000
	for _, kind := range []Kind{TorchCPU, Philox} {
		var sum, squares float64
		for _, v := range generator(t, kind, 7).Gaussian(n) {
			sum += float64(v)
			squares += float64(v) * float64(v)
		}
		if mean, variance := sum/n, squares/n; math.Abs(mean) > 0.01 || math.Abs(variance-1) > 0.02 {
			t.Errorf("%s: mean %v, variance %v", kind, mean, variance)
		}
	}
}

// TestRestore stops after every call of a sequence, passes the state through JSON and goes on.
func TestRestore(t *testing.T) {
	calls := []int{5, 16, 3, 20, 1, 700, 4}
	for _, kind := range []Kind{TorchCPU, Philox} {
		for stop := range calls {
			straight := generator(t, kind, 1<<63+5)
			for _, n := range calls[:stop] {
				straight.Gaussian(n)
			}
			resumed, err := Restore(throughJSON(t, straight.State()))
			if err != nil {
				t.Fatal(err)
			}
			for i, n := range calls[stop:] {
				if got, want := resumed.Gaussian(n), straight.Gaussian(n); !slices.Equal(got, want) {
					t.Errorf("%s, stopped before call %d: call %d differs", kind, stop, stop+i)
				}
			}
		}
	}
}

func throughJSON[T any](t *testing.T, in T) (out T) {
	t.Helper()
	data, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRestoreRefuses(t *testing.T) {
	for name, state := range map[string]State{
		"kind":   {Kind: "dice"},
		"torch":  {Kind: TorchCPU, Position: Position{Count: math.MaxUint64}},
		"philox": {Kind: Philox, Position: Position{Count: 1 << 32}},
	} {
		if _, err := Restore(state); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestDialects(t *testing.T) {
	const n = 64
	tests := []struct {
		name                string
		initial, steps      Kind
		stepsFollowsInitial bool
	}{
		{"a1111", Philox, Philox, true},
		{"a1111-cpu", TorchCPU, TorchCPU, true},
		{"comfy", TorchCPU, Philox, false},
		{"diffusers", TorchCPU, TorchCPU, true},
	}
	for _, test := range tests {
		dialect, err := ParseDialect(test.name)
		if err != nil {
			t.Fatal(err)
		}
		picture, err := dialect.Picture(42)
		if err != nil {
			t.Fatal(err)
		}
		initial, steps := generator(t, test.initial, 42), generator(t, test.steps, 42)
		if test.stepsFollowsInitial {
			steps.Gaussian(n)
		}
		if !slices.Equal(picture.Initial(n), initial.Gaussian(n)) {
			t.Errorf("%s: initial noise is not %s's", test.name, test.initial)
		}
		if !slices.Equal(picture.Step(n), steps.Gaussian(n)) {
			t.Errorf("%s: step noise is not %s's", test.name, test.steps)
		}
		resumed, err := RestorePicture(throughJSON(t, picture.State()))
		if err != nil || !slices.Equal(resumed.Step(n), picture.Step(n)) {
			t.Errorf("%s: resumed noise differs (%v)", test.name, err)
		}
	}
}

func TestParseDialect(t *testing.T) {
	if d, err := ParseDialect(""); err != nil || d.Name != "a1111" {
		t.Errorf("default: got %v, %v", d.Name, err)
	}
	if _, err := ParseDialect("forge"); err == nil || !strings.Contains(err.Error(), "a1111-cpu") {
		t.Errorf("unknown name: got %v, want the known ones", err)
	}
}

func TestRoundHalf(t *testing.T) {
	for in, want := range map[float64]float64{0: 0, 1: 1, -2.5: -2.5, 1 + 1.0/2048: 1, 1 + 3.0/2048: 1 + 1.0/512,
		4.000001: 4, 0x1p-24: 0x1p-24, 0x1.1p-25: 0x1p-24, 0x0.fp-25: 0, 0x1.001p-15: 0x1p-15} {
		if got := roundHalf(in); got != want {
			t.Errorf("roundHalf(%v) = %v, want %v", in, got, want)
		}
	}
}

// BenchmarkGaussian makes the latent of a 512×512 picture.
func BenchmarkGaussian(b *testing.B) {
	for _, kind := range []Kind{TorchCPU, Philox} {
		b.Run(string(kind), func(b *testing.B) {
			g := generator(b, kind, 1)
			for b.Loop() {
				g.Gaussian(4 * 64 * 64)
			}
			b.ReportMetric(4*64*64*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mvalues/s")
		})
	}
}
