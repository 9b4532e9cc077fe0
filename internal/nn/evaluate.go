package nn

import (
	"fmt"

	"waggle/internal/reference"
)

// Evaluate runs the graph in plain Go, node by node in the order they were built, and returns its outputs by name. Every
// declared input must be given with as many elements as its shape has; token ids are whole numbers within the vocabulary.
// It is slow and exact: the reference that compiled programs are checked against.
func (g *Graph) Evaluate(inputs map[string][]float32) (map[string][]float32, error) {
	if g.err != nil {
		return nil, fmt.Errorf("evaluate: %w", g.err)
	}
	if err := g.checkInputs(inputs); err != nil {
		return nil, fmt.Errorf("evaluate: %w", err)
	}
	e := evaluation{g.graphState, inputs, make([][]float32, len(g.nodes))}
	for i, n := range g.nodes {
		value, err := e.node(n)
		if err != nil {
			return nil, fmt.Errorf("evaluate %s %s: %w", n.Op, n.Name, err)
		}
		e.values[i] = activated(value, n.Activation)
	}
	outputs := make(map[string][]float32, len(g.outputs))
	for name, id := range g.outputs {
		outputs[name] = e.values[id]
	}
	return outputs, nil
}

func (g *Graph) checkInputs(inputs map[string][]float32) error {
	for name, id := range g.inputs {
		shape := g.nodes[id].Shape
		value, ok := inputs[name]
		if !ok {
			return fmt.Errorf("input %s is missing (want shape %v)", name, shape)
		}
		if len(value) != shape.Elements() {
			return fmt.Errorf("input %s has %d elements, want %d for shape %v", name, len(value), shape.Elements(), shape)
		}
	}
	for name := range inputs {
		if _, ok := g.inputs[name]; !ok {
			return fmt.Errorf("the graph has no input %s", name)
		}
	}
	return nil
}

// evaluation holds the values of the nodes done so far. Reshaped values share memory; nobody writes to a value.
type evaluation struct {
	*graphState
	inputs map[string][]float32
	values [][]float32
}

// in is the value of the node's i-th input and its shape.
func (e evaluation) in(n Node, i int) ([]float32, Shape) {
	return e.values[n.In[i]], e.nodes[n.In[i]].Shape
}

func (e evaluation) node(n Node) ([]float32, error) {
	switch n.Op {
	case OpInput:
		return e.inputs[n.Name], nil
	case OpLinear:
		return e.linear(n)
	case OpConv:
		return e.conv(n)
	case OpGroupNorm, OpLayerNorm:
		return e.norm(n)
	case OpEmbedding:
		return e.embedding(n)
	case OpAttention:
		return e.attention(n), nil
	case OpActivation, OpReshape:
		x, _ := e.in(n, 0)
		return x, nil // an activation is applied after every node
	case OpPool:
		x, s := e.in(n, 0)
		return reference.MeanPool(x, s[0], s[1], s[2], s[3]), nil
	case OpGEGLU, OpColumns:
		return e.rowwise(n), nil
	case OpAdd, OpAddPerChannel, OpConcat:
		return e.pairwise(n), nil
	}
	return nil, fmt.Errorf("no reference for operation %d", n.Op)
}

// activated applies f, and leaves x itself alone.
func activated(x []float32, f Activation) []float32 {
	switch f {
	case SiLU:
		return reference.Map(x, reference.SiLU)
	case GELU:
		return reference.Map(x, reference.GELU)
	case QuickGELU:
		return reference.Map(x, reference.QuickGELU)
	case ReLU:
		return reference.Map(x, reference.ReLU)
	}
	return x
}

func (e evaluation) rowwise(n Node) []float32 {
	x, shape := e.in(n, 0)
	if n.Op == OpGEGLU {
		return reference.GEGLU(x, n.Shape.Channels())
	}
	return reference.Columns(x, shape.Channels(), n.From, n.Shape.Channels())
}

func (e evaluation) pairwise(n Node) []float32 {
	a, as := e.in(n, 0)
	b, bs := e.in(n, 1)
	switch n.Op {
	case OpConcat:
		return reference.Concat(a, b, as.Channels(), bs.Channels())
	case OpAddPerChannel:
		return reference.AddPerChannel(a, b, bs.Rows())
	}
	return reference.Add(a, b)
}

func (e evaluation) attention(n Node) []float32 {
	q, shape := e.in(n, 0)
	k, _ := e.in(n, 1)
	v, _ := e.in(n, 2)
	return reference.Attention(q, k, v, shape[0], shape.Channels(), n.Heads, n.Causal)
}

// linear computes each joined product apart and puts the results side by side.
func (e evaluation) linear(n Node) ([]float32, error) {
	x, shape := e.in(n, 0)
	out := n.Shape.Channels() / len(n.Joined)
	var y []float32
	for i, name := range n.Joined {
		w, bias, err := e.pair(name, n.Bias)
		if err != nil {
			return nil, err
		}
		part := reference.Linear(x, w, bias, shape.Channels(), out)
		if i == 0 {
			y = part
			continue
		}
		y = reference.Concat(y, part, i*out, out)
	}
	return y, nil
}

func (e evaluation) conv(n Node) ([]float32, error) {
	x, s := e.in(n, 0)
	w, bias, err := e.pair(n.Name, n.Bias)
	if err != nil {
		return nil, err
	}
	c := reference.Conv{N: s[0], H: s[1], W: s[2], In: s[3], Out: n.Shape[3],
		Stride: n.Stride, PadEnd: n.PadEnd, Upsample: n.Upsample}
	if n.Upsample {
		c.CutH, c.CutW = 2*s[1]-n.Shape[1], 2*s[2]-n.Shape[2]
	}
	return reference.Conv3x3(x, w, bias, c), nil
}

func (e evaluation) norm(n Node) ([]float32, error) {
	x, shape := e.in(n, 0)
	w, bias, err := e.pair(n.Name, true)
	if err != nil {
		return nil, err
	}
	if n.Op == OpLayerNorm {
		return reference.LayerNorm(x, w, bias, float64(n.Eps)), nil
	}
	return reference.GroupNorm(x, w, bias, shape[0], n.Groups, float64(n.Eps)), nil
}

func (e evaluation) embedding(n Node) ([]float32, error) {
	ids, shape := e.in(n, 0)
	width := n.Shape.Channels()
	tokens, err := e.floats(n.Joined[0] + ".weight")
	if err != nil {
		return nil, err
	}
	positions, err := e.floats(n.Joined[1] + ".weight")
	if err != nil {
		return nil, err
	}
	vocabulary := len(tokens) / width
	for i, id := range ids {
		if int(id) >= vocabulary || id != float32(int(id)) {
			return nil, fmt.Errorf("token id %v at place %d, want a whole number below %d", id, i, vocabulary)
		}
	}
	return reference.Embedding(ids, tokens, positions, shape[1], width), nil
}

// pair reads name's weight and, if it has one, its bias; the bias is nil otherwise.
func (e evaluation) pair(name string, hasBias bool) (w, bias []float32, err error) {
	if w, err = e.floats(name + ".weight"); err != nil || !hasBias {
		return w, nil, err
	}
	bias, err = e.floats(name + ".bias")
	return w, bias, err
}

// floats reads a tensor. Shapes were checked when the graph was built.
func (e evaluation) floats(name string) ([]float32, error) {
	t, ok := e.source.Tensor(name)
	if !ok {
		return nil, fmt.Errorf("tensor %s is missing", name)
	}
	return t.Float32s()
}

// InputShape is the shape of a declared input; false where there is none of that name.
func (g *Graph) InputShape(name string) (Shape, bool) {
	id, ok := g.inputs[name]
	if !ok || g.err != nil {
		return nil, false
	}
	return g.nodes[id].Shape, true
}
