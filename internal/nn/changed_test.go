package nn

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"waggle/gpu"
	"waggle/internal/weights"
)

// rankTwo changes some tensors of a base by products of rank 2, or says that they are of another kind.
type rankTwo struct {
	base  memory
	names []string
	dense bool
}

func (c rankTwo) Names() []string          { return c.base.Names() }
func (c rankTwo) Base() weights.Source     { return c.base }
func (c rankTwo) Touches(name string) bool { return slices.Contains(c.names, name) }

func (c rankTwo) Factors(name string) (rank int, up, down []float32, ok bool) {
	t, _ := c.base.Tensor(name)
	if c.dense || !c.Touches(name) || len(t.Shape) < 2 {
		return 0, nil, nil, false
	}
	up, down = c.factors(t)
	return 2, up, down, true
}

func (c rankTwo) factors(t weights.Tensor) (up, down []float32) {
	return noise("up "+t.Name, 2*t.Shape[0]), noise("down "+t.Name, 2*t.Elements()/t.Shape[0])
}

func (c rankTwo) Tensor(name string) (weights.Tensor, bool) {
	t, ok := c.base.Tensor(name)
	if !ok || !c.Touches(name) {
		return t, ok
	}
	values, _ := t.Float32s()
	if len(t.Shape) < 2 {
		for i, v := range noise("difference "+name, len(values)) {
			values[i] += v
		}
	} else {
		up, down := c.factors(t)
		columns := len(down) / 2
		for i := range values {
			row, column := i/columns, i%columns
			values[i] += up[2*row]*down[column] + up[2*row+1]*down[columns+column]
		}
	}
	t.DType, t.Data = weights.F32, nil
	for _, v := range values {
		t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(v))
	}
	return t, true
}

// changedNetwork has every kind of matrix, norms and biases; all but a few of them are to be changed.
func changedNetwork(src weights.Source) *Graph {
	g := NewGraph(src)
	x := g.Conv3x3("conv", g.Input("x", PerStep, 1, 5, 7, 20), 36)
	h := g.LayerNorm("norm", g.Reshape(x, 1, 35, 36), 1e-5)
	qkv := g.JoinedLinear(h, 12, false, "q", "k", "v")
	a := g.Attention(g.Columns(qkv, 0, 12), g.Columns(qkv, 12, 12), g.Columns(qkv, 24, 12), 3, false)
	h = g.Linear("o", a, 40)
	h = g.GEGLU(g.Linear("gate", h, 2*64))
	g.Output("y", g.Linear("same", h, 5))
	return g
}

func changedMemory() memory {
	m := memory{}
	for name, shape := range map[string][]int{"conv.weight": {36, 20, 3, 3}, "conv.bias": {36}, "norm.weight": {36}, "norm.bias": {36},
		"q.weight": {12, 36}, "k.weight": {12, 36}, "v.weight": {12, 36}, "o.weight": {40, 12}, "o.bias": {40},
		"gate.weight": {128, 40}, "gate.bias": {128}, "same.weight": {5, 64}, "same.bias": {5}} {
		values := noise(name, Shape(shape).Elements())
		for i, v := range values { // exact in f16
			values[i] = weights.HalfToFloat(weights.FloatToHalf(v))
		}
		m.put(name, values, shape...)
	}
	return m
}

var changedNames = []string{"conv.weight", "conv.bias", "norm.weight", "q.weight", "v.weight", "o.weight", "gate.weight"}

// TestChangedWeights: a network with changed weights computes what plain Go computes of them in f32, by every kernel family
// and for changes of both kinds, and leaves the weights below as they were.
func TestChangedWeights(t *testing.T) {
	d := openDevice(t)
	base := changedMemory()
	x := map[string][]float32{"x": noise("x", 5*7*20)}
	for _, family := range Families {
		for _, dense := range []bool{false, true} {
			t.Run(string(family)+map[bool]string{false: "", true: " dense"}[dense], func(t *testing.T) {
				r := openRuntime(t, d, family)
				change := rankTwo{base, changedNames, dense}
				w := r.NewWeights(base)
				defer w.Close()
				before, packed := evaluateOn(t, r, changedNetwork(base), w, x), readPacked(t, r, w)
				changed := w.With(change, false)
				defer changed.Close()
				want, err := changedNetwork(change).Evaluate(x)
				if err != nil {
					t.Fatal(err)
				}
				got := evaluateOn(t, r, changedNetwork(base), changed, x)
				if e := relative(got, want["y"]); e > tolerance {
					t.Errorf("changed: differs by %.2g of the greatest value, allowed %.2g", e, tolerance)
				}
				if e := relative(got, before); e < 0.01 {
					t.Errorf("the change changed nothing: %.2g", e)
				}
				if after := evaluateOn(t, r, changedNetwork(base), w, x); !slices.Equal(before, after) {
					t.Error("the weights without changes compute something else after")
				}
				for key, bits := range readPacked(t, r, w) {
					if !bytes.Equal(bits, packed[key]) {
						t.Errorf("the packed weights %s are not what they were", key)
					}
				}
			})
		}
	}
}

// TestPlanOfChangedWeights: what is planned is what is taken, where all weights are changed.
func TestPlanOfChangedWeights(t *testing.T) {
	d := openDevice(t)
	for _, family := range Families {
		t.Run(string(family), func(t *testing.T) {
			r := openRuntime(t, d, family)
			base := changedMemory()
			w := r.NewWeights(base)
			defer w.Close()
			changed := w.With(rankTwo{base, base.Names(), false}, true)
			defer changed.Close()
			plan, err := r.Plan(changedNetwork(base), changed)
			if err != nil {
				t.Fatal(err)
			}
			e, err := r.Compile(changedNetwork(base), changed)
			if err != nil {
				t.Fatal(err)
			}
			e.Close()
			if got := changed.Bytes(); got > plan.Weights || got < plan.Weights*9/10 {
				t.Errorf("weights that are all changed take %d bytes, the plan is %d", got, plan.Weights)
			}
			if plan.Missing != plan.Weights {
				t.Errorf("%d bytes are missing of %d", plan.Missing, plan.Weights)
			}
			if after, err := r.Plan(changedNetwork(base), changed); err != nil || after.Missing != 0 {
				t.Errorf("%d bytes are missing after (error %v)", after.Missing, err)
			}
			if w.Bytes() > 256 { // zeros in place of a bias are shared
				t.Errorf("%d bytes of the base's weights are still there", w.Bytes())
			}
		})
	}
}

func evaluateOn(t *testing.T, r *Runtime, g *Graph, w *Weights, inputs map[string][]float32) []float32 {
	t.Helper()
	e, err := r.Compile(g, w)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for name, v := range inputs {
		if err := e.SetInput(name, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Run(); err != nil {
		t.Fatal(err)
	}
	y, err := e.Output("y")
	if err != nil {
		t.Fatal(err)
	}
	return y
}

// relative is the greatest difference as a share of the greatest value.
func relative(got, want []float32) float64 {
	worst, greatest := 0.0, 0.0
	for i, v := range want {
		worst, greatest = max(worst, math.Abs(float64(got[i]-v))), max(greatest, math.Abs(float64(v)))
	}
	return worst / greatest
}

// readPacked reads every packed weight back.
func readPacked(t *testing.T, r *Runtime, w *Weights) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for key, b := range w.buffers {
		all[key] = read(t, r.device, b)
	}
	for key, im := range w.images {
		all[key] = read(t, r.device, bits(t, r.device, im))
	}
	if len(all) == 0 {
		t.Fatal("nothing is packed")
	}
	return all
}

func read(t *testing.T, d *gpu.Device, b *gpu.Buffer) []byte {
	t.Helper()
	data, err := d.Read(b, 0, b.Size())
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// bits copies an image to a buffer by a kernel.
func bits(t *testing.T, d *gpu.Device, im *gpu.Image) *gpu.Buffer {
	t.Helper()
	k, err := d.NewKernel("bits", `
@group(0) @binding(0) var x: texture_storage_2d<rgba32uint, read>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<u32>>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  y[id.y * 2048u + id.x] = textureLoad(x, id.xy);
}`)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	b, err := d.NewBuffer("bits", uint64(im.Texels())*16)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	p := d.NewProgram("bits")
	t.Cleanup(p.Close)
	p.Dispatch(k, nil, [3]int{gpu.ImageWidth / 64, im.Texels() / gpu.ImageWidth, 1}, gpu.Read(im), gpu.Write(b))
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	return b
}

// BenchmarkMerge changes a matrix of SD 1.x by a product of rank 16.
func BenchmarkMerge(b *testing.B) {
	d := openDevice(b)
	for name, shape := range map[string][]int{"linear 1280x1280": {1280, 1280}, "conv 1280x640x9": {1280, 640, 3, 3}} {
		for _, family := range Families {
			b.Run(name+"/"+string(family), func(b *testing.B) {
				benchmarkMerge(b, openRuntime(b, d, family), shape)
			})
		}
	}
}

func benchmarkMerge(b *testing.B, r *Runtime, shape []int) {
	const rank = 16
	elements := Shape(shape).Elements()
	s := matrixShape{out: shape[0], in: shape[1], taps: elements / shape[0] / shape[1]}
	base := memory{}
	base.put("x.weight", make([]float32, elements), shape...)
	w := r.NewWeights(base)
	defer w.Close()
	node := &Node{Op: OpLinear, Joined: []string{"x"}, Shape: Shape{1, shape[0]}}
	if s.taps == 9 {
		node.Op = OpConv
	}
	packed, err := w.matrix(node)
	if err != nil {
		b.Fatal(err)
	}
	wide, err := w.newWide("wide", s)
	if err != nil {
		b.Fatal(err)
	}
	defer wide.Close()
	part := []lowRankPart{{count: s.out, rank: rank, up: make([]float32, s.out*rank), down: make([]float32, rank*s.in*s.taps)}}
	for b.Loop() {
		if err := w.merge(packed, s, part, wide); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(2*rank*float64(elements)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}
