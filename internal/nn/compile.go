package nn

import (
	"fmt"
	"slices"

	"waggle/gpu"
	"waggle/internal/weights"
)

// compiler turns one graph into programs.
type compiler struct {
	runtime *Runtime
	weights *Weights
	source  weights.Source
	saving  Saving
	limits  gpu.Limits // the runtime's, or less
	// imageLimit is the largest image of an activation, in texels.
	imageLimit int
	values     []valueInfo
	stages     []stage // in the order they run: per job, per step
	producer   map[int]int
	placement
	streaming

	outputs  map[string]int  // value of each output
	programs [2]*gpu.Program // by rate
	buffers  []*gpu.Buffer   // by block
	images   []*gpu.Image
	hosts    [][]byte             // blocks in the host's memory
	uses     map[string]kernelUse // kernels noted by the first pass of emission; nil in the second
	err      error
}

// newCompiler fuses the graph and plans its memory.
func newCompiler(r *Runtime, g *Graph, w *Weights) (*compiler, error) {
	f, err := fuse(g, r.gates)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(f.stages, func(a, b stage) int { return int(a.rate) - int(b.rate) })
	c := &compiler{runtime: r, weights: w, source: g.source, saving: g.saving, limits: r.limits, imageLimit: r.imageLimit, values: f.values, stages: f.stages, producer: map[int]int{}, outputs: map[string]int{}}
	for i, s := range c.stages {
		c.producer[s.out] = i
	}
	for name, id := range g.outputs {
		c.outputs[name] = f.of[id]
	}
	if err := c.checkStages(); err != nil {
		return nil, err
	}
	if band := g.saving.Band; band > 0 {
		c.limits.Binding, c.imageLimit = min(c.limits.Binding, uint64(band)), min(c.imageLimit, band/16)
	}
	c.layout()
	if err := c.stream(); err != nil {
		return nil, err
	}
	return c, nil
}

// checkStages refuses what no kernel can do, by name.
func (c *compiler) checkStages() error {
	for i := range c.stages {
		s := &c.stages[i]
		switch s.op {
		case OpConcat:
			if s.in[0].shape.Channels()%4 != 0 {
				return fmt.Errorf("concat after %d channels: the first part must be a multiple of 4", s.in[0].shape.Channels())
			}
		case OpGEGLU:
			if s.in[0].shape.Channels()%8 != 0 {
				return fmt.Errorf("geglu of %d channels: must be a multiple of 8", s.in[0].shape.Channels())
			}
		case OpAttention:
			if d := s.in[0].shape.Channels() / s.node.Heads; d%4 != 0 || d > 256 && s.node.Heads > 1 {
				return fmt.Errorf("attention with heads of %d: must be a multiple of 4, at most 256 unless there is one head", d)
			}
			for _, o := range s.in {
				if o.first%4 != 0 {
					return fmt.Errorf("attention on columns from %d on: must be a multiple of 4", o.first)
				}
			}
		}
	}
	return nil
}

// Compile turns g into recorded programs with their memory. Weights not yet on the device are packed. What does not fit
// the device is gpu.ErrOutOfMemory with the numbers.
func (r *Runtime) Compile(g *Graph, w *Weights) (*Executable, error) {
	c, err := newCompiler(r, g, w)
	if err != nil {
		return nil, err
	}
	e := &Executable{compiler: c, inputs: map[string]*input{}}
	if err := c.allocate(); err != nil {
		e.Close()
		return nil, fmt.Errorf("%w (the plan: weights %d MB, buffers %d MB, images %d MB)", err, c.plan().Weights>>20, c.plan().Buffers>>20, c.plan().Images>>20)
	}
	if err := c.record(); err != nil {
		e.Close()
		return nil, err
	}
	if err := r.device.Flush(); err != nil {
		e.Close()
		return nil, err
	}
	for v, value := range c.values {
		if value.input != "" {
			e.inputs[value.input] = &input{value: v}
		}
	}
	return e, nil
}

// record writes the programs in two passes: the first finds out which kernels are needed, so that they are compiled
// together; the second records.
func (c *compiler) record() error {
	c.uses = map[string]kernelUse{}
	for pass := range 2 {
		for rate, name := range []string{"job", "step"} {
			if pass == 1 {
				c.programs[rate].Close()
			}
			c.programs[rate] = c.runtime.device.NewProgram(name)
		}
		c.copyInputs()
		for i := range c.stages {
			if c.emit(i); c.err != nil {
				return fmt.Errorf("%s: %w", c.describe(i), c.err)
			}
		}
		if pass == 0 {
			if err := c.runtime.prepare(c.uses); err != nil {
				return err
			}
			c.uses = nil
		}
	}
	return nil
}

// copyInputs brings inputs into their images, for those who read them there.
func (c *compiler) copyInputs() {
	for i, v := range c.values {
		if h := c.homes[i]; v.input != "" && h.image != nil {
			c.programs[v.rate].CopyToImage(c.image(h.image), c.buffer(h.buffer), 0, v.texels())
		}
	}
}

func (c *compiler) describe(i int) string {
	s := &c.stages[i]
	if s.node == nil {
		return s.op.String()
	}
	return fmt.Sprintf("%s %s %v", s.op, s.node.Name, s.node.Shape)
}

func (c *compiler) allocate() error {
	for _, size := range c.blocks[bufferMemory] {
		b, err := c.runtime.device.NewBuffer("activations", uint64(size))
		if err != nil {
			return err
		}
		c.buffers = append(c.buffers, b)
	}
	for _, texels := range c.blocks[imageMemory] {
		im, err := c.runtime.device.NewImage("activations", gpu.Float4, texels)
		if err != nil {
			return err
		}
		c.images = append(c.images, im)
	}
	for _, size := range c.blocks[hostMemory] {
		c.hosts = append(c.hosts, make([]byte, size))
	}
	return c.allocateRing()
}
