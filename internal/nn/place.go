package nn

import (
	"math"
	"slices"
)

// Where tensors live. A value lives in a buffer, in an image, in both or, when it is a norm too large to keep, nowhere:
// its one reader then makes it band by band. Memory is planned as a whole before anything is allocated: values whose
// lifetimes do not overlap share memory.

// memoryKind tells buffers (sizes in bytes) from images (sizes in texels) and the host's memory (bytes).
type memoryKind uint8

const (
	bufferMemory memoryKind = iota
	imageMemory
	hostMemory
	memoryKinds
)

// forever is the end of the lifetime of what outlasts a run: inputs, outputs, values made less often than they are read.
const forever = math.MaxInt

// request asks for memory over stages from…to. Planning sets block, the index among the blocks of its kind.
type request struct {
	label    string
	kind     memoryKind
	size     int
	from, to int
	block    int
}

// home is where a value lives.
type home struct {
	buffer, image *request
	host          *request // then the others are nil: see host.go
	virtual       int      // index of the stage whose result is made band by band by its reader, or -1
}

// scratch is memory that one stage needs for itself.
type scratch struct {
	sums, factors, shift *request // group norm
	band                 *request // an operand brought in by bands
	source, rest, result *request // bands of values in the host's memory: operand, residual, result
	scores, weights      *request // attention with one wide head: raw scores, and after the softmax
}

// placement is a compiled graph's memory, by value and by stage.
type placement struct {
	homes    []home
	scratch  []scratch
	requests []*request
	blocks   [memoryKinds][]int // sizes of the blocks of each kind
}

// layout decides where everything lives.
func (c *compiler) layout() {
	p := &c.placement
	p.homes = make([]home, len(c.values))
	p.scratch = make([]scratch, len(c.stages))
	for i := range p.homes {
		p.homes[i].virtual = -1
	}
	spans := c.lifetimes()
	for v := range c.values {
		c.placeValue(v, spans[v])
	}
	for i := range c.stages {
		c.placeScratch(i)
	}
	p.blocks = assign(p.requests)
}

// span is the lifetime of a value in stages.
type span struct{ from, to int }

func (c *compiler) lifetimes() []span {
	spans := make([]span, len(c.values))
	for v, value := range c.values {
		if value.input != "" {
			spans[v] = span{0, forever}
		}
		if value.output {
			spans[v].to = forever
		}
	}
	for i, s := range c.stages {
		spans[s.out].from = i
		for _, o := range s.operands() {
			c.extend(&spans[o.value], o.value, i, s.rate)
		}
	}
	for i := len(c.stages) - 1; i >= 0; i-- {
		s := c.stages[i]
		if reader := c.virtualReader(s.out); reader >= 0 { // its input is read again where the norm is made
			in := s.in[0].value
			c.extend(&spans[in], in, reader, s.rate)
		}
	}
	return spans
}

func (c *compiler) extend(sp *span, value, stage int, reader Rate) {
	sp.to = max(sp.to, stage)
	if c.values[value].rate < reader {
		sp.to = forever
	}
}

// operands lists everything a stage reads.
func (s *stage) operands() []operand {
	all := slices.Clone(s.in)
	for _, o := range []operand{s.vector, s.residual} {
		if o.is() {
			all = append(all, o)
		}
	}
	return all
}

// wantsImage reports whether stage s reads its operand i from an image, given the kernel family.
func (c *compiler) wantsImage(s *stage, i int) bool {
	if c.runtime.family != Subgroup {
		return false
	}
	switch s.op {
	case OpLinear, OpConv:
		return true
	case OpAttention:
		return i > 0 || c.isWide(s)
	}
	return false
}

// makesImage reports whether stage s can write its result straight into an image.
func (c *compiler) makesImage(s *stage) bool {
	switch s.op {
	case OpGroupNorm, OpLayerNorm, OpActivation, OpGEGLU:
		return c.runtime.family == Subgroup && len(c.rowBands(c.values[s.in[0].value])) == 1
	case OpAttention:
		return c.runtime.family == Subgroup && !c.isWide(s)
	case OpLinear:
		return s.gated && len(c.matrixBands(s)) == 1
	}
	return false
}

// isBanded reports whether an operand is too large for one image and is brought in by bands of rows.
func (c *compiler) isBanded(v valueInfo) bool { return v.rows()*v.quads() > c.imageLimit }

// virtualReader is the stage that alone reads value v and makes it band by band, or -1.
func (c *compiler) virtualReader(v int) int {
	producer, ok := c.producer[v]
	if !ok || c.stages[producer].op != OpGroupNorm || c.values[v].output {
		return -1
	}
	if !c.isLarge(c.values[v]) && (c.runtime.family != Subgroup || !c.isBanded(c.values[v])) {
		return -1
	}
	reader := -1
	for i := range c.stages {
		s := &c.stages[i]
		for k, o := range s.operands() {
			if o.value != v {
				continue
			}
			if reader >= 0 || k > 0 || s.op != OpLinear && s.op != OpConv {
				return -1
			}
			reader = i
		}
	}
	return reader
}

func (c *compiler) placeValue(v int, sp span) {
	value, h := c.values[v], &c.placement.homes[v]
	if c.virtualReader(v) >= 0 {
		h.virtual = c.producer[v]
		return
	}
	if c.goesToHost(v) {
		h.host = c.request("value", hostMemory, 16*value.texels(), sp)
		return
	}
	needBuffer, needImage := value.input != "" || value.output, false
	for i := range c.stages {
		s := &c.stages[i]
		for k, o := range s.operands() {
			if o.value != v {
				continue
			}
			image := k < len(s.in) && c.wantsImage(s, k)
			if image && (s.op == OpAttention || !c.isBanded(value)) {
				needImage = true
			} else {
				needBuffer = true
			}
		}
	}
	producer, made := c.producer[v]
	if !needImage || !made || !c.makesImage(&c.stages[producer]) {
		needBuffer = true
	}
	if needBuffer {
		h.buffer = c.request("value", bufferMemory, 16*value.texels(), sp)
	}
	if needImage {
		h.image = c.request("value", imageMemory, value.texels(), sp)
	}
}

func (c *compiler) request(label string, kind memoryKind, size int, sp span) *request {
	r := &request{label: label, kind: kind, size: size, from: sp.from, to: sp.to}
	c.placement.requests = append(c.placement.requests, r)
	return r
}

func (c *compiler) placeScratch(i int) {
	s, own := &c.stages[i], &c.placement.scratch[i]
	here := span{i, i}
	switch s.op {
	case OpGroupNorm:
		v := c.values[s.in[0].value]
		g := c.norm(s)
		own.sums = c.request("sums", bufferMemory, 32*g.pictures*g.chunks*v.quads(), here)
		until := here
		if reader := c.virtualReader(s.out); reader >= 0 {
			until.to = reader
		}
		own.factors = c.request("factors", bufferMemory, 32*g.pictures*v.quads(), until)
		if len(c.rowBands(v)) > 1 {
			own.shift = c.request("shift", bufferMemory, 16*g.pictures*v.quads(), here)
		}
		c.placeNormBands(s, own, here)
	case OpLinear, OpConv:
		if c.runtime.family == Subgroup && c.isBanded(c.values[s.in[0].value]) {
			own.band = c.request("band", imageMemory, c.largestBand(s), here)
		}
		c.placeMatrixBands(s, own, here)
	case OpAttention:
		if c.isWide(s) {
			rows, keys := c.wideRows(s), s.in[1].shape[1]
			own.scores = c.request("scores", bufferMemory, 16*rows*quads(keys), here)
			kind, unit := bufferMemory, 16
			if c.runtime.family == Subgroup {
				kind, unit = imageMemory, 1
			}
			own.weights = c.request("weights", kind, unit*rows*quads(keys), here)
		}
	}
}

// assign gives every request a block: the largest first, each into the first block of its kind that is free over its
// lifetime. It returns the sizes of the blocks. (Greedy by size, Pisarchyk and Lee 2020, arXiv:2001.03288.)
func assign(requests []*request) (blocks [memoryKinds][]int) {
	order := slices.Clone(requests)
	slices.SortStableFunc(order, func(a, b *request) int { return b.size - a.size })
	var users [memoryKinds][][]*request
	for _, r := range order {
		r.block = slices.IndexFunc(users[r.kind], func(others []*request) bool {
			return !slices.ContainsFunc(others, func(o *request) bool { return r.from <= o.to && o.from <= r.to })
		})
		if r.block < 0 {
			r.block = len(users[r.kind])
			users[r.kind] = append(users[r.kind], nil)
			blocks[r.kind] = append(blocks[r.kind], r.size)
		}
		users[r.kind][r.block] = append(users[r.kind][r.block], r)
	}
	return blocks
}
