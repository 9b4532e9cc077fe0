package nn

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Executable is a compiled graph. It is not safe for concurrent use.
type Executable struct {
	*compiler
	inputs map[string]*input
	stale  [3]bool // by rate: inputs have changed since the part last ran
	ran    [3]bool
	block  int // first step of the block that the schedule part holds, or -1
}

type input struct {
	value    int
	given    bool
	schedule []float32 // values of all steps, for per-schedule inputs
}

// SetInput gives input name a new value: as many float32 as the graph declared, or for a per-schedule input a whole
// number of such values, one a step.
func (e *Executable) SetInput(name string, values []float32) error {
	in, ok := e.inputs[name]
	if !ok {
		return fmt.Errorf("no input %q", name)
	}
	v := e.values[in.value]
	want := v.shape.Elements()
	e.stale[v.rate] = true
	if v.rate == PerSchedule {
		if len(values) == 0 || len(values)%want != 0 {
			return fmt.Errorf("input %s: %d numbers, want a multiple of %d, one value a step", name, len(values), want)
		}
		in.schedule, in.given, e.block = append([]float32(nil), values...), true, -1
		return nil
	}
	if len(values) != want {
		return fmt.Errorf("input %s: %d numbers, want %d for shape %v", name, len(values), want, v.shape)
	}
	in.given = true
	return e.upload(in.value, values)
}

// upload writes rows of an input from its first row on, each padded to whole vec4s, and its image too.
func (e *Executable) upload(value int, values []float32) error {
	v, h := e.values[value], e.homes[value]
	channels, stride := v.shape.Channels(), 4*v.quads()
	data := make([]byte, len(values)/channels*stride*4+16*(v.texels()-v.rows()*v.quads()))
	for i, x := range values {
		binary.LittleEndian.PutUint32(data[4*(i/channels*stride+i%channels):], math.Float32bits(x))
	}
	if err := e.runtime.device.Write(e.buffer(h.buffer), 0, data); err != nil {
		return err
	}
	if h.image == nil {
		return nil
	}
	return e.copyInput(value)
}

// copyInput brings an input into its image.
func (e *Executable) copyInput(value int) error {
	v, h := e.values[value], e.homes[value]
	p := e.runtime.device.NewProgram("input")
	defer p.Close()
	p.CopyToImage(e.image(h.image), e.buffer(h.buffer), 0, v.texels())
	return p.Run(0)
}

// Run computes what is stale: the job's part once, the schedule's part for the block that step is in, and the step's
// part always. It queues the work; Output waits for it.
func (e *Executable) Run(step int) error {
	for name, in := range e.inputs {
		if !in.given {
			return fmt.Errorf("input %s has no value", name)
		}
	}
	if e.stale[PerJob] || !e.ran[PerJob] {
		if err := e.runPart(PerJob, step); err != nil {
			return err
		}
		e.block = -1
	}
	if first := step / blockSteps * blockSteps; first != e.block {
		if err := e.runSchedule(first); err != nil {
			return err
		}
	}
	return e.runPart(PerStep, step)
}

func (e *Executable) runPart(rate Rate, step int) error {
	e.stale[rate], e.ran[rate] = false, true
	if e.programs[rate].Len() == 0 {
		return nil
	}
	return e.programs[rate].Run(step)
}

// runSchedule computes the schedule's part for the block of steps from first on.
func (e *Executable) runSchedule(first int) error {
	for name, in := range e.inputs {
		v := e.values[in.value]
		if v.rate != PerSchedule {
			continue
		}
		n := v.shape.Elements()
		if first*n >= len(in.schedule) {
			return fmt.Errorf("input %s has values for %d steps, step %d was asked for", name, len(in.schedule)/n, first)
		}
		block := in.schedule[first*n : min((first+blockSteps)*n, len(in.schedule))]
		if err := e.upload(in.value, block); err != nil {
			return err
		}
	}
	e.block = first
	return e.runPart(PerSchedule, first)
}

// Output waits for the work that was queued and returns output name without padding.
func (e *Executable) Output(name string) ([]float32, error) {
	value, ok := e.outputs[name]
	if !ok {
		return nil, fmt.Errorf("no output %q", name)
	}
	v := e.values[value]
	channels, stride, rows := v.shape.Channels(), 4*v.quads(), v.shape.Rows()
	data, err := e.runtime.device.Read(e.buffer(e.homes[value].buffer), 0, uint64(4*rows*stride))
	if err != nil {
		return nil, err
	}
	out := make([]float32, rows*channels)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*(i/channels*stride+i%channels):]))
	}
	return out, nil
}

// Plan is the memory in use.
func (e *Executable) Plan() MemoryPlan { return e.plan() }

// Close frees programs and activations; weights and kernels stay.
func (e *Executable) Close() {
	for _, p := range e.programs {
		if p != nil {
			p.Close()
		}
	}
	for _, b := range e.buffers {
		b.Close()
	}
	for _, im := range e.images {
		im.Close()
	}
	e.buffers, e.images = nil, nil
}
