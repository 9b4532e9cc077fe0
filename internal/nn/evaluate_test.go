package nn

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"waggle/internal/goldens"
	"waggle/internal/reference"
	"waggle/internal/weights"
)

// memory is a weights.Source of tensors made by tests.
type memory = invented

// put adds a float32 tensor.
func (m memory) put(name string, values []float32, shape ...int) {
	var data []byte
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	m[name] = weights.Tensor{Name: name, DType: weights.F32, Shape: shape, Data: data}
}

// random adds a tensor of normal numbers, which depend on the name only.
func (m memory) random(name string, shape ...int) []float32 {
	values := normal(name, Shape(shape).Elements())
	m.put(name, values, shape...)
	return values
}

// normal draws n numbers that depend on the seed only.
func normal(seed string, n int) []float32 {
	var bytes [32]byte
	copy(bytes[:], seed)
	r := rand.New(rand.NewChaCha8(bytes))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

func TestEvaluateResBlock(t *testing.T) {
	const n, h, w, c, out, d = 2, 5, 3, 6, 8, 7
	m := memory{}
	nw, nb := m.random("block.norm.weight", c), m.random("block.norm.bias", c)
	cw, cb := m.random("block.conv.weight", out, c, 3, 3), m.random("block.conv.bias", out)
	ew, eb := m.random("block.emb.weight", out, d), m.random("block.emb.bias", out)
	sw := m.random("block.skip.weight", out, c, 1, 1)
	g := NewGraph(m)
	x, temb := g.Input("x", PerStep, n, h, w, c), g.Input("t", PerStep, n, d)
	b := g.Scope("block")
	y := b.Conv3x3("conv", b.SiLU(b.GroupNorm("norm", x, 3, 1e-5)), out)
	y = b.AddPerChannel(y, b.Linear("emb", b.SiLU(temb), out))
	g.Output("y", g.Add(b.LinearNoBias("skip", x, out), y))
	xs, ts := normal("x", n*h*w*c), normal("t", n*d)
	got, err := g.Evaluate(map[string][]float32{"x": xs, "t": ts})
	if err != nil {
		t.Fatal(err)
	}
	want := reference.Map(reference.GroupNorm(xs, nw, nb, n, 3, float64(float32(1e-5))), reference.SiLU)
	want = reference.Conv3x3(want, cw, cb, reference.Conv{N: n, H: h, W: w, In: c, Out: out, Stride: 1})
	emb := reference.Linear(reference.Map(ts, reference.SiLU), ew, eb, d, out)
	want = reference.Add(reference.Linear(xs, sw, nil, c, out), reference.AddPerChannel(want, emb, n))
	goldens.Near(t, "y", got["y"], want, 0)
}

func TestEvaluateTransformer(t *testing.T) {
	const n, tokens, width, heads, vocabulary = 2, 5, 12, 3, 9
	m := memory{}
	table, places := m.random("tok.weight", vocabulary, width), m.random("pos.weight", 7, width)
	nw, nb := m.random("ln.weight", width), m.random("ln.bias", width)
	var qkv [3][]float32
	for i, name := range []string{"q", "k", "v"} {
		qkv[i] = m.random(name+".weight", width, width)
	}
	g := NewGraph(m)
	ids := g.Input("ids", PerJob, n, tokens, 1)
	e := g.Embedding("tok", "pos", ids, width)
	x := g.LayerNorm("ln", e, 1e-5)
	joined := g.JoinedLinear(x, width, false, "q", "k", "v")
	part := func(i int) Tensor { return g.Columns(joined, i*width, width) }
	a := g.Attention(part(0), part(1), part(2), heads, true)
	g.Output("y", g.GEGLU(g.Concat(a, g.Activate(e, QuickGELU))))
	g.Output("gelu", g.Reshape(g.Activate(a, GELU), n*tokens, width))
	numbers := []float32{0, 3, 8, 8, 1, 2, 5, 7, 0, 4}
	got, err := g.Evaluate(map[string][]float32{"ids": numbers})
	if err != nil {
		t.Fatal(err)
	}
	emb := reference.Embedding(numbers, table, places, tokens, width)
	norm := reference.LayerNorm(emb, nw, nb, float64(float32(1e-5)))
	var p [3][]float32
	for i := range p {
		p[i] = reference.Linear(norm, qkv[i], nil, width, width)
	}
	attention := reference.Attention(p[0], p[1], p[2], n, width, heads, true)
	gated := reference.Concat(attention, reference.Map(emb, reference.QuickGELU), width, width)
	goldens.Near(t, "y", got["y"], reference.GEGLU(gated, width), 0)
	goldens.Near(t, "gelu", got["gelu"], reference.Map(attention, reference.GELU), 0)
}

func TestEvaluatePictureSizes(t *testing.T) {
	m := memory{}
	m.random("c.weight", 2, 3, 3, 3)
	m.random("c.bias", 2)
	for name, build := range map[string]func(*Graph, Tensor) Tensor{
		"[1,5,7,2]":   func(g *Graph, x Tensor) Tensor { return g.Conv3x3("c", x, 2) },
		"[1,3,4,2]":   func(g *Graph, x Tensor) Tensor { return g.DownConv3x3("c", x, 2) },
		"[1,2,3,2]":   func(g *Graph, x Tensor) Tensor { return g.DownConv3x3PadEnd("c", x, 2) },
		"[1,10,14,2]": func(g *Graph, x Tensor) Tensor { return g.UpConv3x3("c", x, 2) },
	} {
		g := NewGraph(m)
		y := build(g, g.Input("x", PerStep, 1, 5, 7, 3))
		g.Output("y", y)
		got, err := g.Evaluate(map[string][]float32{"x": normal("x", 5*7*3)})
		if err != nil || y.Shape().String() != name || len(got["y"]) != y.Shape().Elements() {
			t.Errorf("got shape %v, %d elements, error %v, want %s", y.Shape(), len(got["y"]), err, name)
		}
	}
}

func TestEvaluateErrors(t *testing.T) {
	m := memory{}
	m.random("l.weight", 4, 3)
	m.random("l.bias", 4)
	m.random("short.weight", 4, 2)
	m.random("tok.weight", 9, 3)
	m.random("pos.weight", 2, 3)
	x := normal("x", 6)
	for _, test := range []struct {
		name   string
		build  func(g *Graph, x Tensor) Tensor
		inputs map[string][]float32
		want   string
	}{
		{"missing tensor", func(g *Graph, x Tensor) Tensor { return g.Linear("none", x, 4) },
			map[string][]float32{"x": x}, "tensor none.weight is missing (want shape [4 3])"},
		{"wrong shape", func(g *Graph, x Tensor) Tensor { return g.LinearNoBias("short", x, 4) },
			map[string][]float32{"x": x}, "tensor short.weight has shape [4 2], want [4 3]"},
		{"first error sticks", func(g *Graph, x Tensor) Tensor { return g.Linear("later", g.Columns(x, 2, 5), 4) },
			map[string][]float32{"x": x}, "columns 2…7 of a tensor with 3 channels"},
		{"missing input", func(g *Graph, x Tensor) Tensor { return g.Linear("l", x, 4) }, nil, "input x is missing"},
		{"short input", func(g *Graph, x Tensor) Tensor { return g.Linear("l", x, 4) },
			map[string][]float32{"x": x[:5]}, "input x has 5 elements, want 6"},
		{"unknown input", func(g *Graph, x Tensor) Tensor { return g.Linear("l", x, 4) },
			map[string][]float32{"x": x, "z": x}, "no input z"},
		{"token id", func(g *Graph, x Tensor) Tensor {
			return g.Embedding("tok", "pos", g.Columns(g.Reshape(x, 1, 2, 3), 0, 1), 3)
		},
			map[string][]float32{"x": {1, 0, 0, 9, 0, 0}}, "token id 9 at place 1, want a whole number below 9"},
	} {
		g := NewGraph(m)
		g.Output("y", test.build(g, g.Input("x", PerStep, 2, 3)))
		got, err := g.Evaluate(test.inputs)
		if err == nil || !strings.Contains(err.Error(), test.want) || got != nil {
			t.Errorf("%s: got %v, error %v, want %q", test.name, got, err, test.want)
		}
	}
}

// A tensor whose bytes are damaged after the graph was checked is an error, not a panic.
func TestEvaluateDamagedTensor(t *testing.T) {
	m := memory{}
	m.random("l.weight", 4, 3)
	g := NewGraph(m)
	g.Output("y", g.LinearNoBias("l", g.Input("x", PerStep, 2, 3), 4))
	broken := m["l.weight"]
	broken.Data = slices.Clone(broken.Data[:8])
	m["l.weight"] = broken
	if _, err := g.Evaluate(map[string][]float32{"x": normal("x", 6)}); err == nil || !strings.Contains(fmt.Sprint(err), "l.weight") {
		t.Errorf("got error %v, want one that names the tensor", err)
	}
}
