//go:build !js

package gpu

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/oliverbestmann/webgpu/wgpu"
)

// Kernel is a compiled compute shader.
type Kernel struct {
	device   *Device
	label    string
	source   string
	slots    []bindingSlot
	pipeline *wgpu.ComputePipeline
	layout   *wgpu.BindGroupLayout
}

// NewKernel compiles WGSL whose entry point is main and whose bindings are all in group 0, numbered from 0. The error of
// a bad shader names its line.
func (d *Device) NewKernel(label, source string) (*Kernel, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.newKernel(label, source)
}

// newKernel is called with the lock held.
func (d *Device) newKernel(label, source string) (*Kernel, error) {
	slots, err := bindingSlots(source)
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", label, err)
	}
	if err := d.usable(); err != nil {
		return nil, err
	}
	module, err := d.raw.TryCreateShaderModule(&wgpu.ShaderModuleDescriptor{Label: label, WGSLSource: &wgpu.ShaderSourceWGSL{Code: source}})
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", label, err)
	}
	defer module.Release()
	pipeline, err := d.raw.TryCreateComputePipeline(&wgpu.ComputePipelineDescriptor{
		Label: label, Compute: wgpu.ProgrammableStageDescriptor{Module: module, EntryPoint: "main"},
	})
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", label, err)
	}
	return &Kernel{device: d, label: label, source: source, slots: slots, pipeline: pipeline, layout: pipeline.GetBindGroupLayout(0)}, nil
}

// Close frees the kernel. Programs that use it must not run afterwards.
func (k *Kernel) Close() {
	k.device.mu.Lock()
	defer k.device.mu.Unlock()
	if k.pipeline != nil && !k.device.closed {
		k.layout.Release()
		k.pipeline.Release()
		k.pipeline = nil
	}
}

// Binding is a part of memory given to a kernel.
type Binding struct {
	buffer       *Buffer
	offset, size uint64
	image        *Image
	write        bool
}

// Memory is a *Buffer, an *Image or a Range.
type Memory interface{ binding() Binding }

// Range is a part of a buffer, in bytes. Offset is a multiple of the adapter's OffsetAlignment.
type Range struct {
	Buffer       *Buffer
	Offset, Size uint64
}

func (b *Buffer) binding() Binding { return Binding{buffer: b, size: b.size} }
func (im *Image) binding() Binding { return Binding{image: im} }
func (r Range) binding() Binding {
	return Binding{buffer: r.Buffer, offset: r.Offset, size: roundUp(r.Size, 4)}
}

// Read binds memory that the kernel only reads.
func Read(m Memory) Binding { return m.binding() }

// Write binds memory that the kernel writes.
func Write(m Memory) Binding { b := m.binding(); b.write = true; return b }

// None binds nothing: for a binding that this variant of the kernel has no use for.
func None() Binding { return Binding{} }

type command struct {
	label  string
	kernel *Kernel // nil for copies
	group  *wgpu.BindGroup
	counts [3]int
	uses   []Binding
	copy   func(e *wgpu.CommandEncoder) error
	host   func() error // in place of the device's work
}

// Program is a list of dispatches and copies, and of what the host does between them. The first mistake made while recording sticks and is returned by Run.
type Program struct {
	device   *Device
	label    string
	commands []command
	params   []byte  // one slot of uniform parameters a dispatch
	uniforms *Buffer // params on the device, once sealed
	pending  []pendingGroup
	err      error
}

type pendingGroup struct {
	command int
	kernel  *Kernel
	entries []Binding
	params  int // offset, or -1
}

// NewProgram starts an empty program.
func (d *Device) NewProgram(label string) *Program { return &Program{device: d, label: label} }

// Len is the number of recorded commands.
func (p *Program) Len() int { return len(p.commands) }

// Err is the first mistake made while recording.
func (p *Program) Err() error { return p.err }

func (p *Program) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("program %s: %w", p.label, fmt.Errorf(format, args...))
	}
}

const paramSlot = 256

// ParameterBytes is the memory that a program takes for the parameters of so many dispatches; none if it has none.
func ParameterBytes(dispatches int) int64 { return int64(dispatches) * paramSlot }

// Dispatch records one run of kernel k over counts workgroups. params fills the kernel's uniform binding, which is the
// last one; bindings are given in order for all others.
func (p *Program) Dispatch(k *Kernel, params []uint32, counts [3]int, bindings ...Binding) {
	if p.uniforms != nil {
		p.fail("dispatch of %s after the first run", k.label)
	}
	if err := p.check(k, params, counts, bindings); err != nil {
		p.fail("%s: %w", k.label, err)
		return
	}
	slot := -1
	if len(params) > 0 {
		slot = len(p.params)
		for _, v := range params {
			p.params = binary.LittleEndian.AppendUint32(p.params, v)
		}
		p.params = append(p.params, make([]byte, paramSlot-4*len(params))...)
	}
	p.pending = append(p.pending, pendingGroup{len(p.commands), k, bindings, slot})
	p.commands = append(p.commands, command{label: k.label, kernel: k, counts: counts, uses: bindings})
}

// check holds every rule whose breach wgpu would answer by ending the process.
func (p *Program) check(k *Kernel, params []uint32, counts [3]int, bindings []Binding) error {
	want := len(k.slots)
	if want > 0 && k.slots[want-1].access == Uniform {
		want--
		if len(params) == 0 || len(params) > paramSlot/4 {
			return fmt.Errorf("%d parameters, want 1 to %d", len(params), paramSlot/4)
		}
	} else if len(params) > 0 {
		return fmt.Errorf("it takes no parameters")
	}
	if len(bindings) != want {
		return fmt.Errorf("%d bindings, want %d", len(bindings), want)
	}
	for _, n := range counts {
		if n < 1 || n > p.device.adapter.Limits.Workgroups {
			return fmt.Errorf("%v workgroups: each count must be 1 to %d", counts, p.device.adapter.Limits.Workgroups)
		}
	}
	for i := range bindings {
		if err := p.checkBinding(k.slots[i], &bindings[i]); err != nil {
			return fmt.Errorf("binding %s: %w", k.slots[i].name, err)
		}
	}
	return checkAliases(bindings)
}

func (p *Program) checkBinding(slot bindingSlot, b *Binding) error {
	d := p.device
	isImage := slot.access == ReadImage || slot.access == WriteImage
	if b.buffer == nil && b.image == nil {
		if isImage {
			b.image = d.noone
		} else {
			b.buffer, b.size = d.nobody, d.nobody.size
		}
		b.write = slot.access == WriteBuffer || slot.access == WriteImage
		return nil
	}
	if isImage != (b.image != nil) {
		return fmt.Errorf("a buffer was given for an image, or the reverse")
	}
	if b.write != (slot.access == WriteBuffer || slot.access == WriteImage) {
		return fmt.Errorf("the kernel and its caller disagree on reading and writing")
	}
	if b.image != nil {
		if b.image.format != slot.format {
			return fmt.Errorf("image %s has the wrong format", b.image.label)
		}
		return nil
	}
	limits := d.adapter.Limits
	if b.offset%limits.OffsetAlignment != 0 || b.size == 0 || b.offset > b.buffer.size || b.size > b.buffer.size-b.offset {
		return fmt.Errorf("bytes %d+%d of buffer %s, which has %d; offsets go in steps of %d", b.offset, b.size, b.buffer.label, b.buffer.size, limits.OffsetAlignment)
	}
	if b.size > limits.Binding {
		return fmt.Errorf("%d bytes of buffer %s: the adapter binds at most %d", b.size, b.buffer.label, limits.Binding)
	}
	return nil
}

// checkAliases refuses a dispatch that writes memory which it also binds elsewhere.
func checkAliases(bindings []Binding) error {
	for i, a := range bindings {
		for j, b := range bindings {
			same := a.buffer != nil && a.buffer == b.buffer || a.image != nil && a.image == b.image
			if i != j && a.write && same {
				return fmt.Errorf("bindings %d and %d are the same memory, and one is written", i, j)
			}
		}
	}
	return nil
}

// Copy records a copy of size bytes from src to dst; all multiples of 4.
func (p *Program) Copy(dst *Buffer, dstOffset uint64, src *Buffer, srcOffset, size uint64) {
	if dst == src || srcOffset+size > src.size || dstOffset+size > dst.size || (dstOffset|srcOffset|size)%4 != 0 {
		p.fail("copy of %d bytes from %s (%d) to %s (%d) is out of range", size, src.label, src.size, dst.label, dst.size)
		return
	}
	p.commands = append(p.commands, command{
		label: "copy", uses: []Binding{Read(src), Write(dst)},
		copy: func(e *wgpu.CommandEncoder) error {
			return e.TryCopyBufferToBuffer(src.raw, srcOffset, dst.raw, dstOffset, size)
		},
	})
}

// CopyToImage records a copy of texels·16 bytes of src from offset on to the start of im. What a last unfinished line
// of texels lacks is taken from src too where it has more, so that one copy does.
func (p *Program) CopyToImage(im *Image, src *Buffer, offset uint64, texels int) {
	bytes := uint64(texels) * texelBytes
	if texels <= 0 || texels > im.Texels() || offset > src.size || bytes > src.size-offset || offset%texelBytes != 0 {
		p.fail("copy of %d texels from %s (%d bytes) to image %s (%d texels) is out of range", texels, src.label, src.size, im.label, im.Texels())
		return
	}
	full, rest := texels/ImageWidth, texels%ImageWidth
	p.commands = append(p.commands, command{
		label: "copy to image", uses: []Binding{Read(src), Write(im)},
		copy: func(e *wgpu.CommandEncoder) error {
			if full > 0 {
				if err := copyLines(e, im, 0, src, offset, ImageWidth, full); err != nil {
					return err
				}
			}
			if rest == 0 {
				return nil
			}
			return copyLines(e, im, full, src, offset+uint64(full)*ImageWidth*texelBytes, rest, 1)
		},
	})
}

func copyLines(e *wgpu.CommandEncoder, im *Image, line int, src *Buffer, offset uint64, width, lines int) error {
	return e.TryCopyBufferToTexture(
		&wgpu.TexelCopyBufferInfo{Buffer: src.raw, Layout: wgpu.TexelCopyBufferLayout{Offset: offset, BytesPerRow: ImageWidth * texelBytes, RowsPerImage: uint32(lines)}},
		&wgpu.TexelCopyTextureInfo{Texture: im.raw, Aspect: wgpu.TextureAspectAll, Origin: wgpu.Origin3D{Y: uint32(line)}},
		&wgpu.Extent3D{Width: uint32(width), Height: uint32(lines), DepthOrArrayLayers: 1})
}

// Host records a call of f on the host. By then everything before it is submitted, so that f can read its results; what f
// writes is there for everything after it.
func (p *Program) Host(f func() error) {
	p.commands = append(p.commands, command{label: "host", host: f})
}

// seal uploads the parameters and makes the bind groups. Called with the lock not held.
func (p *Program) seal() (err error) {
	if p.err != nil || p.uniforms != nil {
		return p.err
	}
	if p.uniforms, err = p.device.NewBuffer(p.label+" parameters", max(uint64(len(p.params)), paramSlot)); err != nil {
		return err
	}
	if err = p.device.Write(p.uniforms, 0, p.params); err != nil {
		return err
	}
	p.device.mu.Lock()
	defer p.device.mu.Unlock()
	for _, g := range p.pending {
		if err := p.bind(g); err != nil {
			p.err = fmt.Errorf("program %s: %s: %w", p.label, g.kernel.label, err)
			return p.err
		}
	}
	p.pending = nil
	return nil
}

func (p *Program) bind(g pendingGroup) error {
	var entries []wgpu.BindGroupEntry
	for i, b := range g.entries {
		entry := wgpu.BindGroupEntry{Binding: uint32(i)}
		if b.image != nil {
			entry.TextureView = b.image.view
		} else {
			entry.Buffer, entry.Offset, entry.Size = b.buffer.raw, b.offset, b.size
		}
		entries = append(entries, entry)
	}
	if g.params >= 0 {
		entries = append(entries, wgpu.BindGroupEntry{Binding: uint32(len(entries)), Buffer: p.uniforms.raw, Offset: uint64(g.params), Size: paramSlot})
	}
	group, err := p.device.raw.TryCreateBindGroup(&wgpu.BindGroupDescriptor{Layout: g.kernel.layout, Entries: entries})
	p.commands[g.command].group = group
	return err
}

// Run submits the whole program. It does not wait, unless the host's part in it does: Device.Wait and Device.Read do.
func (p *Program) Run() error {
	if err := p.seal(); err != nil {
		return err
	}
	rest := p.commands
	for {
		n := slices.IndexFunc(rest, func(c command) bool { return c.host != nil })
		if n < 0 {
			return p.submit(rest)
		}
		if n > 0 {
			if err := p.submit(rest[:n]); err != nil {
				return err
			}
		}
		if err := rest[n].host(); err != nil {
			return fmt.Errorf("program %s: %w", p.label, err)
		}
		rest = rest[n+1:]
	}
}

// submit queues commands for the device.
func (p *Program) submit(commands []command) error {
	d := p.device
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.usable(); err != nil {
		return err
	}
	if err := alive(commands); err != nil {
		return fmt.Errorf("program %s: %w", p.label, err)
	}
	encoder, err := d.raw.TryCreateCommandEncoder(nil)
	if err != nil {
		return fmt.Errorf("program %s: %w", p.label, err)
	}
	defer encoder.Release()
	if err := encode(encoder, commands); err != nil {
		return fmt.Errorf("program %s: %w", p.label, err)
	}
	if err := d.submit(encoder); err != nil {
		return fmt.Errorf("program %s: %w", p.label, err)
	}
	return nil
}

// alive checks that nothing the commands name was closed.
func alive(commands []command) error {
	for _, c := range commands {
		if c.kernel != nil && (c.kernel.pipeline == nil || c.group == nil) {
			return fmt.Errorf("kernel %s is closed", c.label)
		}
		for _, b := range c.uses {
			if b.buffer != nil && b.buffer.raw == nil {
				return fmt.Errorf("%s: buffer %s is closed", c.label, b.buffer.label)
			}
			if b.image != nil && b.image.raw == nil {
				return fmt.Errorf("%s: image %s is closed", c.label, b.image.label)
			}
		}
	}
	return nil
}

// encode writes commands down, consecutive dispatches as one compute pass.
func encode(encoder *wgpu.CommandEncoder, commands []command) error {
	var pass *wgpu.ComputePassEncoder
	end := func() (err error) {
		if pass != nil {
			err = pass.TryEnd()
			pass.Release()
			pass = nil
		}
		return err
	}
	for _, c := range commands {
		if c.kernel == nil {
			if err := end(); err != nil {
				return err
			}
			if err := c.copy(encoder); err != nil {
				return fmt.Errorf("%s: %w", c.label, err)
			}
			continue
		}
		if pass == nil {
			pass = encoder.BeginComputePass(nil)
		}
		pass.SetPipeline(c.kernel.pipeline)
		pass.SetBindGroup(0, c.group, nil)
		pass.DispatchWorkgroups(uint32(c.counts[0]), uint32(c.counts[1]), uint32(c.counts[2]))
	}
	return end()
}

// Close frees the program's own memory.
func (p *Program) Close() {
	if p.uniforms != nil {
		p.uniforms.Close()
	}
	p.device.mu.Lock()
	defer p.device.mu.Unlock()
	for i := range p.commands {
		if g := p.commands[i].group; g != nil && !p.device.closed {
			g.Release()
			p.commands[i].group = nil
		}
	}
}
