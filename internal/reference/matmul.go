package reference

// Linear is y = x·wᵀ + bias: x [rows,in], w [out,in], bias [out] or nil → [rows,out].
func Linear(x, w, bias []float32, in, out int) []float32 {
	y := make([]float32, len(x)/in*out)
	wide := widen(w)
	parallel(len(x)/in, func(from, to int) {
		rows := make([]float64, blockRows*in)
		for r := from; r < to; r += blockRows {
			n := min(blockRows, to-r)
			widenTo(rows, x[r*in:(r+n)*in])
			multiply(y[r*out:(r+n)*out], rows[:n*in], wide, bias, in)
		}
	})
	return y
}

// MatMul is a·b: a [m,k], b [k,n] → [m,n].
func MatMul(a, b []float32, m, k, n int) []float32 {
	transposed := make([]float32, len(b))
	for i := range k {
		for j, v := range b[i*n : (i+1)*n] {
			transposed[j*k+i] = v
		}
	}
	return Linear(a[:m*k], transposed, nil, k, n)
}

// MatMulT is a·bᵀ: a [m,k], b [n,k] → [m,n].
func MatMulT(a, b []float32, m, k, n int) []float32 { return Linear(a[:m*k], b[:n*k], nil, k, n) }

// blockRows is how many rows of the left operand are multiplied while a row group of the right one is in the cache.
const blockRows = 16

// multiply sets y [rows,out] to a·bᵀ + bias: a [rows,k], b [out,k], bias [out] or nil.
func multiply(y []float32, a, b []float64, bias []float32, k int) {
	rows, out := len(a)/k, len(b)/k
	for j := 0; j < out; j += 4 {
		var at [4]float64
		width := min(4, out-j)
		for c := range width {
			if bias != nil {
				at[c] = float64(bias[j+c])
			}
		}
		for r := range rows {
			sums := dot4(a[r*k:(r+1)*k], b[j*k:], k, width)
			for c := range width {
				y[r*out+j+c] = float32(sums[c] + at[c])
			}
		}
	}
}

// dot4 is the inner product of a [k] with each of the first width ≤ 4 rows of b [4,k]. Full groups have eight chains of
// additions, so that the processor need not wait for each sum.
func dot4(a, b []float64, k, width int) (sums [4]float64) {
	if width < 4 {
		for c := range width {
			sums[c] = dot(a, b[c*k:])
		}
		return sums
	}
	b0, b1, b2, b3 := b[:k], b[k:2*k], b[2*k:3*k], b[3*k:4*k]
	a = a[:k]
	var s0, s1, s2, s3, t0, t1, t2, t3 float64
	i := 0
	for ; i+1 < len(a) && i+1 < len(b0) && i+1 < len(b1) && i+1 < len(b2) && i+1 < len(b3); i += 2 {
		u, v := a[i], a[i+1]
		s0 += u * b0[i]
		s1 += u * b1[i]
		s2 += u * b2[i]
		s3 += u * b3[i]
		t0 += v * b0[i+1]
		t1 += v * b1[i+1]
		t2 += v * b2[i+1]
		t3 += v * b3[i+1]
	}
	if i < k {
		s0, s1, s2, s3 = s0+a[i]*b0[i], s1+a[i]*b1[i], s2+a[i]*b2[i], s3+a[i]*b3[i]
	}
	return [4]float64{s0 + t0, s1 + t1, s2 + t2, s3 + t3}
}

// dot is the inner product of a and the first len(a) elements of b.
func dot(a, b []float64) float64 {
	b = b[:len(a)]
	var sum float64
	for i, v := range a {
		sum += v * b[i]
	}
	return sum
}
