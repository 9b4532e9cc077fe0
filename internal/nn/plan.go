package nn

import "waggle/gpu"

// MemoryPlan is what a compiled graph needs on the device, in bytes.
type MemoryPlan struct {
	Weights        int64 `json:"weights"`         // the packed tensors that this graph uses
	Missing        int64 `json:"-"`               // those of them that are not on the device yet
	Buffers        int64 `json:"buffers"`         // activations in buffers
	Images         int64 `json:"images"`          // activations in images
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
		p.LargestBinding = max(p.LargestBinding, min(int64(size), int64(c.runtime.limits.Binding)))
	}
	for _, texels := range c.blocks[imageMemory] {
		p.Images += gpu.ImageBytes(texels)
	}
	for key, bytes := range c.packed() {
		p.Weights += bytes
		p.Missing += c.weights.missing(key, bytes)
	}
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
	shape, texel := c.weights.shapeOf(n), 1
	if c.weights.wide(n) {
		texel = 2
	}
	if c.runtime.family == Subgroup {
		return gpu.ImageBytes(texel * panels{shape, c.runtime.lanes}.texels())
	}
	return 2 * int64(texel*tiles(shape)*panelColumns)
}
