package sd

import (
	"waggle/internal/nn"
	"waggle/internal/weights"
)

// compiler turns graphs into programs: nn's runtime on a GPU, or plain Go in tests.
type compiler interface {
	// compile a graph whose weights come from src. Programs of one source share its weights.
	compile(g *nn.Graph, src weights.Source) (program, error)
}

// program is a compiled graph. Not safe for concurrent use.
type program interface {
	// SetInput gives a value as the graph declared it; a per-schedule input holds the values of all steps, one after another.
	SetInput(name string, v []float32) error
	// Run computes the outputs for a step of the schedule.
	Run(step int) error
	// Output reads a result back.
	Output(name string) ([]float32, error)
	Close()
}
