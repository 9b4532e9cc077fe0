package sd

import "fmt"

// split runs a batch through a program for a part of its rows, one part after another. Rows do not touch each other, so the
// results are the same to the last bit.
type split struct {
	program
	runs    int
	names   []string // of the outputs
	inputs  map[string][]float32
	outputs map[string][]float32
}

func newSplit(p program, runs int, outputs []string) *split {
	return &split{program: p, runs: runs, names: outputs, inputs: map[string][]float32{}, outputs: map[string][]float32{}}
}

// SetInput keeps a value of the whole batch.
func (s *split) SetInput(name string, v []float32) error {
	if len(v)%s.runs != 0 {
		return fmt.Errorf("input %s: %d numbers do not divide by %d", name, len(v), s.runs)
	}
	s.inputs[name] = v
	return nil
}

// Run computes all parts.
func (s *split) Run() error {
	clear(s.outputs)
	for i := range s.runs {
		for name, v := range s.inputs {
			each := len(v) / s.runs
			if err := s.program.SetInput(name, v[i*each:][:each]); err != nil {
				return err
			}
		}
		if err := s.program.Run(); err != nil {
			return err
		}
		for _, name := range s.names {
			v, err := s.program.Output(name)
			if err != nil {
				return err
			}
			s.outputs[name] = append(s.outputs[name], v...)
		}
	}
	return nil
}

// Output is a result of the whole batch.
func (s *split) Output(name string) ([]float32, error) {
	v, ok := s.outputs[name]
	if !ok {
		return nil, fmt.Errorf("no output %q", name)
	}
	return v, nil
}
