//go:build !js

package gpu

import (
	"fmt"
	"strings"

	"github.com/oliverbestmann/webgpu/wgpu"
)

// Buffer is linear memory on the device.
type Buffer struct {
	device *Device
	label  string
	size   uint64
	raw    *wgpu.Buffer
}

// Image is linear memory on the device that kernels reach as a storage texture: texel i is at (i % ImageWidth,
// i / ImageWidth).
type Image struct {
	device *Device
	label  string
	format Format
	lines  int
	raw    *wgpu.Texture
	view   *wgpu.TextureView
}

func roundUp(n, to uint64) uint64 { return (n + to - 1) / to * to }

// NewBuffer makes a buffer of size bytes (rounded up to 4), filled with zeros. Size 0 is an error; one beyond the
// device's limit or its memory is ErrOutOfMemory.
func (d *Device) NewBuffer(label string, size uint64) (*Buffer, error) {
	if size == 0 {
		return nil, fmt.Errorf("buffer %s: size 0", label)
	}
	size = roundUp(size, 4)
	if size > d.adapter.Limits.Buffer {
		return nil, fmt.Errorf("buffer %s of %d bytes: %w: the adapter's largest buffer is %d", label, size, ErrOutOfMemory, d.adapter.Limits.Buffer)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.reserve(label, size); err != nil {
		return nil, err
	}
	raw, err := d.raw.TryCreateBuffer(&wgpu.BufferDescriptor{
		Label: label, Size: size,
		Usage: wgpu.BufferUsageStorage | wgpu.BufferUsageUniform | wgpu.BufferUsageCopySrc | wgpu.BufferUsageCopyDst,
	})
	if err != nil {
		return nil, fmt.Errorf("buffer %s of %d bytes: %w", label, size, memoryError(err))
	}
	d.take(size)
	return &Buffer{device: d, label: label, size: size, raw: raw}, nil
}

// reserve refuses what a software adapter cannot have: there wgpu would end the process. Called with the lock held.
func (d *Device) reserve(label string, size uint64) error {
	if err := d.usable(); err != nil {
		return err
	}
	if d.adapter.Kind != Software || size < 1<<20 {
		return nil
	}
	if free, ok := freeMemory(); ok && size > free {
		return fmt.Errorf("%s of %d MB: %w: %d MB are free", label, size>>20, ErrOutOfMemory, free>>20)
	}
	return nil
}

// Size in bytes.
func (b *Buffer) Size() uint64 { return b.size }

// Close frees the memory. A second call does nothing.
func (b *Buffer) Close() {
	b.device.mu.Lock()
	defer b.device.mu.Unlock()
	if b.raw != nil && !b.device.closed {
		b.raw.Destroy()
		b.raw.Release()
		b.raw = nil
		b.device.used.Add(-int64(b.size))
	}
}

// imageLines is the height of an image. It is never a power of two: Mesa's software driver compiles a kernel anew for
// each combination of images with and without such a height.
func imageLines(texels int) int {
	lines := (texels + ImageWidth - 1) / ImageWidth
	for lines > 0 && lines&(lines-1) == 0 {
		lines++
	}
	return lines
}

// ImageBytes is the memory that an image of texels texels takes.
func ImageBytes(texels int) int64 { return int64(imageLines(texels)) * ImageWidth * texelBytes }

// NewImage makes an image of at least texels texels of 16 bytes, filled with zeros.
func (d *Device) NewImage(label string, format Format, texels int) (*Image, error) {
	lines := imageLines(texels)
	if texels <= 0 || lines > d.adapter.Limits.ImageSide || ImageWidth > d.adapter.Limits.ImageSide {
		return nil, fmt.Errorf("image %s of %d texels: %w: the adapter's images have at most %d lines", label, texels, ErrOutOfMemory, d.adapter.Limits.ImageSide)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	size := uint64(lines) * ImageWidth * texelBytes
	if err := d.reserve(label, size); err != nil {
		return nil, err
	}
	im := &Image{device: d, label: label, format: format, lines: lines}
	rawFormat := wgpu.TextureFormatRGBA32Float
	if format == Uint4 {
		rawFormat = wgpu.TextureFormatRGBA32Uint
	}
	var err error
	im.raw, err = d.raw.TryCreateTexture(&wgpu.TextureDescriptor{
		Label: label, Dimension: wgpu.TextureDimension2D, Format: rawFormat, MipLevelCount: 1, SampleCount: 1,
		Size:  wgpu.Extent3D{Width: ImageWidth, Height: uint32(lines), DepthOrArrayLayers: 1},
		Usage: wgpu.TextureUsageStorageBinding | wgpu.TextureUsageCopyDst | wgpu.TextureUsageCopySrc,
	})
	if err == nil {
		im.view, err = im.raw.TryCreateView(nil)
	}
	if err != nil {
		return nil, fmt.Errorf("image %s of %d texels: %w", label, texels, memoryError(err))
	}
	d.take(im.bytes())
	return im, nil
}

func (im *Image) bytes() uint64 { return uint64(im.lines) * ImageWidth * texelBytes }

// Texels that the image holds.
func (im *Image) Texels() int { return im.lines * ImageWidth }

// Close frees the memory. A second call does nothing.
func (im *Image) Close() {
	im.device.mu.Lock()
	defer im.device.mu.Unlock()
	if im.raw != nil && !im.device.closed {
		im.view.Release()
		im.raw.Destroy()
		im.raw.Release()
		im.raw = nil
		im.device.used.Add(-int64(im.bytes()))
	}
}

// Write copies data into b from offset on. Offset and length must be multiples of 4.
func (d *Device) Write(b *Buffer, offset uint64, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.checkRange(b, offset, uint64(len(data))); err != nil {
		return err
	}
	if len(data) == 0 {
		return nil
	}
	return memoryError(d.queue.TryWriteBuffer(b.raw, offset, data))
}

// WriteImage copies whole lines of texels (ImageWidth·16 bytes each) into im from line firstLine on.
func (d *Device) WriteImage(im *Image, firstLine int, data []byte) error {
	const lineBytes = ImageWidth * texelBytes
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.usable(); err != nil {
		return err
	}
	lines := len(data) / lineBytes
	if im.raw == nil || len(data)%lineBytes != 0 || firstLine < 0 || firstLine+lines > im.lines {
		return fmt.Errorf("write %d bytes at line %d of image %s: it has %d lines", len(data), firstLine, im.label, im.lines)
	}
	return memoryError(d.queue.TryWriteTexture(
		&wgpu.TexelCopyTextureInfo{Texture: im.raw, Aspect: wgpu.TextureAspectAll, Origin: wgpu.Origin3D{Y: uint32(firstLine)}}, data,
		&wgpu.TexelCopyBufferLayout{BytesPerRow: lineBytes, RowsPerImage: uint32(lines)},
		&wgpu.Extent3D{Width: ImageWidth, Height: uint32(lines), DepthOrArrayLayers: 1}))
}

// memoryError is ErrOutOfMemory for what wgpu says when the driver has no more, and err otherwise: wgpu has no kind for it.
func memoryError(err error) error {
	if err == nil {
		return nil
	}
	text := strings.ToLower(err.Error())
	if strings.Contains(text, "not enough memory left") || strings.Contains(text, "out of memory") {
		return ErrOutOfMemory
	}
	return err
}

// checkRange is called with the lock held.
func (d *Device) checkRange(b *Buffer, offset, size uint64) error {
	if err := d.usable(); err != nil {
		return err
	}
	if b.raw == nil {
		return fmt.Errorf("buffer %s is closed", b.label)
	}
	if offset%4 != 0 || size%4 != 0 || offset > b.size || size > b.size-offset {
		return fmt.Errorf("bytes %d+%d of buffer %s: it has %d, in steps of 4", offset, size, b.label, b.size)
	}
	return nil
}

// Read waits for everything submitted and returns size bytes of b from offset on.
func (d *Device) Read(b *Buffer, offset, size uint64) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.checkRange(b, offset, size); err != nil || size == 0 {
		return nil, err
	}
	stage, err := d.raw.TryCreateBuffer(&wgpu.BufferDescriptor{Label: "read", Size: size, Usage: wgpu.BufferUsageMapRead | wgpu.BufferUsageCopyDst})
	if err != nil {
		return nil, fmt.Errorf("read %d bytes of buffer %s: %w", size, b.label, memoryError(err))
	}
	defer stage.Release()
	defer stage.Destroy()
	encoder, err := d.raw.TryCreateCommandEncoder(nil)
	if err != nil {
		return nil, err
	}
	defer encoder.Release()
	if err := encoder.TryCopyBufferToBuffer(b.raw, offset, stage, 0, size); err != nil {
		return nil, err
	}
	if err := d.submit(encoder); err != nil {
		return nil, err
	}
	status := wgpu.MapAsyncStatusError
	if err := stage.TryMapAsync(wgpu.MapModeRead, 0, size, func(s wgpu.MapAsyncStatus) { status = s }); err != nil {
		return nil, err
	}
	d.raw.Poll(true, nil)
	if status != wgpu.MapAsyncStatusSuccess {
		if err := d.usable(); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("read %d bytes of buffer %s: mapping failed with status %v", size, b.label, status)
	}
	out := append([]byte(nil), stage.GetMappedRange(0, uint(size))...)
	return out, stage.TryUnmap()
}

// submit finishes encoder and queues it. Called with the lock held.
func (d *Device) submit(encoder *wgpu.CommandEncoder) error {
	commands, err := encoder.TryFinish(nil)
	if err != nil {
		return err
	}
	defer commands.Release()
	d.queue.Submit(commands)
	return nil
}

// FreeMemory is what the adapter can still give, in bytes; false where that is not known: drivers of real GPUs do not tell.
func (d *Device) FreeMemory() (uint64, bool) {
	if d.adapter.Kind != Software {
		return 0, false
	}
	return freeMemory()
}
