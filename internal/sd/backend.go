package sd

import (
	"waggle/internal/nn"
	"waggle/internal/weights"
)

// compiler turns graphs into programs: nn's runtime on a GPU, or plain Go in tests.
type compiler interface {
	// compile a graph whose weights come from src. Programs of one source share its weights.
	compile(g *nn.Graph, src weights.Source) (program, error)
	// plan says what a graph whose weights come from src needs, without allocating anything.
	plan(g *nn.Graph, src weights.Source) (nn.MemoryPlan, error)
	// held is how many bytes of src's weights are on the device.
	held(src weights.Source) int64
	// release gives back the memory of src's weights; they return when a graph needs them. Its programs must be closed before.
	release(src weights.Source)
	// free is release for all weights.
	free()
	// close is free, and the end of the compiler.
	close()
}

// program is a compiled graph. Not safe for concurrent use.
type program interface {
	// SetInput gives a value as the graph declared it.
	SetInput(name string, v []float32) error
	// Run computes the outputs.
	Run() error
	// Output reads a result back.
	Output(name string) ([]float32, error)
	Close()
}

// onGPU compiles for a device and keeps the weights that are there.
type onGPU struct {
	runtime *nn.Runtime
	tight   bool // changed weights take the place of those that they change
	weights map[weights.Source]*nn.Weights
}

func (c onGPU) compile(g *nn.Graph, src weights.Source) (program, error) {
	return c.runtime.Compile(g, c.of(src))
}

// of finds the weights of a source, or begins them: nothing is on the device before a graph needs it.
func (c onGPU) of(src weights.Source) *nn.Weights {
	w := c.weights[src]
	if w != nil {
		return w
	}
	if changed, ok := src.(nn.Changed); ok {
		w = c.of(changed.Base()).With(changed, c.tight)
	} else {
		w = c.runtime.NewWeights(src)
	}
	c.weights[src] = w
	return w
}

func (c onGPU) plan(g *nn.Graph, src weights.Source) (nn.MemoryPlan, error) {
	return c.runtime.Plan(g, c.of(src))
}

func (c onGPU) held(src weights.Source) int64 {
	if w := c.weights[src]; w != nil {
		return w.Bytes()
	}
	return 0
}

func (c onGPU) release(src weights.Source) {
	for other, w := range c.weights {
		if changed, ok := other.(nn.Changed); other == src || ok && changed.Base() == src {
			w.Close()
			delete(c.weights, other)
		}
	}
}

func (c onGPU) free() {
	for src := range c.weights {
		c.release(src)
	}
}

func (c onGPU) close() {
	c.free()
	c.runtime.Close()
}
