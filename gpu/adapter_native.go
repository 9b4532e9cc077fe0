//go:build !js

package gpu

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/oliverbestmann/webgpu/wgpu"
	"golang.org/x/sys/cpu"
)

// Backends by wgpu's bits: Vulkan, Metal, DX12. OpenGL is left out: it has neither f16 nor subgroups.
var backends = map[string]wgpu.InstanceBackend{"darwin": 4, "ios": 4, "windows": 1 | 8}

var openInstance = sync.OnceValue(func() *wgpu.Instance {
	prepareSoftwareDriver()
	wgpu.SetLogLevel(wgpu.LogLevelOff)
	backend, ok := backends[runtime.GOOS]
	if !ok {
		backend = 1
	}
	return wgpu.CreateInstance(&wgpu.InstanceDescriptor{Backends: backend})
})

// prepareSoftwareDriver sets what Mesa's software Vulkan reads from the environment when it starts: vectors as wide as
// the processor's, no worker thread where there is one processor only, and a shader cache of its own for each width,
// since Mesa's cache mixes them up. What the user has set stays.
func prepareSoftwareDriver() {
	setDefault := func(name, value string) {
		if os.Getenv(name) == "" {
			os.Setenv(name, value)
		}
	}
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL {
		setDefault("LP_NATIVE_VECTOR_WIDTH", "512")
	}
	if runtime.NumCPU() == 1 {
		setDefault("LP_NUM_THREADS", "0") // the queue's own thread computes: no handing over to a single worker
	}
	if dir := shaderCache(); dir != "" {
		setDefault("MESA_SHADER_CACHE_DIR", dir)
	} else if os.Getenv("MESA_SHADER_CACHE_DIR") == "" {
		setDefault("MESA_SHADER_CACHE_DISABLE", "true")
	}
	setDefault("XDG_RUNTIME_DIR", os.TempDir())
}

// shaderCache makes the user's cache folder for kernels of the vector width in use, or returns "".
func shaderCache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	dir = filepath.Join(dir, "waggle", "mesa-"+cmp.Or(os.Getenv("LP_NATIVE_VECTOR_WIDTH"), "256"))
	if os.MkdirAll(dir, 0o755) != nil {
		return ""
	}
	return dir
}

// Adapters lists what is there, in the driver's order.
func Adapters() ([]Adapter, error) {
	raw := openInstance().EnumerateAdapters(nil)
	if len(raw) == 0 {
		return nil, ErrNoAdapter
	}
	list := make([]Adapter, len(raw))
	for i, a := range raw {
		list[i] = describe(i, a)
		a.Release()
	}
	return list, nil
}

var kinds = map[wgpu.AdapterType]Kind{
	wgpu.AdapterTypeDiscreteGPU: Discrete, wgpu.AdapterTypeIntegratedGPU: Integrated, wgpu.AdapterTypeCPU: Software,
}

func describe(index int, a *wgpu.Adapter) Adapter {
	info, limits := a.GetInfo(), a.GetLimits()
	kind, ok := kinds[info.AdapterType]
	if !ok {
		kind = Virtual
	}
	return Adapter{
		Index: index, Name: info.Device, Driver: info.Description, Backend: fmt.Sprint(info.BackendType), Kind: kind,
		Limits: Limits{
			Binding: limits.MaxStorageBufferBindingSize, Buffer: limits.MaxBufferSize,
			OffsetAlignment: uint64(limits.MinStorageBufferOffsetAlignment), ImageSide: int(limits.MaxTextureDimension2D),
			Workgroups: int(limits.MaxComputeWorkgroupsPerDimension), WorkgroupInvocations: int(limits.MaxComputeInvocationsPerWorkgroup),
			WorkgroupMemory: int(limits.MaxComputeWorkgroupStorageSize), StorageBuffers: int(limits.MaxStorageBuffersPerShaderStage),
		},
		Features: Features{
			HalfFloat:  a.HasFeature(wgpu.FeatureNameShaderF16),
			Subgroups:  a.HasFeature(wgpu.NativeFeatureSubgroup),
			Timestamps: a.HasFeature(wgpu.FeatureNameTimestampQuery),
		},
	}
}

// choose picks the adapter that selector names by index or by a part of its name; with no selector the fastest kind.
func choose(list []Adapter, selector string) (int, error) {
	if len(list) == 0 {
		return 0, ErrNoAdapter
	}
	if selector == "" {
		order := []Kind{Discrete, Integrated, Virtual, Software}
		best := slices.MinFunc(list, func(a, b Adapter) int {
			return slices.Index(order, a.Kind) - slices.Index(order, b.Kind)
		})
		return best.Index, nil
	}
	if i, err := strconv.Atoi(selector); err == nil && i >= 0 && i < len(list) {
		return i, nil
	}
	for _, a := range list {
		if strings.Contains(strings.ToLower(a.Name), strings.ToLower(selector)) {
			return a.Index, nil
		}
	}
	var names []string
	for _, a := range list {
		names = append(names, fmt.Sprintf("%d: %s", a.Index, a.Name))
	}
	return 0, fmt.Errorf("no adapter %q; there are %s", selector, strings.Join(names, ", "))
}

// Open opens the adapter that selector names, by index or by a part of its name. With an empty selector it takes a
// discrete GPU before an integrated one, and a software driver only if nothing else is there.
func Open(selector string) (*Device, error) {
	raw := openInstance().EnumerateAdapters(nil)
	list := make([]Adapter, len(raw))
	for i, a := range raw {
		list[i] = describe(i, a)
		defer a.Release()
	}
	index, err := choose(list, selector)
	if err != nil {
		return nil, err
	}
	d := &Device{adapter: list[index]}
	limits := raw[index].GetLimits()
	d.raw, err = raw[index].RequestDevice(&wgpu.DeviceDescriptor{
		Label: "waggle", RequiredFeatures: wanted(list[index].Features), RequiredLimits: &limits,
		DeviceLostCallback: d.noteLoss,
	})
	if err != nil {
		return nil, fmt.Errorf("open adapter %s: %w", list[index].Name, err)
	}
	d.queue = d.raw.GetQueue()
	if err := d.prepare(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func wanted(f Features) []wgpu.FeatureName {
	var names []wgpu.FeatureName
	if f.HalfFloat {
		names = append(names, wgpu.FeatureNameShaderF16)
	}
	if f.Subgroups {
		names = append(names, wgpu.NativeFeatureSubgroup)
	}
	if f.Timestamps {
		names = append(names, wgpu.FeatureNameTimestampQuery)
	}
	return names
}
