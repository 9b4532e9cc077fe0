package reference

// Conv describes a 3×3 convolution of pictures [N,H,W,In] → [N,OutH,OutW,Out]. The zero padding is 1 all round, or 1 at
// the bottom and right only with PadEnd.
type Conv struct {
	N, H, W, In, Out int

	Stride   int  // 1 or 2
	PadEnd   bool // with stride 2: pad at the bottom and right only, as the VAE's encoder does
	Upsample bool // the picture is doubled by nearest neighbour first: source pixel = ⌊place/2⌋

	CutH, CutW int // with Upsample: rows and columns (0 or 1) cut from the end of the doubled picture
}

// size is the extent that the taps move over: doubled where Upsample says so.
func (c Conv) size() (h, w int) {
	if c.Upsample {
		return 2*c.H - c.CutH, 2*c.W - c.CutW
	}
	return c.H, c.W
}

// pad is the number of zero rows above and zero columns left of the picture.
func (c Conv) pad() int {
	if c.PadEnd {
		return 0
	}
	return 1
}

// OutSize is the height and width of the result: ⌈size/stride⌉, or ⌊size/stride⌋ with PadEnd.
func (c Conv) OutSize() (h, w int) {
	h, w = c.size()
	if !c.PadEnd {
		h, w = h+c.Stride-1, w+c.Stride-1
	}
	return h / c.Stride, w / c.Stride
}

// Conv3x3 is the convolution c: x [N,H,W,In], w [Out,In,3,3], bias [Out] or nil → [N,OutH,OutW,Out].
func Conv3x3(x, w, bias []float32, c Conv) []float32 {
	outH, outW := c.OutSize()
	y := make([]float32, c.N*outH*outW*c.Out)
	wide := tapsFirst(w, c.Out, c.In)
	parallel(c.N*outH, func(from, to int) {
		patches := make([]float64, blockRows*9*c.In)
		for row := from; row < to; row++ {
			for px := 0; px < outW; px += blockRows {
				n := min(blockRows, outW-px)
				for i := range n {
					c.patch(patches[i*9*c.In:][:9*c.In], x, row/outH, row%outH, px+i)
				}
				at := (row*outW + px) * c.Out
				multiply(y[at:at+n*c.Out], patches[:n*9*c.In], wide, bias, 9*c.In)
			}
		}
	})
	return y
}

// tapsFirst reorders w [out,in,3,3] → [out,9,in], the order of a patch.
func tapsFirst(w []float32, out, in int) []float64 {
	y := make([]float64, len(w))
	parallel(out, func(from, to int) {
		for i := from * in; i < to*in; i++ {
			for tap := range 9 {
				y[(i/in*9+tap)*in+i%in] = float64(w[i*9+tap])
			}
		}
	})
	return y
}

// patch sets p [9,In] to the pixels under the taps of the output pixel (n, oy, ox); zero outside the picture.
func (c Conv) patch(p []float64, x []float32, n, oy, ox int) {
	h, w := c.size()
	for tap := range 9 {
		py, px := oy*c.Stride+tap/3-c.pad(), ox*c.Stride+tap%3-c.pad()
		place := p[tap*c.In:][:c.In]
		if py < 0 || py >= h || px < 0 || px >= w {
			clear(place)
			continue
		}
		if c.Upsample {
			py, px = py/2, px/2
		}
		widenTo(place, x[((n*c.H+py)*c.W+px)*c.In:][:c.In])
	}
}
