package main

import (
	"log/slog"
	"strconv"
	"strings"

	"waggle/gpu"
	"waggle/internal/engine"
	"waggle/internal/nn"
	"waggle/internal/sd"
)

// chooser tells by what an adapter can be opened that goes by a name.
type chooser func(name string) (selector string, err error)

// adapters are those that the flags name.
func (c *serveCommand) adapters(log *slog.Logger) (names []string, choose chooser) {
	if c.place == nowhere {
		return c.modelFlags.adapters(), func(name string) (string, error) { return name, nil }
	}
	return []string{c.place.String()}, func(string) (string, error) { return c.place.selector(log) }
}

// selector finds the adapter at a place that is there now.
func (p place) selector(log *slog.Logger) (string, error) {
	list, err := gpu.Adapters()
	if err != nil {
		return "", err
	}
	a, err := p.find(list)
	if err == nil && a.Kind == gpu.Software && p.kind != "cpu" {
		log.Info("no hardware adapter is there: the software adapter stands in", "asked", p.String(), "adapter", a.Name)
	}
	return strconv.Itoa(a.Index), err
}

// adapters are those that --gpu names: one, several with commas, or all. All leaves software adapters out where there is
// another. One may be named twice: then two engines share it.
func (f modelFlags) adapters() []string {
	if f.GPU == "" {
		return []string{""} // without a look at what there is: drivers take their time to say
	}
	list, err := gpu.Adapters()
	switch {
	case err != nil || named(list, f.GPU):
		return []string{f.GPU}
	case f.GPU == "all":
		return allAdapters(list)
	}
	var selectors []string
	for s := range strings.SplitSeq(f.GPU, ",") {
		if s = strings.TrimSpace(s); s != "" {
			selectors = append(selectors, s)
		}
	}
	return selectors
}

// named reports whether a text is a part of an adapter's name, commas and all.
func named(list []gpu.Adapter, text string) bool {
	for _, a := range list {
		if strings.Contains(strings.ToLower(a.Name), strings.ToLower(text)) {
			return true
		}
	}
	return false
}

func allAdapters(list []gpu.Adapter) (selectors []string) {
	for _, hardware := range []bool{true, false} {
		for _, a := range list {
			if (a.Kind != gpu.Software) == hardware {
				selectors = append(selectors, strconv.Itoa(a.Index))
			}
		}
		if selectors != nil {
			break
		}
	}
	return selectors
}

// device is an adapter as the engine uses it.
type device struct {
	*gpu.Device
	catalog *catalog
	kernels nn.Family
	share   int // of how many devices it is one
}

// openDevice opens an adapter that is one of several: the one that choose names now.
func (c *catalog) openDevice(name string, choose chooser, share int) (engine.Device, error) {
	selector, err := choose(name)
	if err != nil {
		return nil, err
	}
	d, err := gpu.Open(selector)
	if err != nil {
		return nil, err
	}
	return &device{d, c, nn.Family(c.flags.Kernels), share}, nil
}

// Name of the adapter.
func (d *device) Name() string { return d.Adapter().Name }

// Memory is this device's share of what is free.
func (d *device) Memory() int64 { return budgetOf(d.Device, d.share) }

// budgetOf is what models may take of a device that is shared by so many: three quarters of what is free, since other
// programs want some. 0 where the adapter does not tell.
func budgetOf(d *gpu.Device, shared int) int64 {
	free, known := d.FreeMemory()
	if !known {
		return 0
	}
	return max(1, int64(free)/4*3/int64(shared))
}

// Load prepares a model by name, within a budget of bytes.
func (d *device) Load(name string, budget int64) (engine.Pipeline, error) {
	m, err := d.catalog.open(name)
	if err != nil {
		return nil, kinded(err)
	}
	p, err := sd.Load(d.Device, m, sd.LoadOptions{Runtime: nn.Options{Family: d.kernels}, Budget: budget, Shelf: d.catalog.shelf})
	if err != nil {
		m.Close()
		return nil, kinded(err)
	}
	return engine.Wrap(p, func() { m.Close() }), nil
}

// Close gives the adapter back.
func (d *device) Close() { d.Device.Close() }
