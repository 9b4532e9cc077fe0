package preview

// Enlarger makes a small picture larger without the edges of its pixels: a
// latent has an eighth of its picture's width, and stretching it over a screen
// with straight lines between pixels shows their grid.
type Enlarger struct {
	scale   int
	weights [][4]float32 // by position between two pixels
	rows    []float32    // the picture widened, one value a channel
}

// cubic returns the weights of the four pixels around a point that lies t
// after the second: Catmull–Rom, which goes through the pixels themselves.
func cubic(t float32) [4]float32 {
	return [4]float32{
		t * (-1 + t*(2-t)) / 2,
		(2 + t*t*(-5+3*t)) / 2,
		t * (1 + t*(4-3*t)) / 2,
		t * t * (t - 1) / 2,
	}
}

// use prepares the weights of a scale; sample i of a pixel lies at (i+½)/scale - ½ from its centre.
func (e *Enlarger) use(scale int) {
	if e.scale == scale {
		return
	}
	e.scale, e.weights = scale, make([][4]float32, scale)
	for i := range scale {
		at := (float32(i)+.5)/float32(scale) - .5
		if at < 0 {
			at++
		}
		e.weights[i] = cubic(at)
	}
}

// first is the first of the four pixels that sample i of a pixel is made from.
func (e *Enlarger) first(pixel, i int) int {
	if 2*i+1 < e.scale {
		return pixel - 2
	}
	return pixel - 1
}

// Enlarge appends to dst[:0] the RGBA picture src, width × height pixels,
// enlarged scale times in both directions.
func (e *Enlarger) Enlarge(dst, src []byte, width, height, scale int) []byte {
	e.use(scale)
	e.widen(src, width, height)
	wide := width * scale
	dst = dst[:0]
	for y := range height * scale {
		w, top := e.weights[y%scale], e.first(y/scale, y%scale)
		var lines [4][]float32
		for k := range lines {
			line := clamp(top+k, height)
			lines[k] = e.rows[3*wide*line : 3*wide*(line+1)]
		}
		for x := 0; x < 3*wide; x += 3 {
			for c := x; c < x+3; c++ {
				dst = append(dst, byte(between(w, lines[0][c], lines[1][c], lines[2][c], lines[3][c])+.5))
			}
			dst = append(dst, 255)
		}
	}
	return dst
}

// widen fills rows with the picture enlarged sideways: [height][width·scale][3].
func (e *Enlarger) widen(src []byte, width, height int) {
	e.rows = e.rows[:0]
	for y := range height {
		line := src[4*width*y : 4*width*(y+1)]
		for x := range width * e.scale {
			w, left := e.weights[x%e.scale], e.first(x/e.scale, x%e.scale)
			for c := range 3 {
				at := func(k int) float32 { return float32(line[4*clamp(left+k, width)+c]) }
				e.rows = append(e.rows, between(w, at(0), at(1), at(2), at(3)))
			}
		}
	}
}

// clamp repeats the pixels of the edge.
func clamp(i, n int) int { return max(0, min(i, n-1)) }

// between is the weighted sum, kept within the two middle pixels: a plain cubic
// overshoots there and draws halos along the edges of things.
func between(w [4]float32, a, b, c, d float32) float32 {
	return max(min(b, c), min(max(b, c), w[0]*a+w[1]*b+w[2]*c+w[3]*d))
}

// Scale is how many times a latent of this size is worth enlarging: to about
// 256 pixels, from where the screen's own scaling is smooth enough.
func Scale(width, height int) int {
	switch side := max(width, height); {
	case side <= 32:
		return 8
	case side <= 64:
		return 4
	case side <= 128:
		return 2
	}
	return 1
}
