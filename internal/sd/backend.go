package sd

import (
	"waggle/internal/nn"
	"waggle/internal/weights"
)

// compiler turns graphs into programs: nn's runtime on a GPU, or plain Go in tests.
type compiler interface {
	// compile a graph whose weights come from src. Programs of one source share its weights.
	compile(g *nn.Graph, src weights.Source) (program, error)
	// plan says what a graph needs, without allocating anything.
	plan(g *nn.Graph) (nn.MemoryPlan, error)
	// free gives back the memory of weights; they return when a graph needs them. Programs must be closed before.
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
	weights map[weights.Source]*nn.Weights
}

func (c onGPU) compile(g *nn.Graph, src weights.Source) (program, error) {
	w := c.weights[src]
	if w == nil {
		w = c.runtime.NewWeights(src)
		c.weights[src] = w
	}
	return c.runtime.Compile(g, w)
}

func (c onGPU) plan(g *nn.Graph) (nn.MemoryPlan, error) { return c.runtime.Plan(g) }

func (c onGPU) free() {
	for src, w := range c.weights {
		w.Close()
		delete(c.weights, src)
	}
}

func (c onGPU) close() {
	c.free()
	c.runtime.Close()
}
