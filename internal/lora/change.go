package lora

import (
	"fmt"
	"math"
	"slices"

	"waggle/internal/weights"
)

// change of one tensor of a model.
type change interface {
	// delta is what is added at strength 1 to the tensor, of which base are the numbers: as many, in the same order.
	delta(base []float32) ([]float32, error)
}

// product is scale·up·down, the rank's sum over p: [out,p]·[p,in·taps]. Hu et al. 2021, arXiv:2106.09685.
type product struct {
	up, down, mid matrix // mid is empty but in a Tucker product
	scale         float32
	in, taps      int
}

func newProduct(up, mid, down, alpha weights.Tensor, t target) (change, error) {
	out, in, taps := t.extents()
	p := &product{in: in, taps: taps}
	var err error
	if p.down, err = asMatrix("the lower matrix", down); err != nil {
		return nil, err
	}
	if p.up, err = asMatrix("the upper matrix", up); err != nil {
		return nil, err
	}
	rank, columns := p.down.rows, in*taps
	if err = checkRank(rank); err == nil {
		err = checkRank(p.up.columns)
	}
	if err != nil {
		return nil, err
	}
	if has(mid) {
		if p.mid, err = asMatrix("the middle", mid); err != nil {
			return nil, err
		}
		if p.mid.rows != p.up.columns || p.mid.columns != rank*taps {
			return nil, fmt.Errorf("middle %v between ranks %d and %d of a window of %d", mid.Shape, p.up.columns, rank, taps)
		}
		columns = in
	} else if p.up.columns != rank {
		return nil, fmt.Errorf("ranks %d and %d", p.up.columns, rank)
	}
	if p.up.rows != out || p.down.columns != columns {
		return nil, fmt.Errorf("%v and %v for a layer of %v", up.Shape, down.Shape, t.weight)
	}
	p.scale, err = scale(alpha, rank)
	return p, err
}

// factors are scale·up [out,rank] and down [rank,in·taps].
func (p *product) factors() (factors, error) {
	up, err := p.up.Float32s()
	if err != nil {
		return factors{}, err
	}
	down, err := p.down.Float32s()
	if err != nil {
		return factors{}, err
	}
	for i := range up {
		up[i] *= p.scale
	}
	if has(p.mid.Tensor) {
		mid, err := p.mid.Float32s()
		if err != nil {
			return factors{}, err
		}
		down = tucker(mid, down, p.mid.rows, p.down.rows, p.in, p.taps)
	}
	return factors{rank: p.up.columns, up: up, down: down}, nil
}

func (p *product) delta([]float32) ([]float32, error) {
	f, err := p.factors()
	if err != nil {
		return nil, err
	}
	return f.product(), nil
}

// hadamard is scale·(a1·b1)∘(a2·b2), LoHa. Hyeon-Woo et al. 2021, arXiv:2108.06098.
type hadamard struct {
	sides [2]side
	scale float32
}

func newHadamard(a []weights.Tensor, alpha weights.Tensor, t target) (change, error) {
	h := &hadamard{}
	out, in, taps := t.extents()
	var err error
	for i := range h.sides {
		if h.sides[i], err = newSide(a[2*i], a[2*i+1], a[4+i], out, in, taps); err != nil {
			return nil, fmt.Errorf("factor %d: %w", i+1, err)
		}
	}
	h.scale, err = scale(alpha, h.sides[0].b.rows)
	return h, err
}

func (h *hadamard) delta([]float32) ([]float32, error) {
	one, err := h.sides[0].numbers()
	if err != nil {
		return nil, err
	}
	two, err := h.sides[1].numbers()
	if err != nil {
		return nil, err
	}
	for i := range one {
		one[i] *= two[i] * h.scale
	}
	return one, nil
}

// side is a matrix [out,in·taps] given by factors: a·b, or with a core t the sum over i, j of t[i,j]·a[i,out]·b[j,in].
type side struct {
	a, b, core    matrix
	out, in, taps int
}

func newSide(a, b, core weights.Tensor, out, in, taps int) (s side, err error) {
	s = side{out: out, in: in, taps: taps}
	if s.a, err = asMatrix("a", a); err != nil {
		return s, err
	}
	if s.b, err = asMatrix("b", b); err != nil {
		return s, err
	}
	if err = checkRank(s.b.rows); err != nil {
		return s, err
	}
	fits := s.a.rows == out && s.a.columns == s.b.rows && s.b.columns == in*taps
	if has(core) {
		if s.core, err = asMatrix("the core", core); err != nil {
			return s, err
		}
		if err = checkRank(s.a.rows); err != nil {
			return s, err
		}
		fits = s.a.columns == out && s.b.columns == in && s.core.rows == s.a.rows && s.core.columns == s.b.rows*taps
	}
	if !fits {
		return s, fmt.Errorf("%v and %v for %d×%d×%d", a.Shape, b.Shape, out, in, taps)
	}
	return s, nil
}

func (s side) numbers() ([]float32, error) {
	a, err := s.a.Float32s()
	if err != nil {
		return nil, err
	}
	b, err := s.b.Float32s()
	if err != nil {
		return nil, err
	}
	if !has(s.core.Tensor) {
		return factors{rank: s.b.rows, up: a, down: b}.product(), nil
	}
	core, err := s.core.Float32s()
	if err != nil {
		return nil, err
	}
	b = tucker(core, b, s.a.rows, s.b.rows, s.in, s.taps)
	return factors{rank: s.a.rows, up: transposed(a, s.a.rows, s.out), down: b}.product(), nil
}

// kronecker is scale·(w1 ⊗ w2), LoKr: block (i,j) is w1[i,j]·w2. Each of the two is full or a side of its own.
// Yeh et al. 2023, arXiv:2309.14859.
type kronecker struct {
	one, two       func() ([]float32, error)
	rows1, columns int // of w1
	rows2, in2     int // of w2 [rows2,in2,taps]
	taps           int
	scale          float32
}

func newKronecker(a []weights.Tensor, alpha weights.Tensor, t target) (change, error) {
	out, in, taps := t.extents()
	k := &kronecker{taps: taps, scale: 1}
	k.rows1, k.columns = outer(a[0], a[1], a[2])
	if k.rows1 < 1 || k.columns < 1 || out%k.rows1 != 0 || in%k.columns != 0 {
		return nil, fmt.Errorf("a first factor of %d×%d does not divide a layer of %v", k.rows1, k.columns, t.weight)
	}
	k.rows2, k.in2 = out/k.rows1, in/k.columns
	var err error
	rank1, rank2 := 0, 0
	if k.one, rank1, err = fullOrSide(a[0], a[1], a[2], weights.Tensor{}, k.rows1, k.columns, 1); err != nil {
		return nil, fmt.Errorf("factor 1: %w", err)
	}
	if k.two, rank2, err = fullOrSide(a[3], a[4], a[5], a[6], k.rows2, k.in2, taps); err != nil {
		return nil, fmt.Errorf("factor 2: %w", err)
	}
	if rank := max(rank1, rank2); rank > 0 {
		k.scale, err = scale(alpha, rank)
	}
	return k, err
}

// outer are the extents of a factor that is full, or given by a and b.
func outer(full, a, b weights.Tensor) (rows, columns int) {
	if has(full) {
		a, b = full, full
	}
	if len(a.Shape) != 2 || len(b.Shape) != 2 {
		return 0, 0
	}
	return a.Shape[0], b.Shape[1]
}

// fullOrSide is a factor of rows × in × taps and its rank, 0 for a full one.
func fullOrSide(full, a, b, core weights.Tensor, rows, in, taps int) (numbers func() ([]float32, error), rank int, err error) {
	if !has(full) {
		s, err := newSide(a, b, core, rows, in, taps)
		return s.numbers, s.b.rows, err
	}
	m, err := asMatrix("it", full)
	if err == nil && (m.rows != rows || m.columns != in*taps) {
		err = fmt.Errorf("%v for %d×%d×%d", full.Shape, rows, in, taps)
	}
	return m.Float32s, 0, err
}

func (k *kronecker) delta([]float32) ([]float32, error) {
	one, err := k.one()
	if err != nil {
		return nil, err
	}
	two, err := k.two()
	if err != nil {
		return nil, err
	}
	width := k.in2 * k.taps
	all := make([]float32, len(one)*len(two))
	parallel(k.rows1*k.rows2, func(row int) {
		from := two[row%k.rows2*width:][:width]
		for j := range k.columns {
			factor, to := one[row/k.rows2*k.columns+j]*k.scale, all[(row*k.columns+j)*width:][:width]
			for i, v := range from {
				to[i] = factor * v
			}
		}
	})
	return all, nil
}

// difference is a full difference.
type difference struct{ weights.Tensor }

func newDifference(t weights.Tensor, shape []int) (change, error) {
	want := 1
	for _, n := range shape {
		want *= n
	}
	if shape == nil || t.Elements() != want || !t.DType.Float() {
		return nil, fmt.Errorf("a difference of %s %v for %v", t.DType, t.Shape[:min(len(t.Shape), 8)], shape)
	}
	return difference{t}, nil
}

func (d difference) delta([]float32) ([]float32, error) { return d.Float32s() }

// magnitude gives the changed weight V = W + delta the lengths m: W' = V·m/|V|, with |V| for each output, or for each
// input, over all other axes. DoRA, Liu et al. 2024, arXiv:2402.09353.
type magnitude struct {
	change
	lengths  weights.Tensor
	of       func(i int) int // which length is that of element i
	elements int
}

func newMagnitude(m weights.Tensor, c change, t target) (change, error) {
	out, in, taps := t.extents()
	d := &magnitude{change: c, lengths: m, elements: out * in * taps}
	perOutput := len(m.Shape) == 1 || len(m.Shape) > 1 && m.Shape[0] == out && m.Elements() == out
	switch {
	case !m.DType.Float():
		return nil, fmt.Errorf("magnitudes are %s numbers, want floating-point", m.DType)
	case perOutput && m.Elements() == out:
		d.of = func(i int) int { return i / (in * taps) }
	case len(m.Shape) > 1 && m.Shape[0] == 1 && m.Elements() == in:
		d.of = func(i int) int { return i / taps % in }
	default:
		return nil, fmt.Errorf("magnitudes of %v for a layer of %v", m.Shape[:min(len(m.Shape), 8)], t.weight)
	}
	return d, nil
}

func (m *magnitude) delta(base []float32) ([]float32, error) {
	v, err := m.change.delta(base)
	if err != nil {
		return nil, err
	}
	lengths, err := m.lengths.Float32s()
	if err != nil {
		return nil, err
	}
	squares := make([]float64, len(lengths))
	for i, w := range base {
		v[i] += w
		squares[m.of(i)] += float64(v[i]) * float64(v[i])
	}
	for i, s := range squares {
		if s > 0 {
			lengths[i] /= float32(math.Sqrt(s))
		}
	}
	for i, w := range base {
		v[i] = v[i]*lengths[m.of(i)] - w
	}
	return v, nil
}

// factors of a product [out,rank]·[rank,columns].
type factors struct {
	rank     int
	up, down []float32
}

// product multiplies: [out,columns].
func (f factors) product() []float32 {
	columns := len(f.down) / f.rank
	all := make([]float32, len(f.up)/f.rank*columns)
	parallel(len(f.up)/f.rank, func(row int) {
		to := all[row*columns:][:columns]
		for p, factor := range f.up[row*f.rank:][:f.rank] {
			for i, v := range f.down[p*columns:][:columns] {
				to[i] += factor * v
			}
		}
	})
	return all
}

// tucker joins the middle of a Tucker product to its lower matrix: the sum over q of core[p,q,tap]·down[q,in] → [p,in,tap].
func tucker(core, down []float32, p, q, in, taps int) []float32 {
	all := make([]float32, p*in*taps)
	parallel(p, func(row int) {
		to := all[row*in*taps:][:in*taps]
		for j := range q {
			window, from := core[(row*q+j)*taps:][:taps], down[j*in:][:in]
			for i, v := range from {
				for tap, w := range window {
					to[i*taps+tap] += w * v
				}
			}
		}
	})
	return all
}

// transposed swaps the axes of [rows,columns].
func transposed(v []float32, rows, columns int) []float32 {
	out := make([]float32, len(v))
	for r := range rows {
		for c := range columns {
			out[c*rows+r] = v[r*columns+c]
		}
	}
	return out
}

// joined puts products side by side: one of all their ranks.
func joined(all []factors) factors {
	if len(all) == 1 {
		return all[0]
	}
	var f factors
	for _, one := range all {
		f.rank += one.rank
		f.down = append(f.down, one.down...)
	}
	for row := range len(all[0].up) / all[0].rank {
		for _, one := range all {
			f.up = append(f.up, one.up[row*one.rank:][:one.rank]...)
		}
	}
	f.up = slices.Clip(f.up)
	return f
}
