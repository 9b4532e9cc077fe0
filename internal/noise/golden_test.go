package noise

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"waggle/internal/goldens"
)

// golden is one tensor of goldens/rng with its key taken apart: <kind>.seed<S>.<parts…>.
type golden struct {
	key   string
	kind  Kind
	seed  uint64
	parts []string
	want  goldens.Tensor
}

type tolerance struct {
	CPU     float64 `json:"cpu_atol"`
	Philox  float64 `json:"philox_atol"`
	Float16 float64 `json:"float16_atol"`
	Float64 float64 `json:"float64_atol"`
}

func readGoldens(t *testing.T) ([]golden, tolerance) {
	t.Helper()
	var index struct {
		File      string
		Tensors   map[string]struct{ Shape []int }
		Tolerance tolerance
	}
	goldens.JSON(t, "rng/index.json", &index)
	tensors := goldens.Tensors(t, "rng/"+index.File)
	var cases []golden
	for key := range index.Tensors {
		want, found := tensors[key]
		if !found {
			t.Errorf("%s: named in index.json, not in %s", key, index.File)
			continue
		}
		cases = append(cases, takeApart(t, key, want))
	}
	slices.SortFunc(cases, func(a, b golden) int { return cmp.Compare(a.key, b.key) })
	return cases, index.Tolerance
}

func takeApart(t *testing.T, key string, want goldens.Tensor) golden {
	t.Helper()
	parts := strings.Split(strings.Replace(key, "philox.doc.", "philox.", 1), ".")
	seed, err := strconv.ParseUint(strings.TrimPrefix(parts[1], "seed"), 10, 64)
	if err != nil {
		t.Fatalf("key %s: %v", key, err)
	}
	kind := map[string]Kind{"cpu": TorchCPU, "philox": Philox}[parts[0]]
	return golden{key, kind, seed, parts[2:], want}
}

// TestGoldenFirstCall: one call of a fresh generator; for Philox also later calls, whose size does not matter.
func TestGoldenFirstCall(t *testing.T) {
	cases, tolerance := readGoldens(t)
	for _, c := range cases {
		g, n := generator(t, c.kind, c.seed), c.want.Len()
		switch {
		case c.parts[0] == "sequence":
		case c.parts[0] == "float64":
			goldens.Near(t, c.key, g.Gaussian64(n), c.want.Float64s, tolerance.Float64)
		case c.parts[0] == "float16":
			goldens.Near(t, c.key, g.Gaussian16(n), c.want.Float32s, tolerance.Float16)
		case c.kind == Philox:
			for range callNumber(t, c) {
				g.Gaussian(1)
			}
			goldens.Near(t, c.key, g.Gaussian(n), c.want.Float32s, tolerance.Philox)
		default:
			goldens.Near(t, c.key, g.Gaussian(n), c.want.Float32s, tolerance.CPU)
		}
	}
}

// callNumber reads k of "call<k>"; a key without it is the first call.
func callNumber(t *testing.T, c golden) int {
	t.Helper()
	digits, numbered := strings.CutPrefix(c.parts[0], "call")
	if !numbered {
		return 0
	}
	k, err := strconv.Atoi(digits)
	if err != nil {
		t.Fatalf("key %s: %v", c.key, err)
	}
	return k
}

// TestGoldenSequence: calls of 5, 16, 3 and 20 values on one generator.
func TestGoldenSequence(t *testing.T) {
	cases, tolerance := readGoldens(t)
	want := map[string]golden{}
	seeds := map[uint64]bool{}
	for _, c := range cases {
		if c.parts[0] == "sequence" {
			want[c.key], seeds[c.seed] = c, true
		}
	}
	if len(seeds) == 0 {
		t.Fatal("no sequence in the set")
	}
	for seed := range seeds {
		g := generator(t, TorchCPU, seed)
		for _, n := range []int{5, 16, 3, 20} {
			key := fmt.Sprintf("cpu.seed%d.sequence.%d", seed, n)
			goldens.Near(t, key, g.Gaussian(n), want[key].want.Float32s, tolerance.CPU)
		}
	}
}
