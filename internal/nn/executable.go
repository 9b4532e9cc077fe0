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
	jobRan bool // since an input of the job was last set
}

type input struct {
	value int
	given bool
}

// SetInput gives input name a new value: as many float32 as the graph declared.
func (e *Executable) SetInput(name string, values []float32) error {
	in, ok := e.inputs[name]
	if !ok {
		return fmt.Errorf("no input %q", name)
	}
	v := e.values[in.value]
	if want := v.shape.Elements(); len(values) != want {
		return fmt.Errorf("input %s: %d numbers, want %d for shape %v", name, len(values), want, v.shape)
	}
	if v.rate == PerJob {
		e.jobRan = false
	}
	in.given = true
	return e.upload(in.value, values)
}

// upload writes the rows of an input, each padded to whole vec4s.
func (e *Executable) upload(value int, values []float32) error {
	v, h := e.values[value], e.homes[value]
	channels, stride := v.shape.Channels(), 4*v.quads()
	data := make([]byte, len(values)/channels*stride*4+16*(v.texels()-v.rows()*v.quads()))
	for i, x := range values {
		binary.LittleEndian.PutUint32(data[4*(i/channels*stride+i%channels):], math.Float32bits(x))
	}
	return e.runtime.device.Write(e.buffer(h.buffer), 0, data)
}

// Run computes the job's part if its inputs have changed, and the step's part. It queues the work; Output waits for it.
func (e *Executable) Run() error {
	for name, in := range e.inputs {
		if !in.given {
			return fmt.Errorf("input %s has no value", name)
		}
	}
	if !e.jobRan {
		if err := e.runPart(PerJob); err != nil {
			return err
		}
		e.jobRan = true
	}
	return e.runPart(PerStep)
}

func (e *Executable) runPart(rate Rate) error {
	if e.programs[rate].Len() == 0 {
		return nil
	}
	return e.programs[rate].Run()
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
	for _, s := range e.slots {
		s.Close()
	}
	e.buffers, e.images, e.slots, e.hosts = nil, nil, nil, nil
}
