package nn

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"waggle/gpu"
	"waggle/shaders"
)

// Family is a set of kernels made for one kind of device.
type Family string

const (
	// Subgroup kernels use no workgroup memory: operands come from storage textures and are spread by subgroup
	// broadcast. For software adapters, where this is many times faster than anything else.
	Subgroup Family = "subgroup"
	// Tiled kernels bring tiles of both operands through workgroup memory. For GPUs.
	Tiled Family = "tiled"
	// Plain kernels need neither subgroups nor workgroup memory.
	Plain Family = "plain"
)

// Families lists the kernel families.
var Families = []Family{Subgroup, Tiled, Plain}

// Options of a runtime.
type Options struct {
	Family Family // empty: what suits the adapter
	// ImageLimit is the largest image of an activation in bytes; larger operands are brought in by bands of rows.
	// 0 means 32 MiB.
	ImageLimit int
	// BindingLimit is the largest part of a buffer that a kernel sees at once, in bytes; what is larger goes by bands of
	// rows. 0, or more than the adapter's own limit, means that limit.
	BindingLimit int
}

// Runtime compiles graphs for one device.
type Runtime struct {
	device     *gpu.Device
	family     Family
	lanes      int // subgroup size, for the subgroup family
	imageLimit int // texels
	limits     gpu.Limits

	mu      sync.Mutex
	kernels map[string]*gpu.Kernel
}

// NewRuntime chooses the kernel family for the device: subgroup for software adapters with subgroups of 8 or 16, tiled
// for GPUs, plain otherwise. A family that the device cannot run is an error.
func NewRuntime(device *gpu.Device, options Options) (*Runtime, error) {
	r := &Runtime{device: device, family: options.Family, lanes: device.SubgroupSize(), kernels: map[string]*gpu.Kernel{}}
	r.imageLimit = options.ImageLimit / 16
	if r.imageLimit == 0 {
		r.imageLimit = 32 << 20 / 16
	}
	r.limits = device.Adapter().Limits
	if n := uint64(options.BindingLimit); n > 0 && n < r.limits.Binding {
		r.limits.Binding = n
	}
	wide := r.lanes == 8 || r.lanes == 16
	switch {
	case r.family == "" && device.Adapter().Kind != gpu.Software:
		r.family = Tiled
	case r.family == "" && wide:
		r.family = Subgroup
	case r.family == "":
		r.family = Plain
	}
	if !slices.Contains(Families, r.family) {
		return nil, fmt.Errorf("unknown kernel family %q: want one of %v", r.family, Families)
	}
	if r.family == Subgroup && !wide {
		return nil, fmt.Errorf("kernel family subgroup needs subgroups of 8 or 16, the adapter has %d", r.lanes)
	}
	return r, nil
}

// Family in use.
func (r *Runtime) Family() Family { return r.family }

// Device that the runtime compiles for.
func (r *Runtime) Device() *gpu.Device { return r.device }

// Close frees the kernels. Compiled graphs must be closed before.
func (r *Runtime) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.kernels {
		k.Close()
	}
	r.kernels = map[string]*gpu.Kernel{}
}

// kernelKey names a kernel file with constants set.
func kernelKey(name string, constants shaders.Constants) string {
	key := name
	for _, k := range slices.Sorted(maps.Keys(constants)) {
		key += " " + k + "=" + constants[k]
	}
	return key
}

// kernelUse is a kernel that a graph needs.
type kernelUse struct {
	name      string
	constants shaders.Constants
}

// prepare compiles what is not yet there of the kernels named by key.
func (r *Runtime) prepare(uses map[string]kernelUse) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var keys, sources []string
	for _, key := range slices.Sorted(maps.Keys(uses)) {
		if r.kernels[key] != nil {
			continue
		}
		source, err := shaders.Source(uses[key].name, uses[key].constants)
		if err != nil {
			return err
		}
		keys, sources = append(keys, key), append(sources, source)
	}
	kernels, err := r.device.NewKernels(keys, sources)
	if err != nil {
		return err
	}
	for i, key := range keys {
		r.kernels[key] = kernels[i]
	}
	return r.device.Warm(kernels)
}
