package sd

// transposed swaps the last two axes: [n,a,b] → [n,b,a]. With a = C and b = H·W it turns a picture with channels first into
// one with channels last, and back with a and b swapped.
func transposed(v []float32, n, a, b int) []float32 {
	out := make([]float32, len(v))
	for i := range n {
		from, to := v[i*a*b:][:a*b], out[i*a*b:][:a*b]
		for x := range a {
			for y := range b {
				to[y*a+x] = from[x*b+y]
			}
		}
	}
	return out
}

// added is what an SDXL UNet takes beside the text states: pooled text, then sinusoids of the six sizes.
func added(c UNetConfig, pooled, sizes []float32) []float32 {
	v := append([]float32(nil), pooled...)
	for _, size := range sizes {
		v = append(v, sinusoids(float64(size), c.AddedTime, c.TimeFlip, c.TimeShift)...)
	}
	return v
}
