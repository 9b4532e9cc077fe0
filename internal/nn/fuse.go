package nn

import "fmt"

// operand is what a stage reads: a whole value, or a run of its channels.
type operand struct {
	value int
	first int   // first channel
	shape Shape // of the operand, with its own channel count
}

// none stands for an operand that a stage does not have.
var none = operand{value: -1}

func (o operand) is() bool { return o.value >= 0 }

// stage is one step of a compiled graph: a node together with what was fused into it.
type stage struct {
	op         Op
	node       *Node
	in         []operand
	vector     operand // OpLinear, OpConv: added to every place of its picture
	residual   operand // OpLinear, OpConv: added to the result
	activation Activation
	gated      bool // OpLinear: the first half of the result is gated by the second, as GEGLU does
	out        int
	rate       Rate
}

// valueInfo is a tensor that a stage makes or the outside gives.
type valueInfo struct {
	shape  Shape
	rate   Rate
	input  string // name, for inputs
	output bool
}

// rows of the value in memory.
func (v valueInfo) rows() int { return v.shape.Rows() }

// texels of the value in memory. An input with an odd number of vec4s a row has a zero behind its end: products read two
// at a time.
func (v valueInfo) texels() int {
	n := v.rows() * v.quads()
	if v.input != "" {
		n += v.quads() % 2
	}
	return n
}

// quads is ⌈C/4⌉: rows lie in memory padded with zeros to whole vec4s.
func (v valueInfo) quads() int { return quads(v.shape.Channels()) }

func quads(channels int) int { return (channels + 3) / 4 }

type fuser struct {
	graph   *Graph
	gates   func(linear *Node, in int) bool // whether a linear of in channels can gate its own result
	readers []int                           // how often each node is read, outputs included
	fused   []int                           // for a node swallowed by another: that one; else -1
	values  []valueInfo                     // by value
	of      []int                           // value of each node, or -1
	stages  []stage
}

// fuse turns the graph's nodes into stages and values. gates says which linears can gate their own result.
func fuse(g *Graph, gates func(linear *Node, in int) bool) (*fuser, error) {
	if g.err != nil {
		return nil, g.err
	}
	f := &fuser{graph: g, gates: gates, readers: make([]int, len(g.nodes)), fused: make([]int, len(g.nodes)), of: make([]int, len(g.nodes))}
	for i, n := range g.nodes {
		f.fused[i], f.of[i] = -1, -1
		for _, in := range n.In {
			f.readers[in]++
		}
	}
	for _, id := range g.outputs {
		f.readers[id] += 2 // never swallowed
	}
	f.swallow()
	for id := range g.nodes {
		if err := f.lower(id); err != nil {
			return nil, err
		}
	}
	for _, id := range g.outputs {
		whole, err := f.whole(f.operand(id))
		if err != nil {
			return nil, err
		}
		f.values[whole.value].output = true
		f.of[id] = whole.value
	}
	return f, nil
}

// swallow marks nodes that become a part of the one node that reads them: linear or convolution → + vector → activation
// → + residual; group norm → SiLU.
func (f *fuser) swallow() {
	for id, n := range f.graph.nodes {
		switch n.Op {
		case OpActivation:
			in := f.behind(n.In[0])
			if f.readers[in] == 1 && f.takesActivation(in, n.Activation) {
				f.fused[in] = id
			}
		case OpAddPerChannel:
			in := f.behind(n.In[0])
			inner := f.graph.nodes[in]
			if f.readers[in] == 1 && (inner.Op == OpLinear || inner.Op == OpConv) && inner.Rate == n.Rate {
				f.fused[in] = id
			}
		case OpAdd:
			f.swallowResidual(id, n)
		case OpGEGLU:
			in := f.behind(n.In[0])
			inner := &f.graph.nodes[in]
			if f.readers[in] == 1 && inner.Op == OpLinear && inner.Rate == n.Rate && f.gates(inner, f.graph.nodes[inner.In[0]].Shape.Channels()) {
				f.fused[in] = id
			}
		}
	}
}

// swallowResidual fuses an addition into the later of the two operands that can take it.
func (f *fuser) swallowResidual(id int, n Node) {
	a, b := f.behind(n.In[0]), f.behind(n.In[1])
	a, b = max(a, b), min(a, b)
	for _, pair := range [][2]int{{a, b}, {b, a}} {
		mine, other := pair[0], pair[1]
		whole := f.graph.nodes[other].Op != OpColumns
		if f.readers[mine] == 1 && f.isMatrix(mine) && f.graph.nodes[mine].Rate == n.Rate && whole && mine != other {
			f.fused[mine] = id
			return
		}
	}
}

// behind looks through reshapes that nothing else reads.
func (f *fuser) behind(id int) int {
	for f.graph.nodes[id].Op == OpReshape && f.readers[id] == 1 {
		id = f.graph.nodes[id].In[0]
	}
	return id
}

// isMatrix reports whether the node is a linear or a convolution, perhaps with a vector added or an activation.
func (f *fuser) isMatrix(id int) bool {
	n := f.graph.nodes[id]
	switch n.Op {
	case OpLinear, OpConv:
		return true
	case OpAddPerChannel, OpActivation:
		in := f.behind(n.In[0])
		return f.fused[in] == id && f.graph.nodes[in].Op != OpGroupNorm && f.isMatrix(in)
	}
	return false
}

func (f *fuser) takesActivation(id int, a Activation) bool {
	n := f.graph.nodes[id]
	if n.Op == OpGroupNorm {
		return a == SiLU
	}
	return n.Op != OpActivation && f.isMatrix(id)
}

// lower appends the stage that computes node id, unless another node has swallowed it.
func (f *fuser) lower(id int) error {
	n := &f.graph.nodes[id]
	if f.fused[id] >= 0 || n.Op == OpReshape || n.Op == OpColumns {
		return nil
	}
	if n.Op == OpInput {
		f.of[id] = f.newValue(valueInfo{shape: n.Shape, rate: n.Rate, input: n.Name})
		return nil
	}
	s := stage{vector: none, residual: none, rate: n.Rate}
	if err := f.collect(id, &s); err != nil {
		return err
	}
	for i := range s.in {
		if s.op == OpAttention {
			continue
		}
		var err error
		if s.in[i], err = f.whole(s.in[i]); err != nil {
			return err
		}
	}
	s.out = f.newValue(valueInfo{shape: n.Shape, rate: n.Rate})
	f.of[id] = s.out
	f.stages = append(f.stages, s)
	return nil
}

// collect fills s from node id and, through it, from what was swallowed.
func (f *fuser) collect(id int, s *stage) error {
	n := &f.graph.nodes[id]
	for _, in := range n.In {
		if f.fused[f.behind(in)] == id {
			return f.collectFused(id, s)
		}
	}
	s.op, s.node = n.Op, n
	if n.Op == OpActivation {
		s.activation = n.Activation
	}
	for _, in := range n.In {
		s.in = append(s.in, f.operand(in))
	}
	return nil
}

func (f *fuser) collectFused(id int, s *stage) error {
	n := &f.graph.nodes[id]
	inner, other := f.behind(n.In[0]), -1
	if len(n.In) > 1 {
		other = n.In[1]
		if f.fused[inner] != id {
			inner, other = f.behind(n.In[1]), n.In[0]
		}
	}
	if err := f.collect(inner, s); err != nil {
		return err
	}
	switch n.Op {
	case OpActivation:
		s.activation = n.Activation
	case OpAddPerChannel:
		s.vector = f.operand(other)
	case OpAdd:
		s.residual = f.operand(other)
	case OpGEGLU:
		s.gated = true
	}
	return nil
}

// operand looks through views.
func (f *fuser) operand(id int) operand {
	n := f.graph.nodes[id]
	switch n.Op {
	case OpReshape:
		o := f.operand(n.In[0])
		o.shape = n.Shape
		return o
	case OpColumns:
		o := f.operand(n.In[0])
		o.first += n.From
		o.shape = n.Shape
		return o
	}
	return operand{value: f.of[id], shape: n.Shape}
}

// whole copies a run of channels out of its value for readers that take whole values only.
func (f *fuser) whole(o operand) (operand, error) {
	v := f.values[o.value]
	if o.first == 0 && o.shape.Channels() == v.shape.Channels() {
		return o, nil
	}
	if o.first%4 != 0 {
		return o, fmt.Errorf("columns from %d on: a run of channels must start at a multiple of 4", o.first)
	}
	out := f.newValue(valueInfo{shape: o.shape, rate: v.rate})
	f.stages = append(f.stages, stage{op: OpColumns, in: []operand{o}, vector: none, residual: none, out: out, rate: v.rate})
	return operand{value: out, shape: o.shape}, nil
}

func (f *fuser) newValue(v valueInfo) int {
	f.values = append(f.values, v)
	return len(f.values) - 1
}
