package engine

import (
	"errors"
	"slices"
	"time"

	"waggle/gpu"
	"waggle/internal/sd"
)

// desk is an open device and the models on it, the one used last at the end.
// Only the owner's goroutine touches it.
type desk struct {
	device Device
	budget int64 // bytes that models may take; 0 where unknown: then one at a time
	models []*model
	meter  Meter
}

// model is a loaded model.
type model struct {
	Pipeline
	name      string
	footprint int64 // bytes, the most that it was planned to take
	plans     map[planned]int64
}

// planned is what a plan depends on.
type planned struct {
	shape sd.Shape
	vae   string
	count int
}

// open opens the device. A budget of 0 leaves it to the device.
func (d *desk) open(open func() (Device, error), budget int64) (err error) {
	if d.device, err = open(); err != nil {
		return err
	}
	if d.budget = budget; budget == 0 {
		d.budget = d.device.Memory()
	}
	return nil
}

// model finds a loaded model, or loads it. Where the budget is unknown the
// others go first.
func (d *desk) model(name string) (*model, error) {
	if at := slices.IndexFunc(d.models, func(m *model) bool { return m.name == name }); at >= 0 {
		m := d.models[at]
		d.models = append(slices.Delete(d.models, at, at+1), m)
		return m, nil
	}
	if d.budget == 0 {
		d.keep(0)
	}
	began := time.Now()
	p, err := d.device.Load(name, d.budget)
	if errors.Is(err, gpu.ErrOutOfMemory) && len(d.models) > 0 {
		d.keep(0)
		p, err = d.device.Load(name, d.budget)
	}
	if err != nil {
		return nil, err
	}
	d.meter.Loaded(name, time.Since(began))
	m := &model{Pipeline: p, name: name, plans: map[planned]int64{}}
	d.models = append(d.models, m)
	return m, nil
}

// keep closes all but the n models used last.
func (d *desk) keep(n int) {
	for len(d.models) > n {
		d.models[0].Close()
		d.models = d.models[1:]
	}
}

// need is what so many drawings of a request take together, in bytes.
func (m *model) need(r sd.Request, shape sd.Shape, count int) (int64, error) {
	key := planned{shape, r.VAE, count}
	if n, ok := m.plans[key]; ok {
		return n, nil
	}
	plan, err := m.Plan(r, count)
	if err != nil {
		return 0, err
	}
	if len(m.plans) >= kindsKept {
		clear(m.plans)
	}
	m.plans[key] = plan.Total()
	return m.plans[key], nil
}

// most is how many drawings of a request can be made together: at least one,
// and no more than limit or than memory allows.
func (d *desk) most(m *model, r sd.Request, shape sd.Shape, limit int) (int, error) {
	if d.budget == 0 {
		return limit, nil
	}
	for n := limit; n > 1; n-- {
		if need, err := m.need(r, shape, n); err != nil || need <= d.budget {
			return n, err
		}
	}
	return 1, nil
}

// makeRoom closes models used longest ago until so many drawings of a request
// fit beside the rest. m is the model used last.
func (d *desk) makeRoom(m *model, r sd.Request, shape sd.Shape, count int) error {
	need, err := m.need(r, shape, count)
	if err != nil {
		return err
	}
	m.footprint = max(m.footprint, need)
	for len(d.models) > 1 && d.taken() > d.budget {
		d.keep(len(d.models) - 1)
	}
	return nil
}

// taken is what all models were planned to take, in bytes.
func (d *desk) taken() (sum int64) {
	for _, m := range d.models {
		sum += m.footprint
	}
	return sum
}

// names of the loaded models.
func (d *desk) names() (names []string) {
	for _, m := range d.models {
		names = append(names, m.name)
	}
	return names
}

// hold is what lies on a desk.
type hold struct {
	names []string // of the loaded models, the one used last at the end
	bytes int64    // that are taken of the device's memory
}

func (d *desk) hold() hold { return hold{d.names(), d.device.Used()} }

// close gives everything back.
func (d *desk) close() {
	d.keep(0)
	if d.device != nil {
		d.device.Close()
		d.device = nil
	}
}
