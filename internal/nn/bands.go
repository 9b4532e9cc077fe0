package nn

// band is a run of rows of a stage's result with the run of its operand's rows that it needs.
type band struct{ first, rows, firstInput, inputRows int }

// rowBands cuts a value into runs of rows that one binding and one dispatch can take.
func (c *compiler) rowBands(v valueInfo) []band {
	limits := c.limits
	most := max(min(int(limits.Binding)/(16*v.quads()), tileRows*limits.Workgroups)/64*64, 64)
	var bands []band
	for first := 0; first < v.rows(); first += most {
		n := min(most, v.rows()-first)
		bands = append(bands, band{first, n, first, n})
	}
	return bands
}

// window is the geometry of a linear or a convolution: pictures of height × width from pictures of inHeight × inWidth.
type window struct {
	pictures, height, width, inHeight, inWidth int
	stride, doubling, padding, taps            int
}

func (c *compiler) window(s *stage) window {
	x, y := c.values[s.in[0].value], c.values[s.out]
	if s.op == OpLinear {
		pictures := 1
		if s.vector.is() {
			pictures = s.vector.shape[0]
		}
		area := y.rows() / pictures
		return window{pictures: pictures, height: area, width: 1, inHeight: area, inWidth: 1, stride: 1, taps: 1}
	}
	w := window{pictures: y.shape[0], height: y.shape[1], width: y.shape[2], inHeight: x.shape[1], inWidth: x.shape[2], stride: s.node.Stride, padding: 1, taps: 9}
	if s.node.Upsample {
		w.doubling = 1
	}
	if s.node.PadEnd {
		w.padding = 0
	}
	return w
}

// inputLines are the lines of a picture of the operand that result lines from…to-1 need.
func (w window) inputLines(from, to int) (first, end int) {
	if w.taps == 1 {
		return from, to
	}
	first, last := from*w.stride-w.padding, (to-1)*w.stride-w.padding+2
	return max(first, 0) >> w.doubling, min(last>>w.doubling, w.inHeight-1) + 1
}

// matrixBands cuts a linear or a convolution so that each part's result fits a binding and, where the operand is brought
// in by bands, its operand fits an image. Bands start at multiples of 16 lines, as binding offsets need.
func (c *compiler) matrixBands(s *stage) []band {
	x, y, w := c.values[s.in[0].value], c.values[s.out], c.window(s)
	limits := c.limits
	resultRows := int(limits.Binding) / (16 * y.quads())
	operandRows := x.rows()
	switch {
	case c.runtime.family != Subgroup:
		operandRows = int(limits.Binding) / (16 * x.quads())
	case c.isBanded(x):
		operandRows = c.imageLimit / x.quads()
	}
	if resultRows >= y.rows() && operandRows >= x.rows() {
		return []band{{0, y.rows(), 0, x.rows()}}
	}
	lines := w.height
	for lines > 16 && (lines*w.width > resultRows || w.operandLines(lines)*w.inWidth > operandRows) {
		lines = (lines/2 + 15) / 16 * 16
	}
	var bands []band
	for n := range w.pictures {
		for from := 0; from < w.height; from += lines {
			to := min(from+lines, w.height)
			first, end := w.inputLines(from, to)
			bands = append(bands, band{
				first: (n*w.height + from) * w.width, rows: (to - from) * w.width,
				firstInput: (n*w.inHeight + first) * w.inWidth, inputRows: (end - first) * w.inWidth,
			})
		}
	}
	return bands
}

// operandLines is the most operand lines that a run of lines result lines needs.
func (w window) operandLines(lines int) int {
	if w.taps == 1 {
		return lines
	}
	return (lines*w.stride+2)>>w.doubling + 1
}

// largestBand is the texels of the largest operand band.
func (c *compiler) largestBand(s *stage) int {
	largest := 0
	for _, b := range c.matrixBands(s) {
		largest = max(largest, b.inputRows)
	}
	return largest * c.values[s.in[0].value].quads()
}

// normShape is the geometry of a group norm: pictures of pixels rows, summed in chunks.
type normShape struct{ pictures, pixels, chunk, chunks int }

func (c *compiler) norm(s *stage) normShape {
	v := c.values[s.in[0].value]
	g := normShape{pictures: v.shape[0]}
	g.pixels = v.rows() / g.pictures
	// 16 to 64 pixels a chunk; for large pictures at most 1024 chunks, so that joining them stays a short loop.
	g.chunk = max(min(max(ceil(g.pixels, 32), 16), 64), ceil(ceil(g.pixels, 1024), 64)*64*boolInt(g.pixels > 64*1024))
	g.chunks = ceil(g.pixels, g.chunk)
	return g
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
