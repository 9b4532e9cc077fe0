package nn

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"sync"

	"waggle/gpu"
	"waggle/internal/weights"
)

// Weights are a network's numbers on the device, packed as the runtime's kernels read them. They are packed when a graph
// that needs them is compiled, once, and shared by all graphs compiled with them.
type Weights struct {
	runtime *Runtime
	source  weights.Source
	base    *Weights // of changed weights: those without the changes; else nil
	changes Changed
	moves   bool // a matrix leaves base when it is changed

	mu      sync.Mutex
	images  map[string]*gpu.Image
	buffers map[string]*gpu.Buffer
	unsent  int    // bytes written since the last flush
	staging []byte // reused for uploads
}

// NewWeights prepares to pack the tensors of source. Nothing is on the device yet.
func (r *Runtime) NewWeights(source weights.Source) *Weights {
	return &Weights{runtime: r, source: source, images: map[string]*gpu.Image{}, buffers: map[string]*gpu.Buffer{}}
}

// Close frees the device memory. Graphs compiled with the weights must be closed before.
func (w *Weights) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, im := range w.images {
		im.Close()
	}
	for _, b := range w.buffers {
		b.Close()
	}
	w.images, w.buffers = map[string]*gpu.Image{}, map[string]*gpu.Buffer{}
}

// Bytes on the device.
func (w *Weights) Bytes() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	total := int64(0)
	for _, im := range w.images {
		total += int64(im.Texels()) * 16
	}
	for _, b := range w.buffers {
		total += int64(b.Size())
	}
	return total
}

// has reports whether something is on the device.
func (w *Weights) has(key string) bool {
	if w.base != nil && !w.touchesKey(key) {
		return w.base.has(key)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.images[key] != nil || w.buffers[key] != nil
}

// matrixKey names the packed weight of joined linears, or of one.
func matrixKey(names []string) string { return strings.Join(names, "+") }

// vectorKey names a packed vector; those that are not present are zeros, which all of a length share.
func vectorKey(names []string, suffix string, present bool, count int) string {
	if !present {
		return fmt.Sprintf("zeros %d", quads(count))
	}
	return strings.Join(names, "+") + suffix
}

// matrix is a packed weight: an image or a buffer, as the kernel family reads it.
func (w *Weights) matrix(n *Node) (gpu.Memory, error) {
	if w.base != nil && !w.wide(n) {
		return w.base.matrix(n)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	key := matrixKey(n.Joined)
	if im, ok := w.images[key]; ok {
		return im, nil
	}
	if b, ok := w.buffers[key]; ok {
		return b, nil
	}
	if w.base != nil {
		return w.changed(n, key)
	}
	m, err := w.pack(n, key)
	if err != nil {
		return nil, err
	}
	return w.keep(key, m), nil
}

// pack makes the packed weight of a node. Called with the lock held.
func (w *Weights) pack(n *Node, key string) (closer, error) {
	halves, shape, err := w.joined(n)
	if err != nil {
		return nil, err
	}
	if w.runtime.family == Subgroup {
		return w.packImage(key, halves, shape)
	}
	return w.newBuffer(key, halvesToBytes(packTiles(bytesToHalves(halves), shape.out, shape.in, shape.taps)))
}

// matrixShape of a linear or a convolution: [out, in, taps].
type matrixShape struct{ out, in, taps int }

// shapeOf returns the extents of a linear's or convolution's weight, joined ones together.
func (w *Weights) shapeOf(n *Node) matrixShape {
	s := matrixShape{out: n.Shape.Channels(), taps: 1}
	if n.Op == OpConv {
		s.taps = 9
	}
	if t, ok := w.original().Tensor(n.Joined[0] + ".weight"); ok && len(t.Shape) > 1 {
		s.in = t.Shape[1]
	}
	return s
}

// joined reads the weights of a node, one under the other, as little-endian f16 [out,in,taps]. A tensor that is stored so
// is not copied.
func (w *Weights) joined(n *Node) ([]byte, matrixShape, error) {
	shape := w.shapeOf(n)
	if len(n.Joined) == 1 {
		halves, err := w.halves(n.Joined[0] + ".weight")
		return halves, shape, err
	}
	all := make([]byte, 0, 2*shape.out*shape.in*shape.taps)
	for _, name := range n.Joined {
		halves, err := w.halves(name + ".weight")
		if err != nil {
			return nil, shape, err
		}
		all = append(all, halves...)
	}
	return all, shape, nil
}

func (w *Weights) halves(name string) ([]byte, error) {
	t, ok := w.source.Tensor(name)
	if !ok {
		return nil, fmt.Errorf("tensor %s is missing", name)
	}
	if t.DType == weights.F16 && len(t.Data) == 2*t.Elements() {
		return t.Data, nil
	}
	halves, err := t.Float16s()
	return halvesToBytes(halves), err
}

// packImage makes an image of weights [out,in,taps].
func (w *Weights) packImage(label string, halves []byte, s matrixShape) (*gpu.Image, error) {
	im, err := w.runtime.device.NewImage(label, gpu.Uint4, panels{matrixShape: s, lanes: w.runtime.lanes}.texels())
	if err != nil {
		return nil, err
	}
	if err := w.fillImage(im, halves, s); err != nil {
		im.Close()
		return nil, err
	}
	return im, nil
}

// fillImage uploads weights [out,in,taps] in the order of conv_subgroup, a few megabytes at a time.
func (w *Weights) fillImage(im *gpu.Image, halves []byte, s matrixShape) error {
	p := panels{matrixShape: s, lanes: w.runtime.lanes}
	const linesAtOnce = 128 // 4 MB
	lines := ceil(p.texels(), gpu.ImageWidth)
	for first := 0; first < lines; first += linesAtOnce {
		count := min(linesAtOnce, lines-first)
		data := w.stage(count * gpu.ImageWidth * 16)
		p.pack(data, halves, first*gpu.ImageWidth)
		if err := w.runtime.device.WriteImage(im, first, data); err != nil {
			return err
		}
		if err := w.sent(len(data)); err != nil {
			return err
		}
	}
	return nil
}

// bring uploads a packed weight into memory that it shares with others.
func (w *Weights) bring(n *Node, to closer) error {
	if w.base != nil && !w.wide(n) {
		return w.base.bring(n, to)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.base != nil {
		return w.bringChanged(n, to)
	}
	halves, shape, err := w.joined(n)
	if err != nil {
		return err
	}
	if im, ok := to.(*gpu.Image); ok {
		return w.fillImage(im, halves, shape)
	}
	data := halvesToBytes(packTiles(bytesToHalves(halves), shape.out, shape.in, shape.taps))
	if err := w.runtime.device.Write(to.(*gpu.Buffer), 0, data); err != nil {
		return err
	}
	return w.sent(len(data))
}

// stage gives zeroed memory for one upload.
func (w *Weights) stage(bytes int) []byte {
	if cap(w.staging) < bytes {
		w.staging = make([]byte, bytes)
	}
	w.staging = w.staging[:bytes]
	clear(w.staging)
	return w.staging
}

// sent keeps the driver's copies of uploads from piling up.
func (w *Weights) sent(bytes int) error {
	if w.unsent += bytes; w.unsent < 32<<20 {
		return nil
	}
	w.unsent = 0
	return w.runtime.device.Flush()
}

// panels is the order of weights in conv_subgroup: [⌈out/(4·lanes)⌉, taps, ⌈in/8⌉, 4, lanes] texels of 8 inputs each,
// where column 4·lane + c of a panel is at [c, lane]. Places beyond in and out are zero.
type panels struct {
	matrixShape
	lanes int
}

func (p panels) octets() int { return ceil(p.in, 8) }
func (p panels) count() int  { return ceil(p.out, 4*p.lanes) }
func (p panels) texels() int { return p.count() * p.taps * p.octets() * 4 * p.lanes }

// pack fills data with the texels from firstTexel on.
func (p panels) pack(data, halves []byte, firstTexel int) {
	width := 4 * p.lanes
	parallel(len(data)/16/width, func(row int) { // the texels of one octet of one tap and panel
		at := firstTexel/width + row
		octet, rest := at%p.octets(), at/p.octets()
		tap, panel := rest%p.taps, rest/p.taps
		if panel >= p.count() {
			return
		}
		for i := range width {
			column := panel*width + i%p.lanes*4 + i/p.lanes
			if column >= p.out {
				continue
			}
			for j := range min(8, p.in-8*octet) {
				from, to := 2*((column*p.in+8*octet+j)*p.taps+tap), (row*width+i)*16+2*j
				data[to], data[to+1] = halves[from], halves[from+1]
			}
		}
	})
}

// parallel calls f for 0…n-1 on all processors.
func parallel(n int, f func(i int)) {
	const workers = 8
	var wg sync.WaitGroup
	for k := range workers {
		wg.Go(func() {
			for i := k * n / workers; i < (k+1)*n/workers; i++ {
				f(i)
			}
		})
	}
	wg.Wait()
}

// vector is tensor suffix of the given weights side by side as f32, padded with zeros to whole vec4s. A name without the
// tensor (a linear without bias) gives zeros for count channels.
func (w *Weights) vector(names []string, suffix string, present bool, count int) (*gpu.Buffer, error) {
	if w.base != nil && !(present && w.touches(names, suffix)) {
		return w.base.vector(names, suffix, present, count)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	key := vectorKey(names, suffix, present, count)
	if b, ok := w.buffers[key]; ok {
		return b, nil
	}
	var values []float32
	for _, name := range names {
		if !present {
			break
		}
		t, ok := w.source.Tensor(name + suffix)
		if !ok {
			return nil, fmt.Errorf("tensor %s%s is missing", name, suffix)
		}
		part, err := t.Float32s()
		if err != nil {
			return nil, err
		}
		values = append(values, part...)
	}
	padded := make([]float32, 4*quads(count))
	copy(padded, values)
	b, err := w.newBuffer(key, floatsToBytes(padded))
	if err == nil {
		w.buffers[key] = b
	}
	return b, err
}

// table is a lookup table [rows, width] as packed f16.
func (w *Weights) table(name string) (*gpu.Buffer, int, error) {
	if w.base != nil && !w.touches([]string{name}, ".weight") {
		return w.base.table(name)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t, ok := w.original().Tensor(name + ".weight")
	if !ok || len(t.Shape) != 2 {
		return nil, 0, fmt.Errorf("tensor %s.weight is missing", name)
	}
	if t.Shape[1]%4 != 0 {
		return nil, 0, fmt.Errorf("tensor %s.weight: width %d is not a multiple of 4", name, t.Shape[1])
	}
	if b, ok := w.buffers[name]; ok {
		return b, t.Shape[0], nil
	}
	halves, err := w.halves(name + ".weight")
	if err != nil {
		return nil, 0, err
	}
	b, err := w.newBuffer(name, halves)
	if err == nil {
		w.buffers[name] = b
	}
	return b, t.Shape[0], err
}

func (w *Weights) newBuffer(label string, data []byte) (*gpu.Buffer, error) {
	b, err := w.runtime.device.NewBuffer(label, uint64(len(data)))
	if err != nil {
		return nil, err
	}
	if err := w.runtime.device.Write(b, 0, data); err != nil {
		b.Close()
		return nil, err
	}
	return b, w.sent(len(data))
}

func floatsToBytes(values []float32) []byte {
	data := make([]byte, 4*len(values))
	for i, v := range values {
		binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(v))
	}
	return data
}

func bytesToHalves(data []byte) []uint16 {
	values := make([]uint16, len(data)/2)
	for i := range values {
		values[i] = binary.LittleEndian.Uint16(data[2*i:])
	}
	return values
}

func halvesToBytes(values []uint16) []byte {
	data := make([]byte, (2*len(values)+3)/4*4)
	for i, v := range values {
		binary.LittleEndian.PutUint16(data[2*i:], v)
	}
	return data
}
