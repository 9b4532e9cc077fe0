package nn

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"

	"waggle/internal/weights"
)

// A self-test runs small networks, which together use every kernel of a family, on the device and in plain Go.

// invented is a source of random tensors.
type invented map[string]weights.Tensor

// Names of the tensors.
func (m invented) Names() []string { return slices.Sorted(maps.Keys(m)) }

// Tensor by name.
func (m invented) Tensor(name string) (weights.Tensor, bool) {
	t, ok := m[name]
	return t, ok
}

// noise draws n normal numbers that depend on the seed only.
func noise(seed string, n int) []float32 {
	var bytes [32]byte
	copy(bytes[:], seed)
	r := rand.New(rand.NewChaCha8(bytes))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// half adds a tensor of small random numbers in f16, so that packing loses nothing.
func (m invented) half(name string, shape ...int) {
	values := noise(name, Shape(shape).Elements())
	scale := 1 / math.Sqrt(float64(Shape(shape).Elements())/float64(shape[0]))
	data := make([]byte, 0, 2*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint16(data, weights.FloatToHalf(v*float32(scale)))
	}
	m[name] = weights.Tensor{Name: name, DType: weights.F16, Shape: shape, Data: data}
}

func (m invented) linear(name string, in, out int) {
	m.half(name+".weight", out, in)
	m.half(name+".bias", out)
}

func (m invented) conv(name string, in, out int) {
	m.half(name+".weight", out, in, 3, 3)
	m.half(name+".bias", out)
}

func (m invented) norm(name string, channels int) {
	m.half(name+".weight", channels)
	m.half(name+".bias", channels)
}

// network is a small graph and the inputs it takes.
type network struct {
	name  string
	build func(m invented, g func() *Graph) *Graph
}

// Sizes are odd on purpose: no multiple of a tile, of a subgroup or of 4 where the operation allows it.
var networks = []network{
	{name: "res block with timestep", build: func(m invented, graph func() *Graph) *Graph {
		m.norm("in.0", 24)
		m.conv("in.2", 24, 40)
		m.linear("emb", 12, 40)
		m.norm("out.0", 40)
		m.conv("out.3", 40, 40)
		m.linear("skip", 24, 40)
		g := graph()
		x := g.Input("x", PerStep, 2, 7, 9, 24)
		temb := g.Input("t", PerStep, 2, 12)
		h := g.Conv3x3("in.2", g.SiLU(g.GroupNorm("in.0", x, 4, 1e-5)), 40)
		h = g.AddPerChannel(h, g.Linear("emb", g.SiLU(temb), 40))
		h = g.Conv3x3("out.3", g.SiLU(g.GroupNorm("out.0", h, 8, 1e-6)), 40)
		g.Output("y", g.Add(g.Linear("skip", x, 40), h))
		return g
	}},
	{name: "transformer", build: func(m invented, graph func() *Graph) *Graph {
		for _, n := range []string{"ln1", "ln2", "ln3"} {
			m.norm(n, 48)
		}
		for _, n := range []string{"q1", "k1", "v1", "q2"} {
			m.half(n+".weight", 48, 48)
		}
		m.half("k2.weight", 48, 20)
		m.half("v2.weight", 48, 20)
		m.linear("o1", 48, 48)
		m.linear("o2", 48, 48)
		m.linear("ff1", 48, 2*96)
		m.linear("ff2", 96, 48)
		g := graph()
		x := g.Input("x", PerStep, 2, 35, 48)
		context := g.Input("context", PerJob, 2, 13, 20)
		h := g.LayerNorm("ln1", x, 1e-5)
		qkv := g.JoinedLinear(h, 48, false, "q1", "k1", "v1")
		a := g.Attention(g.Columns(qkv, 0, 48), g.Columns(qkv, 48, 48), g.Columns(qkv, 96, 48), 4, false)
		x = g.Add(g.Linear("o1", a, 48), x)
		kv := g.JoinedLinear(context, 48, false, "k2", "v2")
		a = g.Attention(g.LinearNoBias("q2", g.LayerNorm("ln2", x, 1e-5), 48), g.Columns(kv, 0, 48), g.Columns(kv, 48, 48), 4, false)
		x = g.Add(g.Linear("o2", a, 48), x)
		x = g.Add(g.Linear("ff2", g.GEGLU(g.Linear("ff1", g.LayerNorm("ln3", x, 1e-5), 192)), 48), x)
		g.Output("y", x)
		g.Output("kv", kv)
		return g
	}},
	{name: "gated feed-forward", build: func(m invented, graph func() *Graph) *Graph {
		m.norm("norm", 40)
		m.linear("ff1", 40, 2*192)
		m.linear("ff2", 192, 40)
		g := graph()
		x := g.Input("x", PerStep, 2, 35, 40)
		h := g.LayerNorm("norm", x, 1e-5)
		g.Output("y", g.Add(g.Linear("ff2", g.GEGLU(g.Linear("ff1", h, 384)), 40), x))
		g.Output("gated", g.GEGLU(g.Linear("ff1", x, 384)))
		return g
	}},
	{name: "pictures up and down", build: func(m invented, graph func() *Graph) *Graph {
		m.conv("first", 3, 20)
		m.conv("down", 20, 20)
		m.conv("end", 20, 8)
		m.conv("up", 8, 12)
		m.conv("last", 32, 3)
		g := graph()
		x := g.Conv3x3("first", g.Input("x", PerJob, 2, 9, 11, 3), 20)
		d := g.DownConv3x3("down", x, 20)
		g.Output("end", g.DownConv3x3PadEnd("end", x, 8))
		u := g.UpConv3x3To("up", g.DownConv3x3("end", d, 8), 5, 6, 12)
		g.Output("y", g.Conv3x3("last", g.Concat(d, u), 3))
		return g
	}},
	{name: "text encoder layer", build: func(m invented, graph func() *Graph) *Graph {
		m.half("tokens.weight", 50, 24)
		m.half("places.weight", 77, 24)
		m.linear("q", 24, 24)
		m.linear("k", 24, 24)
		m.linear("v", 24, 24)
		m.linear("fc1", 24, 96)
		m.linear("fc2", 96, 24)
		g := graph()
		x := g.Embedding("tokens", "places", g.Input("ids", PerJob, 2, 77, 1), 24)
		qkv := g.JoinedLinear(x, 24, true, "q", "k", "v")
		a := g.Attention(g.Columns(qkv, 0, 24), g.Columns(qkv, 24, 24), g.Columns(qkv, 48, 24), 3, true)
		x = g.Add(x, a)
		g.Output("quick", g.Linear("fc2", g.Activate(g.Linear("fc1", x, 96), QuickGELU), 24))
		g.Output("gelu", g.Linear("fc2", g.Activate(g.Linear("fc1", x, 96), GELU), 24))
		return g
	}},
	{name: "one wide head", build: func(m invented, graph func() *Graph) *Graph {
		m.norm("norm", 176)
		for _, n := range []string{"q", "k", "v", "o"} {
			m.linear(n, 176, 176)
		}
		g := graph()
		x := g.Input("x", PerJob, 2, 9, 5, 176)
		h := g.Reshape(g.GroupNorm("norm", x, 8, 1e-6), 2, 45, 176)
		qkv := g.JoinedLinear(h, 176, true, "q", "k", "v")
		a := g.Attention(g.Columns(qkv, 0, 176), g.Columns(qkv, 176, 176), g.Columns(qkv, 352, 176), 1, false)
		g.Output("y", g.Add(x, g.Reshape(g.Linear("o", a, 176), 2, 9, 5, 176)))
		return g
	}},
	{name: "many rows and columns", build: func(m invented, graph func() *Graph) *Graph {
		m.norm("norm", 68)
		m.conv("a", 68, 132)
		m.conv("b", 132, 64)
		m.linear("c", 64, 5)
		g := graph()
		x := g.Input("x", PerStep, 1, 40, 48, 68)
		h := g.Conv3x3("a", g.SiLU(g.GroupNorm("norm", x, 17, 1e-5)), 132)
		g.Output("y", g.Linear("c", g.SiLU(g.Conv3x3("b", h, 64)), 5))
		return g
	}},
}

// inputsOf draws a value for every input of g.
func inputsOf(g *Graph) map[string][]float32 {
	inputs := map[string][]float32{}
	for name, id := range g.inputs {
		inputs[name] = noise("input "+name, g.nodes[id].Shape.Elements())
		if name == "ids" {
			for i := range inputs[name] {
				inputs[name][i] = float32(i*7%51 - 1) // −1 is no token
			}
		}
	}
	return inputs
}

// tolerance of compiled programs against the plain evaluation, relative to the greatest value.
const tolerance = 2e-5

// SelfTestResult is what one network came to.
type SelfTestResult struct {
	Name  string  `json:"name"`
	Error float64 `json:"error"` // greatest difference to plain Go, relative to the greatest value
	Err   error   `json:"-"`     // why it failed, nil if it passed
}

// SelfTest runs small networks that together use every kernel of the runtime's family, and compares them with plain Go.
func (r *Runtime) SelfTest() []SelfTestResult {
	var results []SelfTestResult
	for _, n := range networks {
		result := SelfTestResult{Name: n.name}
		result.Error, result.Err = n.run(r)
		if result.Err == nil && !(result.Error <= tolerance) {
			result.Err = fmt.Errorf("differs by %.2g of the greatest value, allowed %.2g", result.Error, tolerance)
		}
		results = append(results, result)
	}
	return results
}

// run computes n on the device and in plain Go and returns the greatest relative difference.
func (n network) run(r *Runtime) (float64, error) {
	m := invented{}
	g := n.build(m, func() *Graph { return NewGraph(m) })
	w := r.NewWeights(m)
	defer w.Close()
	e, err := r.Compile(g, w)
	if err != nil {
		return 0, err
	}
	defer e.Close()
	inputs, worst := inputsOf(g), 0.0
	for range 2 { // the second time with what the job's part left, where there is one
		difference, err := compared(e, g, inputs)
		if err != nil {
			return 0, err
		}
		worst = max(worst, difference)
		for name, id := range g.inputs {
			if g.nodes[id].Rate == PerStep {
				slices.Reverse(inputs[name])
			}
		}
	}
	return worst, nil
}

// compared is the greatest relative difference between the outputs of e and those of g in plain Go.
func compared(e *Executable, g *Graph, inputs map[string][]float32) (worst float64, err error) {
	for name, values := range inputs {
		if g.nodes[g.inputs[name]].Rate == PerJob && e.inputs[name].given {
			continue
		}
		if err := e.SetInput(name, values); err != nil {
			return 0, err
		}
	}
	want, err := g.Evaluate(inputs)
	if err != nil {
		return 0, err
	}
	if err := e.Run(); err != nil {
		return 0, err
	}
	for name := range g.outputs {
		got, err := e.Output(name)
		if err != nil {
			return 0, err
		}
		worst = max(worst, relativeError(got, want[name]))
	}
	return worst, nil
}

// relativeError is the greatest difference by the greatest value; infinite for NaN and for unequal lengths.
func relativeError(got, want []float32) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	worst, greatest := 0.0, 0.0
	for i := range want {
		greatest = max(greatest, math.Abs(float64(want[i])))
		if e := math.Abs(float64(got[i] - want[i])); e > worst || math.IsNaN(e) {
			worst = e
		}
		if math.IsNaN(worst) {
			return math.Inf(1)
		}
	}
	return worst / greatest
}
