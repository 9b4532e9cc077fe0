//go:build !js

package gpu

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// NewKernels compiles several kernels, on all processors at once: labels[i] names sources[i].
func (d *Device) NewKernels(labels, sources []string) ([]*Kernel, error) {
	kernels := make([]*Kernel, len(sources))
	errs := make([]error, len(sources))
	d.mu.Lock()
	var wg sync.WaitGroup
	for i := range sources {
		wg.Go(func() { kernels[i], errs[i] = d.newKernel(labels[i], sources[i]) })
	}
	wg.Wait()
	d.mu.Unlock()
	if errors.Join(errs...) == nil {
		return kernels, nil
	}
	// wgpu reports errors to whoever asks first: compile one after the other to know whose they are.
	for i := range sources {
		if kernels[i] != nil {
			kernels[i].Close()
		}
	}
	for i := range sources {
		k, err := d.NewKernel(labels[i], sources[i])
		if err != nil {
			for _, made := range kernels[:i] {
				made.Close()
			}
			return nil, err
		}
		kernels[i] = k
	}
	return kernels, nil
}

// Warm makes kernels ready to run at full speed. A software driver translates a kernel to machine code only when it
// first runs, on one thread; Warm runs each once on next to nothing, half of them on a second device that shares the
// driver's cache on disk. On other adapters, and for kernels that the cache has already, it does nothing.
func (d *Device) Warm(kernels []*Kernel) error {
	cold := d.cold(kernels)
	if len(cold) == 0 {
		return nil
	}
	helper, err := Open(d.adapterIndex())
	if err != nil {
		return err
	}
	defer helper.Close()
	var others error
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 1; i < len(cold) && others == nil; i += 2 {
			var k *Kernel
			if k, others = helper.NewKernel(cold[i].label, cold[i].source); others == nil {
				others = helper.runOnce(k)
				k.Close()
			}
		}
	})
	var own error
	for i := 0; i < len(cold) && own == nil; i += 2 {
		own = d.runOnce(cold[i])
	}
	wg.Wait()
	if err := errors.Join(own, others); err != nil {
		return err
	}
	d.noteWarm(cold)
	return nil
}

// runOnce runs k in one workgroup on stand-ins for its memory, and waits.
func (d *Device) runOnce(k *Kernel) error {
	var spare []Memory
	defer func() {
		for _, m := range spare {
			m.(interface{ Close() }).Close()
		}
	}()
	var bindings []Binding
	var params []uint32
	for _, slot := range k.slots {
		if slot.access == Uniform {
			for range paramSlot / 4 {
				params = append(params, 1)
			}
			break
		}
		m, err := d.standIn(slot)
		if err != nil {
			return err
		}
		spare = append(spare, m)
		b := Read(m)
		b.write = slot.access == WriteBuffer || slot.access == WriteImage
		bindings = append(bindings, b)
	}
	p := d.NewProgram("warm")
	defer p.Close()
	p.Dispatch(k, params, [3]int{1, 1, 1}, bindings...)
	if err := p.Run(); err != nil {
		return err
	}
	return d.Wait()
}

func (d *Device) standIn(slot bindingSlot) (Memory, error) {
	if slot.access == ReadImage || slot.access == WriteImage {
		return d.NewImage("stand-in", slot.format, 1)
	}
	return d.NewBuffer("stand-in", 256)
}

// The list of what Mesa's cache has lies beside the cache. Losing it costs a little time; a wrong entry costs no more.

func warmList() string {
	if os.Getenv("MESA_SHADER_CACHE_DISABLE") != "" || os.Getenv("MESA_SHADER_CACHE_DIR") == "" {
		return ""
	}
	return filepath.Join(os.Getenv("MESA_SHADER_CACHE_DIR"), "waggle-kernels")
}

func (d *Device) mark(k *Kernel) string {
	sum := sha256.Sum256([]byte(d.adapter.Name + d.adapter.Driver + k.source))
	return hex.EncodeToString(sum[:16])
}

// cold lists the kernels that the cache of a software driver does not have yet.
func (d *Device) cold(kernels []*Kernel) []*Kernel {
	if d.adapter.Kind != Software || warmList() == "" {
		return nil
	}
	list, _ := os.ReadFile(warmList())
	var cold []*Kernel
	for _, k := range kernels {
		if !strings.Contains(string(list), d.mark(k)) {
			cold = append(cold, k)
		}
	}
	return cold
}

func (d *Device) noteWarm(kernels []*Kernel) {
	f, err := os.OpenFile(warmList(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	defer f.Close()
	var lines strings.Builder
	for _, k := range kernels {
		lines.WriteString(d.mark(k) + "\n")
	}
	f.WriteString(lines.String())
}
