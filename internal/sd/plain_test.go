package sd

import (
	"fmt"

	"waggle/internal/nn"
	"waggle/internal/weights"
)

// plainGo is the compiler whose programs are nn's evaluator.
type plainGo struct{}

func (plainGo) compile(g *nn.Graph, _ weights.Source) (program, error) {
	if g.Err() != nil {
		return nil, g.Err()
	}
	return &plainProgram{graph: g, inputs: map[string][]float32{}}, nil
}

func (plainGo) plan(g *nn.Graph, _ weights.Source) (nn.MemoryPlan, error) {
	return nn.MemoryPlan{}, g.Err()
}

func (plainGo) held(weights.Source) int64 { return 0 }

func (plainGo) release(weights.Source) {}

func (plainGo) free() {}

func (plainGo) close() {}

type plainProgram struct {
	graph           *nn.Graph
	inputs, outputs map[string][]float32
}

func (p *plainProgram) SetInput(name string, v []float32) error {
	shape, ok := p.graph.InputShape(name)
	if !ok || len(v) != shape.Elements() {
		return fmt.Errorf("input %s of %d values, want shape %v", name, len(v), shape)
	}
	p.inputs[name] = v
	return nil
}

func (p *plainProgram) Run() (err error) {
	p.outputs, err = p.graph.Evaluate(p.inputs)
	return err
}

func (p *plainProgram) Output(name string) ([]float32, error) {
	v, ok := p.outputs[name]
	if !ok {
		return nil, fmt.Errorf("the program has no output %s", name)
	}
	return v, nil
}

func (p *plainProgram) Close() {}
