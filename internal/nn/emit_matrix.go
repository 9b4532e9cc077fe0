package nn

import (
	"maps"
	"math"

	"waggle/gpu"
	"waggle/shaders"
)

// tile is a kernel of products: the file, its constants and how much one workgroup makes.
type tile struct {
	name          string
	constants     shaders.Constants
	rows, columns int
	inputs        int // input channels of one block of weights
}

// matrixTile chooses the kernel for linears and convolutions with results of rows × columns.
func (r *Runtime) matrixTile(rows, columns int) tile {
	switch r.family {
	case Subgroup:
		t := tile{name: "conv_subgroup", rows: 32, columns: 4 * r.lanes, inputs: 8}
		if rows <= 16 {
			t.rows = 16
		}
		t.constants = shaders.Constants{"LANES": u32(r.lanes), "ROWS": u32(t.rows)}
		return t
	case Tiled:
		return tiledMatrix(rows, columns)
	}
	return plainMatrix()
}

// productTile chooses the kernel for the product of two activations with results of rows × columns.
func (r *Runtime) productTile(rows, columns int) tile {
	switch r.family {
	case Subgroup:
		return tile{"matmul_subgroup", shaders.Constants{"LANES": u32(r.lanes), "ROWS": "32u"}, 32, 4 * r.lanes, 4}
	case Tiled:
		return tiledProduct(rows, columns)
	}
	return plainProduct()
}

func (c *compiler) emitMatrix(i int, s *stage) {
	x, y, w := c.values[s.in[0].value], c.values[s.out], c.window(s)
	weight, err := c.matrix(s)
	if err != nil {
		c.fail("%w", err)
		return
	}
	bias, err := c.weights.vector(s.node.Joined, ".bias", s.node.Bias, s.node.Shape.Channels())
	if err != nil {
		c.fail("%w", err)
		return
	}
	if s.gated {
		c.emitGated(i, s, weight, bias)
		return
	}
	t := c.runtime.matrixTile(y.rows(), y.shape.Channels())
	constants := maps.Clone(t.constants)
	maps.Copy(constants, shaders.Constants{
		"TAPS": u32(w.taps), "ACTIVATION": u32(int(s.activation)), "WIDE": flag(c.weights.wide(s.node)),
	})
	if c.runtime.family == Subgroup {
		// Inputs have a zero behind them: only other values need the mask.
		constants["ODD_TEXELS"] = flag(x.quads()%2 == 1 && x.input == "")
	}
	for _, b := range c.matrixBands(s) {
		operand, firstInput := c.operandBand(i, s, b)
		vector, residual := gpu.None(), gpu.None()
		if s.vector.is() {
			vector = gpu.Read(c.whole(s.vector.value))
		}
		if s.residual.is() {
			residual = gpu.Read(c.bring(s, c.placement.scratch[i].rest, s.residual.value, b.first, b.rows))
		}
		result, done := c.place(i, s, b)
		params := []int{b.rows, b.first, firstInput, x.quads(), ceil(x.shape.Channels(), t.inputs), y.quads(),
			w.width, w.height, w.inWidth, w.inHeight, w.stride, w.doubling, w.padding,
			boolInt(s.vector.is()) + 2*boolInt(s.residual.is())}
		c.dispatch(s, t.name, constants, params, [3]int{ceil(b.rows, t.rows), ceil(y.shape.Channels(), t.columns), 1},
			operand, gpu.Read(weight), gpu.Read(bias), vector, residual, gpu.Write(result))
		done()
	}
}

// gates reports whether there is a kernel for a linear of in channels whose result is halved by GEGLU: panels must not
// straddle the halves.
func (r *Runtime) gates(linear *Node, in int) bool {
	return r.family == Subgroup && linear.Bias && in%8 == 0 && linear.Shape.Channels()%(8*r.lanes) == 0
}

// emitGated is a linear and GEGLU in one.
func (c *compiler) emitGated(i int, s *stage, weight, bias gpu.Memory) {
	const rows = 16
	x, y := c.values[s.in[0].value], c.values[s.out]
	for _, b := range c.matrixBands(s) {
		operand, firstInput := c.operandBand(i, s, b)
		out, image, toImage := c.target(s, b.first, b.rows)
		c.dispatch(s, "gated_subgroup", shaders.Constants{"LANES": u32(c.runtime.lanes), "ROWS": u32(rows), "TO_IMAGE": flag(toImage), "WIDE": flag(c.weights.wide(s.node))},
			[]int{b.rows, b.first - firstInput, x.quads(), ceil(x.shape.Channels(), 8), y.quads()},
			[3]int{ceil(b.rows, rows), y.quads() / c.runtime.lanes, 1},
			operand, gpu.Read(weight), gpu.Read(bias), out, image)
	}
}

// operandBand brings in the rows of the operand that band b needs, and says which row comes first.
func (c *compiler) operandBand(i int, s *stage, b band) (gpu.Binding, int) {
	x, own := s.in[0].value, c.placement.scratch[i]
	v, h, toImage := c.values[x], c.homes[x], c.runtime.family == Subgroup
	switch {
	case h.virtual >= 0 && toImage:
		c.applyNorm(s, h.virtual, own.source, b.firstInput, b.inputRows, gpu.None(), gpu.Write(c.image(own.band)), true)
	case h.virtual >= 0:
		band := gpu.Range{Buffer: c.buffer(own.band), Size: uint64(16 * b.inputRows * v.quads())}
		c.applyNorm(s, h.virtual, own.source, b.firstInput, b.inputRows, gpu.Write(band), gpu.None(), false)
		return gpu.Read(band), b.firstInput
	case h.host != nil && !toImage:
		return gpu.Read(c.bring(s, own.source, x, b.firstInput, b.inputRows)), b.firstInput
	case h.host != nil:
		c.bring(s, own.source, x, b.firstInput, b.inputRows)
		c.program(s).CopyToImage(c.image(own.band), c.buffer(own.source), 0, b.inputRows*v.quads())
	case !toImage:
		first := b.firstInput / 16 * 16 // binding offsets go in steps of 256 bytes
		return gpu.Read(c.rows(x, first, b.firstInput+b.inputRows-first)), first
	case own.band == nil:
		return gpu.Read(c.image(h.image)), 0
	default:
		c.program(s).CopyToImage(c.image(own.band), c.buffer(h.buffer), uint64(16*b.firstInput*v.quads()), b.inputRows*v.quads())
	}
	return gpu.Read(c.image(own.band)), b.firstInput
}

// isWide reports whether an attention has one head too wide for a lane's registers: it then goes as two products with a
// softmax between them, by blocks of rows.
func (c *compiler) isWide(s *stage) bool {
	return s.node.Heads == 1 && s.in[0].shape.Channels() >= 64 && !s.node.Causal
}

// wideRows is how many rows of scores are held at once: 16 MiB of them.
func (c *compiler) wideRows(s *stage) int {
	queries, keys := s.in[0].shape[1], s.in[1].shape[1]
	return min(queries, max(16<<20/(16*quads(keys))/64*64, 64))
}

func (c *compiler) emitAttention(i int, s *stage) {
	if c.isWide(s) {
		c.emitWideAttention(i, s)
		return
	}
	q, k, v := s.in[0], s.in[1], s.in[2]
	texels := q.shape.Channels() / s.node.Heads / 4
	t := c.runtime.attentionTile(texels, q.shape[1])
	scale := float32(math.Log2E / math.Sqrt(float64(4*texels)))
	params := []int{q.shape[1], k.shape[1], boolInt(s.node.Causal), int(math.Float32bits(scale)),
		c.values[q.value].quads(), q.first / 4, c.values[k.value].quads(), k.first / 4, c.values[v.value].quads(), v.first / 4, c.values[s.out].quads()}
	counts := [3]int{ceil(q.shape[1], t.rows), s.node.Heads * t.columns, q.shape[0]}
	if c.runtime.family != Subgroup {
		c.dispatch(s, t.name, t.constants, params, counts, gpu.Read(c.whole(q.value)), gpu.Read(c.whole(k.value)), gpu.Read(c.whole(v.value)), gpu.Write(c.whole(s.out)))
		return
	}
	o, image, toImage := c.target(s, 0, c.values[s.out].rows())
	t.constants["TO_IMAGE"] = flag(toImage)
	c.dispatch(s, t.name, t.constants, params, counts, gpu.Read(c.whole(q.value)),
		gpu.Read(c.image(c.homes[k.value].image)), gpu.Read(c.image(c.homes[v.value].image)), o, image)
}

// attentionTile chooses the kernel for heads of 4·texels: rows are queries of a workgroup, columns workgroups of a head.
func (r *Runtime) attentionTile(texels, queries int) tile {
	constants := shaders.Constants{"TEXELS": u32(texels)}
	switch r.family {
	case Subgroup:
		each := 1
		switch {
		case queries >= 1024 && texels <= 16:
			each = 4
		case queries >= 1024 && texels <= 20:
			each = 2
		}
		constants["LANES"], constants["QUERIES"] = u32(r.lanes), u32(each)
		return tile{name: "attention_subgroup", constants: constants, rows: r.lanes * each, columns: 1}
	case Tiled:
		return tiledAttention(texels, r.limits.WorkgroupMemory)
	}
	return plainAttention(texels, queries)
}

// emitWideAttention is softmax(q·kᵀ/√d)·v for one wide head, a block of rows at a time.
func (c *compiler) emitWideAttention(i int, s *stage) {
	q, k, v, own := s.in[0], s.in[1], s.in[2], c.placement.scratch[i]
	queries, keys, texels := q.shape[1], k.shape[1], q.shape.Channels()/4
	scale := float32(1 / math.Sqrt(float64(4*texels)))
	read := func(o operand) gpu.Binding {
		if c.runtime.family == Subgroup {
			return gpu.Read(c.image(c.homes[o.value].image))
		}
		return gpu.Read(c.whole(o.value))
	}
	first := func(o operand, row int) int { return row*c.values[o.value].quads() + o.first/4 }
	lanes := max(c.runtime.lanes, 8)
	for n := range q.shape[0] {
		for from := 0; from < queries; from += c.wideRows(s) {
			rows := min(c.wideRows(s), queries-from)
			weights, softTo, toImage := gpu.Memory(nil), [2]gpu.Binding{gpu.None(), gpu.None()}, c.runtime.family == Subgroup
			if toImage {
				weights = c.image(own.weights)
				softTo[1] = gpu.Write(weights)
			} else {
				weights = c.part(own.weights)
				softTo[0] = gpu.Write(weights)
			}
			product := func(transposed bool, params []int, columns int, a, b, y gpu.Binding) {
				t := c.runtime.productTile(rows, columns)
				constants := t.constants
				constants["TRANSPOSED"] = flag(transposed)
				c.dispatch(s, t.name, constants, params, [3]int{ceil(rows, t.rows), ceil(columns, t.columns), 1}, a, b, y)
			}
			product(true, []int{rows, texels, quads(keys), keys, int(math.Float32bits(scale)),
				c.values[q.value].quads(), first(q, n*queries+from), c.values[k.value].quads(), first(k, n*keys)},
				keys, read(q), read(k), gpu.Write(c.part(own.scores)))
			c.dispatch(s, "softmax", shaders.Constants{"TO_IMAGE": flag(toImage), "LANES": u32(lanes)}, []int{rows, quads(keys), keys},
				[3]int{ceil(rows, lanes), 1, 1}, gpu.Read(c.part(own.scores)), softTo[0], softTo[1])
			product(false, []int{rows, quads(keys), texels, keys, int(math.Float32bits(1)),
				quads(keys), 0, c.values[v.value].quads(), first(v, n*keys)},
				4*texels, gpu.Read(weights), read(v), gpu.Write(c.rows(s.out, n*queries+from, rows)))
		}
	}
}
