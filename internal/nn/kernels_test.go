package nn

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"waggle/gpu"
)

// openDevice gives a device, or fails the test with what to install. NO_GPU=1 skips on purpose.
func openDevice(tb testing.TB) *gpu.Device {
	tb.Helper()
	if os.Getenv("NO_GPU") == "1" {
		tb.Skip("NO_GPU=1: tests that need an adapter are skipped")
	}
	d, err := gpu.Open(os.Getenv("WAGGLE_GPU"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { d.Close() })
	return d
}

// openRuntime gives a runtime of a family, or skips where the adapter cannot run it.
func openRuntime(tb testing.TB, d *gpu.Device, family Family) *Runtime {
	tb.Helper()
	r, err := NewRuntime(d, Options{Family: family})
	if err != nil {
		tb.Skip(err)
	}
	tb.Cleanup(r.Close)
	return r
}

// tolerances of kernels against the reference, relative to the greatest value of the result. Sums are f32 everywhere;
// erf is good to 1.5e-7, and what only copies is exact.
var tolerances = map[Op]float64{
	OpLinear: 2e-6, OpConv: 4e-6, OpGroupNorm: 2e-6, OpLayerNorm: 2e-6, OpActivation: 1e-6, OpGEGLU: 1e-6,
	OpAttention: 5e-6, OpEmbedding: 1e-7, OpAdd: 1e-7, OpAddPerChannel: 1e-7, OpPool: 2e-7,
}

// kernelCase is a graph of one operation and what is fused into it.
type kernelCase struct {
	op    Op
	name  string
	build func(m memory, g *Graph) Tensor
}

// kernelCases are sizes below, at and beyond a tile of every kernel, most of them odd.
func kernelCases() []kernelCase {
	return slices.Concat(linearCases(), convCases(), normCases(), elementCases(), attentionCases())
}

func linearCases() (cases []kernelCase) {
	for _, s := range [][3]int{{1, 1, 1}, {1, 4, 4}, {3, 50, 21}, {16, 8, 64}, {64, 16, 64}, {65, 17, 65}, {300, 72, 200}, {2, 1284, 8}} {
		cases = append(cases, kernelCase{OpLinear, fmt.Sprint("rows, in, out ", s), func(m memory, g *Graph) Tensor {
			m.linear("l", s[1], s[2])
			return g.Linear("l", g.Input("x", PerStep, s[0], s[1]), s[2])
		}})
	}
	for f, name := range map[Activation]string{SiLU: "silu", GELU: "gelu", QuickGELU: "quick gelu", ReLU: "relu"} {
		cases = append(cases, kernelCase{OpLinear, name, func(m memory, g *Graph) Tensor {
			m.linear("l", 20, 36)
			return g.Activate(g.Linear("l", g.Input("x", PerStep, 37, 20), 36), f)
		}})
	}
	return append(cases, kernelCase{OpLinear, "joined, without bias", func(m memory, g *Graph) Tensor {
		for _, name := range []string{"q", "k", "v"} {
			m.half(name+".weight", 28, 20)
		}
		return g.JoinedLinear(g.Input("x", PerStep, 2, 35, 20), 28, false, "q", "k", "v")
	}}, kernelCase{OpLinear, "residual", func(m memory, g *Graph) Tensor {
		m.linear("l", 20, 36)
		return g.Add(g.Linear("l", g.Input("x", PerStep, 37, 20), 36), g.Input("z", PerStep, 37, 36))
	}}, kernelCase{OpLinear, "vector, activation and residual", func(m memory, g *Graph) Tensor {
		m.linear("l", 20, 38)
		h := g.AddPerChannel(g.Linear("l", g.Input("x", PerStep, 3, 37, 20), 38), g.Input("v", PerStep, 3, 38))
		return g.Add(g.SiLU(h), g.Input("z", PerStep, 3, 37, 38))
	}}, kernelCase{OpLinear, "of every step", func(m memory, g *Graph) Tensor {
		m.linear("l", 12, 20)
		return g.AddPerChannel(g.Input("x", PerStep, 2, 3, 20), g.Linear("l", g.Input("t", PerStep, 2, 12), 20))
	}})
}

func convCases() (cases []kernelCase) {
	for _, s := range [][5]int{{1, 1, 1, 4, 4}, {2, 1, 1, 16, 8}, {1, 8, 8, 16, 64}, {2, 5, 7, 9, 13}, {1, 3, 67, 20, 68}, {2, 13, 11, 36, 130}} {
		for name, build := range map[string]func(g *Graph, x Tensor) Tensor{
			"":         func(g *Graph, x Tensor) Tensor { return g.Conv3x3("c", x, s[4]) },
			" stride2": func(g *Graph, x Tensor) Tensor { return g.DownConv3x3("c", x, s[4]) },
			" pad end": func(g *Graph, x Tensor) Tensor { return g.DownConv3x3PadEnd("c", x, s[4]) },
			" no bias": func(g *Graph, x Tensor) Tensor { return g.ReLU(g.WithoutBias().DownConv3x3("c", x, s[4])) },
			" doubled": func(g *Graph, x Tensor) Tensor { return g.UpConv3x3("c", x, s[4]) },
			" cut":     func(g *Graph, x Tensor) Tensor { return g.UpConv3x3To("c", x, 2*s[1]-1, 2*s[2]-1, s[4]) },
		} {
			if name == " pad end" && min(s[1], s[2]) < 2 {
				continue
			}
			cases = append(cases, kernelCase{OpConv, fmt.Sprint("n, h, w, in, out ", s, name), func(m memory, g *Graph) Tensor {
				m.conv("c", s[3], s[4])
				return build(g, g.Input("x", PerStep, s[:4]...))
			}})
		}
	}
	return append(cases, kernelCase{OpConv, "vector, activation and residual", func(m memory, g *Graph) Tensor {
		m.conv("c", 12, 37)
		h := g.AddPerChannel(g.Conv3x3("c", g.Input("x", PerStep, 2, 7, 9, 12), 37), g.Input("v", PerStep, 2, 37))
		return g.Add(g.Activate(h, GELU), g.Input("z", PerStep, 2, 7, 9, 37))
	}})
}

func normCases() (cases []kernelCase) {
	for _, s := range [][5]int{{1, 1, 1, 4, 1}, {2, 5, 7, 64, 32}, {1, 3, 5, 320, 32}, {2, 33, 31, 20, 5}, {1, 17, 3, 7, 7}, {1, 40, 41, 130, 13}} {
		for _, silu := range []bool{false, true} {
			cases = append(cases, kernelCase{OpGroupNorm, fmt.Sprint("n, h, w, c, groups ", s, " silu ", silu), func(m memory, g *Graph) Tensor {
				m.norm("n", s[3])
				y := g.GroupNorm("n", g.Input("x", PerStep, s[:4]...), s[4], 1e-5)
				if silu {
					y = g.SiLU(y)
				}
				return y
			}})
		}
	}
	for _, s := range [][2]int{{1, 1}, {3, 48}, {19, 50}, {7, 1280}, {130, 8}} {
		cases = append(cases, kernelCase{OpLayerNorm, fmt.Sprint("rows, channels ", s), func(m memory, g *Graph) Tensor {
			m.norm("n", s[1])
			return g.LayerNorm("n", g.Input("x", PerStep, s[0], s[1]), 1e-5)
		}})
	}
	return cases
}

func elementCases() []kernelCase {
	activate := func(f Activation) func(memory, *Graph) Tensor {
		return func(_ memory, g *Graph) Tensor { return g.Activate(g.Input("x", PerStep, 19, 70), f) }
	}
	return []kernelCase{
		{OpActivation, "silu", activate(SiLU)}, {OpActivation, "gelu", activate(GELU)}, {OpActivation, "quick gelu", activate(QuickGELU)}, {OpActivation, "relu", activate(ReLU)},
		{OpPool, "[2,5,7,10]", func(_ memory, g *Graph) Tensor { return g.MeanPool(g.Input("x", PerStep, 2, 5, 7, 10)) }},
		{OpPool, "[3,8,18,70]", func(_ memory, g *Graph) Tensor { return g.MeanPool(g.Input("x", PerStep, 3, 8, 18, 70)) }},
		{OpGEGLU, "[3,7,72]", func(_ memory, g *Graph) Tensor { return g.GEGLU(g.Input("x", PerStep, 3, 7, 72)) }},
		{OpGEGLU, "[300,136]", func(_ memory, g *Graph) Tensor { return g.GEGLU(g.Input("x", PerStep, 300, 136)) }},
		{OpAdd, "[5,7,9]", func(_ memory, g *Graph) Tensor {
			return g.Add(g.Input("x", PerStep, 5, 7, 9), g.Input("z", PerStep, 5, 7, 9))
		}},
		{OpAddPerChannel, "[3,5,7,70]", func(_ memory, g *Graph) Tensor {
			return g.AddPerChannel(g.Input("x", PerStep, 3, 5, 7, 70), g.Input("v", PerStep, 3, 70))
		}},
		{OpConcat, "[35,68] and [35,5]", func(_ memory, g *Graph) Tensor {
			return g.Concat(g.Input("x", PerStep, 35, 68), g.Input("z", PerStep, 35, 5))
		}},
		{OpColumns, "8…15 of 70", func(_ memory, g *Graph) Tensor { return g.Columns(g.Input("x", PerStep, 35, 70), 8, 7) }},
		{OpEmbedding, "[2,77,24]", func(m memory, g *Graph) Tensor {
			m.half("tokens.weight", 50, 24)
			m.half("places.weight", 77, 24)
			return g.Embedding("tokens", "places", g.Input("ids", PerStep, 2, 77, 1), 24)
		}},
	}
}

func attentionCases() (cases []kernelCase) {
	for _, s := range [][5]int{
		{1, 1, 1, 1, 4}, {2, 20, 20, 2, 8}, {2, 70, 77, 3, 40}, {1, 130, 33, 2, 80}, {1, 64, 64, 2, 160}, {1, 300, 300, 4, 24},
		{1, 64, 65, 2, 64}, {1, 257, 9, 2, 56}, {1, 1030, 70, 1, 40}, {2, 45, 45, 1, 176}, {1, 200, 77, 1, 512},
	} {
		cases = append(cases, kernelCase{OpAttention, fmt.Sprint("n, queries, keys, heads, d ", s), func(m memory, g *Graph) Tensor {
			c := s[3] * s[4]
			kv := g.Input("kv", PerStep, s[0], s[2], 2*c)
			return g.Attention(g.Input("q", PerStep, s[0], s[1], c), g.Columns(kv, 0, c), g.Columns(kv, c, c), s[3], false)
		}})
	}
	for _, s := range [][4]int{{1, 1, 1, 4}, {2, 77, 2, 64}, {1, 130, 3, 24}} {
		cases = append(cases, kernelCase{OpAttention, fmt.Sprint("causal n, tokens, heads, d ", s), func(m memory, g *Graph) Tensor {
			c := s[2] * s[3]
			x := g.Input("qkv", PerStep, s[0], s[1], 3*c)
			return g.Attention(g.Columns(x, 0, c), g.Columns(x, c, c), g.Columns(x, 2*c, c), s[2], true)
		}})
	}
	return cases
}

// Every kernel of every family computes what the reference does, whatever its memory held before.
func TestKernelsMatchReference(t *testing.T) {
	d := openDevice(t)
	for _, family := range Families {
		t.Run(string(family), func(t *testing.T) {
			r := openRuntime(t, d, family)
			for _, k := range kernelCases() {
				t.Run(fmt.Sprint(k.op, " ", k.name), func(t *testing.T) { k.check(t, r) })
			}
		})
	}
}

func (k kernelCase) check(t *testing.T, r *Runtime) {
	m := memory{}
	g := NewGraph(m)
	g.Output("y", k.build(m, g))
	inputs := inputsOf(g)
	want, err := g.Evaluate(inputs)
	if err != nil {
		t.Fatal(err)
	}
	e := compileOn(t, r, g, m)
	spoil(t, e)
	for name, values := range inputs {
		if err := e.SetInput(name, values); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Run(); err != nil {
		t.Fatal(err)
	}
	got, err := e.Output("y")
	if err != nil {
		t.Fatal(err)
	}
	near(t, got, want["y"], tolerances[k.op])
}

func compileOn(tb testing.TB, r *Runtime, g *Graph, m memory) *Executable {
	tb.Helper()
	w := r.NewWeights(m)
	tb.Cleanup(w.Close)
	e, err := r.Compile(g, w)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(e.Close)
	return e
}

// spoil fills the activations' memory with NaN, so that what a kernel leaves out, or reads where nobody wrote, shows.
func spoil(tb testing.TB, e *Executable) {
	tb.Helper()
	nan := floatsToBytes([]float32{float32(math.NaN())})
	for _, b := range e.buffers {
		if err := e.runtime.device.Write(b, 0, bytes.Repeat(nan, int(b.Size())/4)); err != nil {
			tb.Fatal(err)
		}
	}
	for _, im := range e.images {
		if err := e.runtime.device.WriteImage(im, 0, bytes.Repeat(nan, 4*im.Texels())); err != nil {
			tb.Fatal(err)
		}
	}
}

// near compares with a tolerance relative to the greatest value of want.
func near(tb testing.TB, got, want []float32, tolerance float64) {
	tb.Helper()
	if len(got) != len(want) {
		tb.Fatalf("got %d numbers, want %d", len(got), len(want))
	}
	greatest, worst, at := 0.0, 0.0, 0
	for i, v := range want {
		greatest = max(greatest, math.Abs(float64(v)))
		if e := math.Abs(float64(got[i]) - float64(v)); !(e <= worst) {
			worst, at = e, i
		}
	}
	if !(worst <= tolerance*greatest) {
		tb.Errorf("greatest difference %.3g at %d of %d (got %v, want %v), allowed %.3g: %.1g of the greatest value",
			worst, at, len(want), got[at], want[at], tolerance*greatest, tolerance)
	}
}

// A dispatch that a software adapter would cut short is refused with the numbers.
func TestTooManyRoundsAreRefused(t *testing.T) {
	d := openDevice(t)
	if d.Adapter().Kind != gpu.Software {
		t.Skip("only software adapters cut loops short")
	}
	r := openRuntime(t, d, Plain)
	m := memory{}
	g := NewGraph(m)
	k := g.Input("k", PerStep, 1, 160000, 8)
	g.Output("y", g.Attention(g.Input("q", PerStep, 1, 1, 8), k, k, 2, false))
	w := r.NewWeights(m)
	defer w.Close()
	_, err := r.Compile(g, w)
	if err == nil || !strings.Contains(err.Error(), "attention_plain would go round its loops 80000 times") {
		t.Errorf("got error %v, want the number of rounds", err)
	}
}
