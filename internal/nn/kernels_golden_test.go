package nn

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"waggle/internal/goldens"
)

// halfTolerance is what rounding a matrix's weights to f16 may change, relative to the greatest value of the result.
const halfTolerance = 1e-3

// goldenOp is one entry of the golden operations: inputs by name and the result, NCHW, head by head.
type goldenOp struct {
	name, formula string
	in            map[string]goldens.Tensor
	out           []float32
	atol          float64
}

// Every family agrees with the reference implementation's single operations.
func TestGoldenOpsOnDevice(t *testing.T) {
	ops := goldenOps(t)
	d := openDevice(t)
	for _, family := range Families {
		t.Run(string(family), func(t *testing.T) {
			r := openRuntime(t, d, family)
			for _, op := range ops {
				t.Run(op.name, func(t *testing.T) { op.check(t, r) })
			}
		})
	}
}

func goldenOps(t *testing.T) (ops []goldenOp) {
	var index struct {
		File string
		Ops  map[string]struct {
			Formula string
			In      map[string][]int
			ATol    float64
		}
	}
	goldens.JSON(t, "ops/index.json", &index)
	tensors := goldens.Tensors(t, "ops/"+index.File)
	for _, name := range slices.Sorted(maps.Keys(index.Ops)) {
		entry := index.Ops[name]
		op := goldenOp{name, entry.Formula, map[string]goldens.Tensor{}, tensors[name+".out"].Float32s, entry.ATol}
		for in := range entry.In {
			op.in[in] = tensors[name+".in."+in]
		}
		ops = append(ops, op)
	}
	return ops
}

func (op goldenOp) check(t *testing.T, r *Runtime) {
	m := memory{}
	for _, name := range []string{"w_", "b_"} {
		if w, ok := op.in[name]; ok {
			m.put(map[string]string{"w_": "op.weight", "b_": "op.bias"}[name], w.Float32s, w.Shape...)
		}
	}
	g := NewGraph(m)
	inputs := map[string][]float32{}
	y, ok := op.build(g, func(name string, t goldens.Tensor) Tensor {
		values, shape := op.channelsLast(t)
		inputs[name] = values
		return g.Input(name, PerStep, shape...)
	})
	if !ok {
		t.Skip("no operation of the graph")
	}
	g.Output("y", y)
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
	tolerance := op.atol
	if strings.HasPrefix(op.name, "conv") || op.name == "linear" {
		for _, v := range op.out {
			tolerance = max(tolerance, halfTolerance*float64(max(v, -v)))
		}
	}
	goldens.Near(t, op.name, op.channelsFirst(got, y.Shape()), op.out, tolerance)
}

// build makes the graph of the entry; input declares one of its tensors, channels last. False for entries that no
// operation of a graph computes.
func (op goldenOp) build(g *Graph, input func(string, goldens.Tensor) Tensor) (Tensor, bool) {
	x, hasX := op.in["x"]
	if v, ok := op.in["input"]; ok {
		x, hasX = v, true
	}
	kind, _, _ := strings.Cut(op.name, "_")
	switch kind {
	case "gn":
		eps := 1e-5
		if strings.HasSuffix(op.formula, "1e-06") {
			eps = 1e-6
		}
		return g.GroupNorm("op", input("x", x), 32, eps), true
	case "ln":
		return g.LayerNorm("op", input("x", x), 1e-5), true
	case "geglu":
		return g.GEGLU(input("x", x)), true
	case "linear":
		return g.Linear("op", input("x", x), op.in["w_"].Shape[0]), true
	case "conv1":
		return g.Linear("op", input("x", x), op.in["w_"].Shape[0]), true
	case "conv3", "conv":
		return op.conv(g, input("x", x)), true
	case "attn":
		q := op.in["q"]
		return g.Attention(input("q", q), input("k", op.in["k_"]), input("v", op.in["v"]), q.Shape[1], op.name == "attn_causal"), true
	}
	activation, ok := map[string]Activation{"gelu": GELU, "quick_gelu": QuickGELU, "silu": SiLU}[op.name]
	if !ok || !hasX {
		return Tensor{}, false
	}
	x.Shape = []int{1, x.Len()}
	return g.Activate(input("x", x), activation), true
}

func (op goldenOp) conv(g *Graph, x Tensor) Tensor {
	out := op.in["w_"].Shape[0]
	switch {
	case op.name == "conv3_s2_asym":
		return g.DownConv3x3PadEnd("op", x, out)
	case strings.Contains(op.name, "_s2"):
		return g.DownConv3x3("op", x, out)
	}
	return g.Conv3x3("op", x, out)
}

// channelsLast is a tensor of the entry as graphs have it: pictures [N,C,H,W] → [N,H,W,C], heads [N,heads,T,d] →
// [N,T,heads·d]; others stay.
func (op goldenOp) channelsLast(x goldens.Tensor) ([]float32, []int) {
	s := x.Shape
	switch {
	case op.isPicture():
		return swap(x.Float32s, s[0], s[1], s[2]*s[3], 1), []int{s[0], s[2], s[3], s[1]}
	case op.isHeads():
		return swap(x.Float32s, s[0], s[1], s[2], s[3]), []int{s[0], s[2], s[1] * s[3]}
	}
	return x.Float32s, s
}

// channelsFirst brings a result y of shape s back into the entry's order.
func (op goldenOp) channelsFirst(y []float32, s Shape) []float32 {
	switch {
	case op.isPicture():
		return swap(y, s[0], s[1]*s[2], s[3], 1)
	case op.isHeads():
		heads := op.in["q"].Shape[1]
		return swap(y, s[0], s[1], heads, s[2]/heads)
	}
	return y
}

func (op goldenOp) isPicture() bool {
	return strings.HasPrefix(op.name, "gn") || strings.HasPrefix(op.name, "conv")
}

func (op goldenOp) isHeads() bool { return strings.HasPrefix(op.name, "attn") }

// swap is [n,a,b,d] → [n,b,a,d].
func swap(x []float32, n, a, b, d int) []float32 {
	y := make([]float32, len(x))
	for i := range n * a * b {
		picture, p, q := i/(a*b), i/b%a, i%b
		copy(y[((picture*b+q)*a+p)*d:][:d], x[i*d:])
	}
	return y
}
