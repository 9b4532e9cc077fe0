//go:build !js

package gpu

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/oliverbestmann/webgpu/wgpu"
)

// Device is an open adapter.
type Device struct {
	adapter      Adapter
	subgroupSize int

	mu     sync.Mutex // guards every call into wgpu
	raw    *wgpu.Device
	queue  *wgpu.Queue
	closed bool
	lost   atomic.Bool
	used   atomic.Int64 // bytes in buffers and images
	peak   int64        // most of them at a time; guarded by mu
	nobody *Buffer      // stands in for bindings that a dispatch has no use for
	noone  *Image
}

// Adapter that the device was opened on.
func (d *Device) Adapter() Adapter { return d.adapter }

// SubgroupSize is the number of invocations that run as one subgroup, measured; 0 without the feature.
func (d *Device) SubgroupSize() int { return d.subgroupSize }

func (d *Device) adapterIndex() string { return strconv.Itoa(d.adapter.Index) }

// Used is the number of bytes in the device's buffers and images.
func (d *Device) Used() int64 { return d.used.Load() }

// Peak is the most that Used has been.
func (d *Device) Peak() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.peak
}

// take notes an allocation. Called with the lock held.
func (d *Device) take(bytes uint64) {
	d.peak = max(d.peak, d.used.Add(int64(bytes)))
}

func (d *Device) noteLoss(reason wgpu.DeviceLostReason, _ string) {
	if reason != wgpu.DeviceLostReasonDestroyed {
		d.lost.Store(true)
	}
}

// usable is called with the lock held.
func (d *Device) usable() error {
	if d.closed {
		return fmt.Errorf("the device is closed")
	}
	if d.lost.Load() {
		return ErrDeviceLost
	}
	return nil
}

// prepare makes the stand-ins and measures the subgroup size.
func (d *Device) prepare() (err error) {
	if d.nobody, err = d.NewBuffer("nothing", 256); err != nil {
		return err
	}
	if d.noone, err = d.NewImage("nothing", Float4, 1); err != nil {
		return err
	}
	if d.adapter.Features.Subgroups {
		d.subgroupSize, err = d.probeSubgroupSize()
	}
	return err
}

const probeSource = `
@group(0) @binding(0) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) i: u32, @builtin(subgroup_size) size: u32) {
  if (i == 0u) { y[0] = size; }
}`

func (d *Device) probeSubgroupSize() (int, error) {
	kernel, err := d.NewKernel("subgroup size", probeSource)
	if err != nil {
		return 0, err
	}
	defer kernel.Close()
	out, err := d.NewBuffer("subgroup size", 256)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	p := d.NewProgram("subgroup size")
	defer p.Close()
	p.Dispatch(kernel, nil, [3]int{1, 1, 1}, Write(out))
	if err := p.Run(); err != nil {
		return 0, err
	}
	answer, err := d.Read(out, 0, 4)
	if err != nil {
		return 0, err
	}
	return int(binary.LittleEndian.Uint32(answer)), nil
}

// Wait returns when everything submitted has run.
func (d *Device) Wait() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.usable(); err != nil {
		return err
	}
	d.raw.Poll(true, nil)
	return d.usable()
}

// Close frees the device. Objects made on it must be closed before.
func (d *Device) Close() error {
	if d.nobody != nil {
		d.nobody.Close()
	}
	if d.noone != nil {
		d.noone.Close()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.closed = true
		d.raw.Poll(true, nil)
		d.queue.Release()
		d.raw.Release()
	}
	return nil
}

// Flush hands everything written so far to the driver and waits until it is there, so that its copies are freed.
func (d *Device) Flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.usable(); err != nil {
		return err
	}
	d.queue.Submit()
	d.raw.Poll(true, nil)
	return d.usable()
}
