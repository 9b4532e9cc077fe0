package reference

import (
	"slices"
	"strings"
	"testing"

	"waggle/internal/goldens"
)

// without are golden operations that this package has no counterpart for: they belong to other packages or to none.
var without = []string{"gelu_tanh", "tanh_clamp", "nearest_to_9x5", "pixel_unshuffle_2", "pixel_unshuffle_8", "avg_pool_2",
	"timestep_32", "timestep_320", "timestep_256"}

// golden is one operation of the golden file: its inputs by name, NCHW.
type golden struct {
	name, formula string
	in            map[string]goldens.Tensor
}

func (g golden) x() goldens.Tensor { return g.in["x"] }

func (g golden) values(name string) []float32 { return g.in[name].Float32s }

func TestGoldenOps(t *testing.T) {
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
	if len(index.Ops) == 0 {
		t.Fatal("the golden index names no operations")
	}
	for name, op := range index.Ops {
		t.Run(name, func(t *testing.T) {
			g := golden{name, op.Formula, map[string]goldens.Tensor{}}
			for in := range op.In {
				g.in[in] = tensors[name+".in."+in]
			}
			got, known := g.evaluate()
			if !known {
				t.Skip("no counterpart in this package")
			}
			goldens.Near(t, name, got, tensors[name+".out"].Float32s, op.ATol)
		})
	}
}

// evaluate runs the operation that the entry's name means and returns its result as NCHW; false for those in without.
func (g golden) evaluate() ([]float32, bool) {
	if slices.Contains(without, g.name) {
		return nil, false
	}
	kind, _, _ := strings.Cut(g.name, "_")
	switch kind {
	case "gn":
		return g.groupNorm(), true
	case "ln":
		return LayerNorm(g.values("x"), g.values("w_"), g.values("b_"), 1e-5), true
	case "gelu":
		return Map(g.values("input"), GELU), true
	case "quick":
		return Map(g.values("x"), QuickGELU), true
	case "silu":
		return Map(g.values("input"), SiLU), true
	case "geglu":
		return GEGLU(g.values("x"), g.x().Shape[2]/2), true
	case "softmax":
		return Softmax(g.values("x"), g.x().Shape[len(g.x().Shape)-1]), true
	case "attn":
		return g.attention(), true
	case "conv3", "conv":
		return g.conv3x3(), true
	case "conv1":
		return g.conv1x1(), true
	case "linear":
		w := g.in["w_"].Shape
		return Linear(g.values("x"), g.values("w_"), g.values("b_"), w[1], w[0]), true
	case "nearest":
		return g.upsample(), true
	}
	return nil, true // an entry that this test does not know fails it
}

func (g golden) groupNorm() []float32 {
	eps := 1e-5
	if strings.HasSuffix(g.formula, "1e-06") {
		eps = 1e-6
	}
	s := g.x().Shape
	y := GroupNorm(channelsLast(g.x()), g.values("w_"), g.values("b_"), s[0], 32, eps)
	return channelsFirst(y, s[0], s[1])
}

func (g golden) attention() []float32 {
	q := g.in["q"]
	n, heads, d := q.Shape[0], q.Shape[1], q.Shape[3]
	y := Attention(headsLast(q), headsLast(g.in["k_"]), headsLast(g.in["v"]), n, heads*d, heads, g.name == "attn_causal")
	// [n,t,heads,d] → [n,heads,t,d] is the same swap again.
	return headsLast(goldens.Tensor{Shape: []int{n, q.Shape[2], heads, d}, Float32s: y})
}

func (g golden) conv3x3() []float32 {
	s, out := g.x().Shape, g.in["w_"].Shape[0]
	c := Conv{N: s[0], H: s[2], W: s[3], In: s[1], Out: out, Stride: 1, PadEnd: g.name == "conv3_s2_asym"}
	if strings.Contains(g.name, "_s2") {
		c.Stride = 2
	}
	return channelsFirst(Conv3x3(channelsLast(g.x()), g.values("w_"), g.values("b_"), c), s[0], out)
}

func (g golden) conv1x1() []float32 {
	s, out := g.x().Shape, g.in["w_"].Shape[0]
	return channelsFirst(Linear(channelsLast(g.x()), g.values("w_"), g.values("b_"), s[1], out), s[0], out)
}

// upsample is a convolution whose only tap is the middle one, of channel to same channel.
func (g golden) upsample() []float32 {
	s := g.x().Shape
	w := make([]float32, s[1]*s[1]*9)
	for c := range s[1] {
		w[(c*s[1]+c)*9+4] = 1
	}
	c := Conv{N: s[0], H: s[2], W: s[3], In: s[1], Out: s[1], Stride: 1, Upsample: true}
	return channelsFirst(Conv3x3(channelsLast(g.x()), w, nil, c), s[0], s[1])
}

// channelsLast is [N,C,H,W] → [N,H,W,C].
func channelsLast(x goldens.Tensor) []float32 {
	n, c := x.Shape[0], x.Shape[1]
	return swap(x.Float32s, n, c, len(x.Float32s)/n/c, 1)
}

// channelsFirst is [N,H,W,C] → [N,C,H,W].
func channelsFirst(x []float32, n, c int) []float32 { return swap(x, n, len(x)/n/c, c, 1) }

// headsLast is [N,heads,T,d] → [N,T,heads,d].
func headsLast(x goldens.Tensor) []float32 {
	s := x.Shape
	return swap(x.Float32s, s[0], s[1], s[2], s[3])
}

// swap is [n,a,b,d] → [n,b,a,d].
func swap(x []float32, n, a, b, d int) []float32 {
	y := make([]float32, len(x))
	for i := range n * a * b {
		picture, p, q := i/(a*b), i/b%a, i%b
		copy(y[((picture*b+q)*a+p)*d:][:d], x[i*d:])
	}
	return y
}
