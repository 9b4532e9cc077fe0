package main

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"waggle/gpu"
)

// place is where an orchestrator wants a worker to draw: the index-th adapter of a kind.
type place struct {
	kind  string // cpu, cuda, rocm, metal, vulkan; gpu: any but cpu; empty: not said
	index string // decimal, from 0; empty: not said
	flag  string // what says so, for errors
}

// nowhere is the place of those that do not care.
var nowhere = place{}

// placeFlags are those that choose an adapter, beside our own --gpu.
var placeFlags = []string{"device", "backend", "cuda-device", "rocm-device", "metal-device"}

// choosePlace settles what the flags say of the adapter. It is nowhere where --gpu does, or nothing.
func (c *serveCommand) choosePlace(given sources) (place, error) {
	text := map[string]string{"device": c.Device, "backend": c.Backend,
		"cuda-device": "cuda:" + c.CUDADevice, "rocm-device": "rocm:" + c.ROCmDevice, "metal-device": "metal:" + c.MetalDevice}
	set := given.strongest(append([]string{"gpu"}, placeFlags...)...)
	if slices.Contains(set, "gpu") {
		if len(set) > 1 {
			return nowhere, fmt.Errorf("--gpu and --%s both choose the adapter: give one of them", set[1])
		}
		return nowhere, nil
	}
	chosen := nowhere
	for _, name := range set {
		p, err := parsePlace(name, text[name])
		if err == nil {
			chosen, err = chosen.and(p)
		}
		if err != nil {
			return nowhere, err
		}
	}
	if found := namedKind.FindStringSubmatch(c.WorkerID); found != nil && chosen.kind == "" {
		chosen.kind, chosen.flag = found[1], cmp.Or(chosen.flag, "worker-id")
	}
	return chosen, nil
}

// namedKind finds the kind in the names that hives give their workers: worker-cuda-8080.
var namedKind = regexp.MustCompile(`^worker-(cpu|cuda|rocm|metal)-`)

// placed is what orchestrators write: 0, cpu, cuda:1, GPU-0.
var placed = regexp.MustCompile(`^(?:(cpu|gpu|cuda|rocm|metal|vulkan)(?:[:-]([0-9]{1,4}))?|([0-9]{1,4}))$`)

func parsePlace(flag, text string) (place, error) {
	found := placed.FindStringSubmatch(strings.ToLower(strings.TrimSpace(text)))
	if found == nil {
		return nowhere, fmt.Errorf("--%s %s: want an index, or cpu, gpu, cuda, rocm, metal or vulkan, where :INDEX may follow", flag, text)
	}
	p := place{kind: found[1], flag: flag}
	if n, err := strconv.Atoi(found[2] + found[3]); err == nil {
		p.index = strconv.Itoa(n)
	}
	return p, nil
}

// and joins two places that were asked for.
func (p place) and(o place) (place, error) {
	if p == nowhere {
		return o, nil
	}
	same := func(a, b string) bool { return a == "" || b == "" || a == b }
	if !same(p.kind, o.kind) || !same(p.index, o.index) {
		return nowhere, fmt.Errorf("--%s and --%s name different adapters: give one of them", p.flag, o.flag)
	}
	return place{cmp.Or(p.kind, o.kind), cmp.Or(p.index, o.index), p.flag}, nil
}

// String is the place as a person would write it.
func (p place) String() string {
	return strings.Trim(p.kind+":"+p.index, ":")
}

// makers are parts of the names of adapters by those who make them, where a kind is one maker's.
var makers = map[string][]string{"cuda": {"nvidia", "geforce", "tesla", "quadro"}, "rocm": {"amd", "radeon"}}

// find returns the adapter at a place: for cpu the software one, else the index-th hardware adapter, discrete ones first, of
// the maker that the kind tells if it made any. Where there is no hardware at all it is the software adapter.
func (p place) find(list []gpu.Adapter) (gpu.Adapter, error) {
	software, hardware := split(list)
	switch {
	case p.kind == "cpu" && len(software) == 0:
		return gpu.Adapter{}, errors.New("there is no software adapter for cpu: install mesa-vulkan-drivers, or ask for a GPU")
	case p.kind == "cpu", len(hardware) == 0 && len(software) > 0:
		return software[0], nil
	case len(hardware) == 0:
		return gpu.Adapter{}, gpu.ErrNoAdapter
	}
	hardware = madeBy(hardware, makers[p.kind])
	index, _ := strconv.Atoi(cmp.Or(p.index, "0")) // digits, by parsePlace
	if index >= len(hardware) {
		var names []string
		for i, a := range hardware {
			names = append(names, fmt.Sprintf("%d: %s", i, a.Name))
		}
		return gpu.Adapter{}, fmt.Errorf("no adapter at --%s %s; there are %s", p.flag, p, strings.Join(names, ", "))
	}
	return hardware[index], nil
}

func split(list []gpu.Adapter) (software, hardware []gpu.Adapter) {
	for _, a := range list {
		if a.Kind == gpu.Software {
			software = append(software, a)
		} else {
			hardware = append(hardware, a)
		}
	}
	order := []gpu.Kind{gpu.Discrete, gpu.Integrated, gpu.Virtual}
	slices.SortStableFunc(hardware, func(a, b gpu.Adapter) int {
		return cmp.Compare(slices.Index(order, a.Kind), slices.Index(order, b.Kind))
	})
	return software, hardware
}

// madeBy keeps the adapters of a maker; all, where it made none.
func madeBy(list []gpu.Adapter, names []string) []gpu.Adapter {
	var kept []gpu.Adapter
	for _, a := range list {
		if slices.ContainsFunc(names, func(name string) bool { return strings.Contains(strings.ToLower(a.Name), name) }) {
			kept = append(kept, a)
		}
	}
	if kept == nil {
		return list
	}
	return kept
}
