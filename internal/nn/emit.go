package nn

import (
	"fmt"
	"maps"
	"math"

	"waggle/gpu"
	"waggle/shaders"
)

// emit records the dispatches of stage i into the program of its rate. The first error stays in c.err.
func (c *compiler) emit(i int) {
	s := &c.stages[i]
	switch s.op {
	case OpLinear, OpConv:
		c.emitMatrix(i, s)
	case OpGroupNorm:
		c.emitGroupNorm(i, s)
	case OpLayerNorm:
		c.emitLayerNorm(s)
	case OpActivation, OpGEGLU:
		c.emitActivation(s)
	case OpAdd, OpAddPerChannel:
		c.emitAdd(s)
	case OpConcat:
		c.emitConcat(s)
	case OpColumns:
		c.emitColumns(s)
	case OpPool:
		c.emitPool(s)
	case OpEmbedding:
		c.emitEmbedding(s)
	case OpAttention:
		c.emitAttention(i, s)
	default:
		c.fail("no kernel for it")
	}
	c.copyToImage(s)
}

func (c *compiler) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

// program that stage s belongs to.
func (c *compiler) program(s *stage) *gpu.Program { return c.programs[s.rate] }

func (c *compiler) buffer(r *request) *gpu.Buffer { return c.buffers[r.block] }
func (c *compiler) image(r *request) *gpu.Image   { return c.images[r.block] }

// dispatch records one run of a kernel; in the first pass it only notes which kernel.
func (c *compiler) dispatch(s *stage, name string, constants shaders.Constants, params []int, counts [3]int, bindings ...gpu.Binding) {
	if c.checkRounds(name, constants, params); c.err != nil {
		return
	}
	key := kernelKey(name, constants)
	if c.uses != nil {
		c.uses[key] = kernelUse{name, maps.Clone(constants)}
		return
	}
	words := make([]uint32, len(params))
	for i, p := range params {
		words[i] = uint32(p)
	}
	c.program(s).Dispatch(c.runtime.kernels[key], words, counts, bindings...)
	c.err = c.program(s).Err()
}

// whole is a value's buffer.
func (c *compiler) whole(value int) gpu.Memory {
	v := c.values[value]
	return gpu.Range{Buffer: c.buffer(c.homes[value].buffer), Size: uint64(16 * v.rows() * v.quads())}
}

// rows is a run of rows of a value's buffer.
func (c *compiler) rows(value, first, count int) gpu.Memory {
	row := 16 * c.values[value].quads()
	return gpu.Range{Buffer: c.buffer(c.homes[value].buffer), Offset: uint64(first * row), Size: uint64(count * row)}
}

// part is a request's memory as a whole.
func (c *compiler) part(r *request) gpu.Memory {
	return gpu.Range{Buffer: c.buffer(r), Size: uint64(r.size)}
}

// target binds where a stage that can write images puts rows first…: the buffer or the image, and which.
func (c *compiler) target(s *stage, first, count int) (buffer, image gpu.Binding, toImage bool) {
	h := c.homes[s.out]
	if h.buffer == nil {
		return gpu.None(), gpu.Write(c.image(h.image)), true
	}
	return gpu.Write(c.rows(s.out, first, count)), gpu.None(), false
}

// copyToImage brings a result that was written to a buffer into its image too.
func (c *compiler) copyToImage(s *stage) {
	h := c.homes[s.out]
	if c.err == nil && h.buffer != nil && h.image != nil {
		v := c.values[s.out]
		c.program(s).CopyToImage(c.image(h.image), c.buffer(h.buffer), 0, v.rows()*v.quads())
	}
}

// tileRows is how many rows a workgroup of the elementwise kernels takes; across it has 16 vec4s.
const tileRows = 8

// tileCounts are the workgroups of the elementwise kernels.
func tileCounts(quads, rows int) [3]int { return [3]int{ceil(quads, 16), ceil(rows, tileRows), 1} }

func flag(b bool) string { return fmt.Sprint(b) }
func u32(n int) string   { return fmt.Sprint(n, "u") }

func (c *compiler) emitLayerNorm(s *stage) {
	v := c.values[s.out]
	lanes := max(c.runtime.lanes, 8)
	w, b := c.normWeights(s)
	for _, p := range c.rowBands(v) {
		y, image, toImage := c.target(s, p.first, p.rows)
		c.dispatch(s, "layer_norm", shaders.Constants{"TO_IMAGE": flag(toImage), "LANES": u32(lanes)},
			[]int{p.rows, v.quads(), v.shape.Channels(), int(math.Float32bits(s.node.Eps))},
			[3]int{ceil(p.rows, lanes), 1, 1}, gpu.Read(c.rows(s.in[0].value, p.first, p.rows)), w, b, y, image)
	}
}

// normWeights binds a norm's weight and bias.
func (c *compiler) normWeights(s *stage) (w, b gpu.Binding) {
	channels := c.values[s.out].shape.Channels()
	weight, err := c.weights.vector([]string{s.node.Name}, ".weight", true, channels)
	if err != nil {
		c.fail("%w", err)
		return
	}
	bias, err := c.weights.vector([]string{s.node.Name}, ".bias", true, channels)
	if err != nil {
		c.fail("%w", err)
		return
	}
	return gpu.Read(weight), gpu.Read(bias)
}

func (c *compiler) emitActivation(s *stage) {
	v, x := c.values[s.out], s.in[0].value
	constants := shaders.Constants{"ACTIVATION": u32(int(s.activation))}
	if s.op == OpGEGLU {
		constants = shaders.Constants{"ACTIVATION": u32(int(GELU)), "GATED": "true"}
	}
	for _, p := range c.rowBands(c.values[x]) {
		y, image, toImage := c.target(s, p.first, p.rows)
		constants["TO_IMAGE"] = flag(toImage)
		c.dispatch(s, "activate", constants, []int{p.rows, v.quads()}, tileCounts(v.quads(), p.rows),
			gpu.Read(c.rows(x, p.first, p.rows)), y, image)
	}
}

// emitAdd adds tensors, or a vector to every place of its picture.
func (c *compiler) emitAdd(s *stage) {
	v := c.values[s.out]
	a, b := s.in[0].value, s.in[1].value
	for _, p := range c.rowBands(v) {
		read, first, each := gpu.Read(c.rows(b, p.first, p.rows)), 0, 1
		if s.op == OpAddPerChannel {
			read, first, each = gpu.Read(c.whole(b)), p.first, v.rows()/c.values[b].rows()
		}
		c.dispatch(s, "add", nil, []int{p.rows, v.quads(), first, each}, tileCounts(v.quads(), p.rows),
			gpu.Read(c.rows(a, p.first, p.rows)), read, gpu.Write(c.rows(s.out, p.first, p.rows)))
	}
}

func (c *compiler) emitConcat(s *stage) {
	v := c.values[s.out]
	a, b := s.in[0].value, s.in[1].value
	for _, p := range c.rowBands(v) {
		c.dispatch(s, "concat", nil, []int{p.rows, c.values[a].quads(), c.values[b].quads()}, tileCounts(v.quads(), p.rows),
			gpu.Read(c.rows(a, p.first, p.rows)), gpu.Read(c.rows(b, p.first, p.rows)), gpu.Write(c.rows(s.out, p.first, p.rows)))
	}
}

func (c *compiler) emitColumns(s *stage) {
	v, x := c.values[s.out], s.in[0]
	for _, p := range c.rowBands(c.values[x.value]) {
		c.dispatch(s, "columns", nil, []int{p.rows, v.quads(), c.values[x.value].quads(), x.first / 4}, tileCounts(v.quads(), p.rows),
			gpu.Read(c.rows(x.value, p.first, p.rows)), gpu.Write(c.rows(s.out, p.first, p.rows)))
	}
}

func (c *compiler) emitPool(s *stage) {
	v, x := c.values[s.out], s.in[0]
	for _, p := range c.rowBands(v) {
		c.dispatch(s, "pool", nil, []int{p.rows, v.quads(), p.first, x.shape[1], x.shape[2]}, tileCounts(v.quads(), p.rows),
			gpu.Read(c.whole(x.value)), gpu.Write(c.rows(s.out, p.first, p.rows)))
	}
}

func (c *compiler) emitEmbedding(s *stage) {
	v := c.values[s.out]
	tokens, vocabulary, err := c.weights.table(s.node.Joined[0])
	if err != nil {
		c.fail("%w", err)
		return
	}
	places, _, err := c.weights.table(s.node.Joined[1])
	if err != nil {
		c.fail("%w", err)
		return
	}
	c.dispatch(s, "embedding", nil, []int{v.rows(), v.quads(), v.shape[1], vocabulary}, tileCounts(v.quads(), v.rows()),
		gpu.Read(c.whole(s.in[0].value)), gpu.Read(tokens), gpu.Read(places), gpu.Write(c.whole(s.out)))
}

// emitGroupNorm records sums, their joining and, unless the reader does it by bands, the norm itself.
func (c *compiler) emitGroupNorm(i int, s *stage) {
	x := s.in[0].value
	v, g, own := c.values[x], c.norm(s), c.placement.scratch[i]
	lanes := max(c.runtime.lanes, 8)
	block := normBlock(ceil(v.quads(), lanes))
	constants := shaders.Constants{"LANES": u32(lanes), "BLOCK": u32(block)}
	across := ceil(v.quads(), lanes*block)
	shift, shiftStride := c.normShift(s, own)
	bands := c.normBands(s)
	for _, b := range bands {
		// A band lies within one picture, or is the whole tensor.
		counts := [3]int{ceil(b.rows, g.chunk), across, 1}
		if len(bands) == 1 {
			counts = [3]int{g.chunks, across, g.pictures}
		}
		firstChunk := b.first/g.pixels*g.chunks + b.first%g.pixels/g.chunk
		c.dispatch(s, "group_norm_sums", constants, []int{g.pixels, v.quads(), g.chunk, g.chunks, firstChunk, b.first, shiftStride}, counts,
			gpu.Read(c.bring(s, own.source, x, b.first, b.rows)), gpu.Read(shift), gpu.Write(c.part(own.sums)))
	}
	w, b := c.normWeights(s)
	c.dispatch(s, "group_norm_finish", nil,
		[]int{g.pixels, v.quads(), g.chunks, s.node.Groups, v.shape.Channels() / s.node.Groups, int(math.Float32bits(s.node.Eps)), shiftStride},
		[3]int{ceil(s.node.Groups, 64), g.pictures, 1}, gpu.Read(c.part(own.sums)), gpu.Read(shift), w, b, gpu.Write(c.part(own.factors)))
	if c.homes[s.out].virtual >= 0 {
		return
	}
	for _, p := range c.rowBands(v) {
		y, image, toImage := c.target(s, p.first, p.rows)
		c.applyNorm(s, i, nil, p.first, p.rows, y, image, toImage)
	}
}

// normShift are the first pixels of the pictures, around which a group norm sums, and the distance between them in vec4s:
// in the operand itself, or copied where that is in bands.
func (c *compiler) normShift(s *stage, own scratch) (gpu.Memory, int) {
	x, g := s.in[0].value, c.norm(s)
	v := c.values[x]
	if own.shift == nil {
		return c.whole(x), g.pixels * v.quads()
	}
	row, to := 16*v.quads(), c.buffer(own.shift)
	for n := range g.pictures {
		if h := c.homes[x].host; h != nil {
			from := c.hosts[h.block][n*g.pixels*row:][:row]
			c.program(s).Host(func() error { return c.runtime.device.Write(to, uint64(n*row), from) })
		} else {
			c.program(s).Copy(to, uint64(n*row), c.buffer(c.homes[x].buffer), uint64(n*g.pixels*row), uint64(row))
		}
	}
	return c.part(own.shift), v.quads()
}

// applyNorm records the last part of group norm i for a run of rows, which come into source if the host has them. It runs in
// the program of stage s.
func (c *compiler) applyNorm(s *stage, i int, source *request, first, rows int, y, image gpu.Binding, toImage bool) {
	norm := &c.stages[i]
	x := norm.in[0].value
	v := c.values[x]
	c.dispatch(s, "group_norm_apply", shaders.Constants{"TO_IMAGE": flag(toImage), "ACTIVATION": u32(int(norm.activation))},
		[]int{rows, v.quads(), first, c.norm(norm).pixels}, tileCounts(v.quads(), rows),
		gpu.Read(c.bring(s, source, x, first, rows)), gpu.Read(c.part(c.placement.scratch[i].factors)), y, image)
}

// normBlock is how many vec4s a lane sums side by side: few variants, so that few kernels are compiled.
func normBlock(needed int) int {
	for _, block := range []int{1, 2} {
		if needed <= block {
			return block
		}
	}
	return 5
}

// normBands cuts the operand of a group norm: the whole tensor, or runs of whole chunks of one picture.
func (c *compiler) normBands(s *stage) []band {
	v, g := c.values[s.in[0].value], c.norm(s)
	bands := c.rowBands(v)
	if len(bands) == 1 {
		return bands
	}
	most := max(bands[0].rows/g.chunk, 1) * g.chunk
	bands = nil
	for n := range g.pictures {
		for first := 0; first < g.pixels; first += most {
			bands = append(bands, band{first: n*g.pixels + first, rows: min(most, g.pixels-first)})
		}
	}
	return bands
}
