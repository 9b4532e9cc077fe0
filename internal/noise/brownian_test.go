package noise

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"
)

// TestBrownian compares with torchsde, see testdata/brownian.py.
func TestBrownian(t *testing.T) {
	data, err := os.ReadFile("testdata/brownian.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Seed                uint64 `json:",string"`
		Low, High, From, To float64
		Noise               []float64
	}
	if err := json.Unmarshal(data, &cases); err != nil || len(cases) == 0 {
		t.Fatalf("%d cases, error %v", len(cases), err)
	}
	for _, c := range cases {
		got := brownian(t, TorchCPU, c.Seed, c.Low, c.High).Between(len(c.Noise), c.From, c.To)
		for i, want := range c.Noise {
			if d := math.Abs(float64(got[i]) - want); !(d < 5e-6) {
				t.Errorf("seed %d, %v to %v: value %d is %v, want %v", c.Seed, c.From, c.To, i, got[i], want)
				break
			}
		}
	}
}

func brownian(t testing.TB, kind Kind, seed uint64, low, high float64) *Brownian {
	t.Helper()
	b, err := NewBrownian(kind, seed, low, high)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBrownianAddsUp: the increment of a way is that of its parts, and does not depend on what was asked for before.
func TestBrownianAddsUp(t *testing.T) {
	const n = 40
	for _, kind := range []Kind{TorchCPU, Philox} {
		b := brownian(t, kind, 9, 0.03, 14.6)
		whole, first, second := b.Between(n, 14.6, 0.03), b.Between(n, 14.6, 3.7), b.Between(n, 3.7, 0.03)
		for i := range whole {
			sum := float64(first[i])*math.Sqrt(14.6-3.7) + float64(second[i])*math.Sqrt(3.7-0.03)
			if d := math.Abs(sum - float64(whole[i])*math.Sqrt(14.6-0.03)); d > 1e-4 {
				t.Errorf("%s: value %d: the parts differ from the whole by %v", kind, i, d)
			}
		}
		if again := brownian(t, kind, 9, 0.03, 14.6).Between(n, 3.7, 0.03); !slices.Equal(again, second) {
			t.Errorf("%s: noise depends on what was asked for before", kind)
		}
		if other := brownian(t, kind, 10, 0.03, 14.6).Between(n, 3.7, 0.03); slices.Equal(other, second) {
			t.Errorf("%s: the seed does not matter", kind)
		}
		if nothing := b.Between(n, 2, 2); slices.ContainsFunc(nothing, func(v float32) bool { return v != 0 }) {
			t.Errorf("%s: noise where there is no way", kind)
		}
	}
}

// TestBrownianIsUnit: mean 0 and deviation 1, whatever the way.
func TestBrownianIsUnit(t *testing.T) {
	const n = 20_000
	for _, way := range [][2]float64{{14.6, 14.5}, {5, 0.03}, {0.5, 0.4}} {
		var sum, squares float64
		for _, v := range brownian(t, Philox, 1, 0.03, 14.6).Between(n, way[0], way[1]) {
			sum, squares = sum+float64(v), squares+float64(v)*float64(v)
		}
		if mean, deviation := sum/n, math.Sqrt(squares/n); math.Abs(mean) > 0.03 || math.Abs(deviation-1) > 0.02 {
			t.Errorf("%v: mean %v, deviation %v", way, mean, deviation)
		}
	}
}

func TestBrownianRefuses(t *testing.T) {
	for _, ends := range [][2]float64{{1, 1}, {2, 1}, {-1, 1}, {0, math.Inf(1)}, {math.NaN(), 1}} {
		if _, err := NewBrownian(Philox, 0, ends[0], ends[1]); err == nil {
			t.Errorf("%v: no error", ends)
		}
	}
	if _, err := NewBrownian("dice", 0, 0, 1); err == nil {
		t.Error("unknown generator: no error")
	}
}

func BenchmarkBrownian(b *testing.B) {
	for _, kind := range []Kind{TorchCPU, Philox} {
		b.Run(string(kind), func(b *testing.B) {
			noise, sigma := brownian(b, kind, 1, 0.03, 14.6), 14.6
			for b.Loop() {
				noise.Between(4*64*64, sigma, sigma*0.9)
				if sigma *= 0.9; sigma < 0.04 {
					sigma = 14.6
				}
			}
		})
	}
}
