package nn

import "waggle/gpu"

// MemoryPlan is what a compiled graph needs on the device, in bytes.
type MemoryPlan struct {
	Weights int64 `json:"weights"`        // the packed tensors that this graph uses
	Missing int64 `json:"-"`              // those of them that are not on the device yet
	Buffers int64 `json:"buffers"`        // activations in buffers
	Images  int64 `json:"images"`         // activations in images
	Host    int64 `json:"host,omitempty"` // activations in the host's memory, which come by bands
	// Streamed is what is uploaded again whenever the graph is run, of weights that do not stay.
	Streamed int64 `json:"streamed,omitempty"`
	// LeastWeights is what the weights need when all that can be is streamed.
	LeastWeights   int64 `json:"-"`
	LargestBinding int64 `json:"largest_binding"` // the largest part of a buffer that a kernel sees at once
	Stages         int   `json:"stages"`
	JobFlops       int64 `json:"job_flops"`  // floating-point operations of products and attention: once a job
	StepFlops      int64 `json:"step_flops"` // and in every step
}

// Total is weights and activations together.
func (p MemoryPlan) Total() int64 { return p.Weights + p.Buffers + p.Images }

// Activations is the memory that is not weights.
func (p MemoryPlan) Activations() int64 { return p.Buffers + p.Images }

// Plan computes what compiling g with w would allocate, without allocating anything.
func (r *Runtime) Plan(g *Graph, w *Weights) (MemoryPlan, error) {
	c, err := newCompiler(r, g, w)
	if err != nil {
		return MemoryPlan{}, err
	}
	return c.plan(), nil
}

func (c *compiler) plan() MemoryPlan {
	p := MemoryPlan{Stages: len(c.stages)}
	for _, size := range c.blocks[bufferMemory] {
		p.Buffers += int64(size)
		p.LargestBinding = max(p.LargestBinding, min(int64(size), int64(c.limits.Binding)))
	}
	for _, texels := range c.blocks[imageMemory] {
		p.Images += gpu.ImageBytes(texels)
	}
	for _, size := range c.blocks[hostMemory] {
		p.Host += int64(size)
	}
	for key, bytes := range c.packed() {
		if c.streamed[key] {
			p.Streamed += bytes
			continue
		}
		p.Weights += bytes
		p.Missing += c.weights.missing(key, bytes)
	}
	p.LeastWeights = c.leastWeights()
	p.Buffers += c.ring + c.parameterBytes() // which come and go with the programs
	for i := range c.stages {
		s := &c.stages[i]
		if s.rate == PerStep {
			p.StepFlops += c.flops(s)
		} else {
			p.JobFlops += c.flops(s)
		}
	}
	return p
}

// parameterBytes is the memory of the parameters of all dispatches.
func (c *compiler) parameterBytes() int64 {
	var dispatches [2]int
	for i := range c.stages {
		dispatches[c.stages[i].rate] += c.dispatches(&c.stages[i])
	}
	return gpu.ParameterBytes(dispatches[PerJob]) + gpu.ParameterBytes(dispatches[PerStep])
}

// dispatches of a stage.
func (c *compiler) dispatches(s *stage) int {
	switch s.op {
	case OpLinear, OpConv:
		each := 1
		if c.homes[s.in[0].value].virtual >= 0 {
			each = 2
		}
		return each * len(c.matrixBands(s))
	case OpGroupNorm:
		n := len(c.normBands(s)) + 1
		if c.homes[s.out].virtual < 0 {
			n += len(c.rowBands(c.values[s.out]))
		}
		return n
	case OpAttention:
		if c.isWide(s) {
			return 3 * s.in[0].shape[0] * ceil(s.in[0].shape[1], c.wideRows(s))
		}
		return 1
	case OpEmbedding:
		return 1
	case OpLayerNorm, OpAdd, OpAddPerChannel, OpConcat, OpPool:
		return len(c.rowBands(c.values[s.out]))
	}
	return len(c.rowBands(c.values[s.in[0].value]))
}

// flops counts two operations for each multiply-add of products and attention.
func (c *compiler) flops(s *stage) int64 {
	switch s.op {
	case OpLinear, OpConv:
		shape := c.weights.shapeOf(s.node)
		return 2 * int64(c.values[s.out].rows()) * int64(shape.out) * int64(shape.in*shape.taps)
	case OpAttention:
		return 4 * int64(c.values[s.out].rows()) * int64(s.in[1].shape[1]) * int64(c.values[s.out].shape.Channels())
	}
	return 0
}

// packed are the bytes of everything that Weights holds for the graph, by its key there.
func (c *compiler) packed() map[string]int64 {
	all := map[string]int64{}
	for i := range c.stages {
		s := &c.stages[i]
		vector := 16 * int64(c.values[s.out].quads())
		switch s.op {
		case OpLinear, OpConv:
			all[matrixKey(s.node.Joined)] = c.matrixBytes(s.node)
			channels := s.node.Shape.Channels()
			all[vectorKey(s.node.Joined, ".bias", s.node.Bias, channels)] = 16 * int64(quads(channels))
		case OpEmbedding:
			for _, name := range s.node.Joined {
				if t, ok := c.source.Tensor(name + ".weight"); ok {
					all[name] = 2 * int64(t.Elements())
				}
			}
		case OpGroupNorm, OpLayerNorm:
			all[vectorKey([]string{s.node.Name}, ".weight", true, 0)] = vector
			all[vectorKey([]string{s.node.Name}, ".bias", true, 0)] = vector
		}
	}
	return all
}

// matrixBytes is the memory of a linear's or convolution's packed weight.
func (c *compiler) matrixBytes(n *Node) int64 {
	if c.weights.wide(n) {
		return c.packedMatrixBytes(n, 2)
	}
	return c.packedMatrixBytes(n, 1)
}

// packedMatrixBytes is that of one with so many 16-byte texels for 8 inputs: 1 in f16, 2 in f32.
func (c *compiler) packedMatrixBytes(n *Node, texels int) int64 {
	shape := c.weights.shapeOf(n)
	if c.runtime.family == Subgroup {
		return gpu.ImageBytes(texels * panels{shape, c.runtime.lanes}.texels())
	}
	return 2 * int64(texels*tiles(shape)*panelColumns)
}
