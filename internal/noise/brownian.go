package noise

import (
	"fmt"
	"math"
	"strconv"
)

// Brownian is the noise of a Brownian motion over sigma: the noise of two ways that overlap has a part in common, so that a
// picture changes less with the number of steps. It is a torchsde.BrownianTree as k-diffusion, A1111 and ComfyUI use it for
// their SDE samplers: the way between two sigmas is put together from halves of halves of the whole, each with a seed of its
// own. It depends on the seed and the ends alone, so there is no state to be kept.
type Brownian struct {
	kind      Kind
	seed      uint64
	low, high float64
	latest    map[span][]float32 // increments that the latest way needed: the next one shares half of them
}

// span is a place in the tree of halves: the key of the k-th span of a depth is k.
type span struct {
	depth      uint32
	key        uint32
	start, end float64
}

// brownianPool is the size of the pool of entropy of a tree.
const brownianPool = 24

// NewBrownian makes the noise between two sigmas.
func NewBrownian(kind Kind, seed uint64, low, high float64) (*Brownian, error) {
	low, high = float64(float32(low)), float64(float32(high))
	if !(low >= 0 && low < high && high < math.MaxFloat32) {
		return nil, fmt.Errorf("brownian noise from %v to %v: want rising, finite sigmas", low, high)
	}
	_, err := New(kind, 0)
	return &Brownian{kind: kind, seed: seed, low: low, high: high}, err
}

// Between returns n values of unit noise for the way from one sigma to a lower one. n must always be the same.
func (b *Brownian) Between(n int, from, to float64) []float32 {
	from, to = float64(float32(from)), float64(float32(to))
	whole := span{start: sixDigits(b.low), end: sixDigits(b.high)}
	start, end := sixDigits(max(to, b.low, whole.start)), sixDigits(min(from, b.high, whole.end))
	if b.latest == nil {
		b.latest = map[span][]float32{}
	}
	walk := &brownianWalk{Brownian: b, n: n, needed: map[span][]float32{}}
	if start < end {
		walk.cover(whole, walk.top(whole), start, end)
	}
	b.latest = walk.needed
	if walk.sum == nil {
		return make([]float32, n)
	}
	scale := -1 / float32(math.Sqrt(float64(float32(from)-float32(to))))
	noise := make([]float32, n)
	for i, v := range walk.sum {
		noise[i] = v * scale
	}
	return noise
}

// brownianWalk puts one way together.
type brownianWalk struct {
	*Brownian
	n      int
	needed map[span][]float32
	sum    []float32
}

// randn is unit noise from a seed.
func (w *brownianWalk) randn(seed uint32) []float32 {
	g, err := New(w.kind, uint64(seed))
	if err != nil {
		panic(err) // the kind was checked
	}
	return g.Gaussian(w.n)
}

// top is the increment over the whole.
func (w *brownianWalk) top(whole span) []float32 {
	return w.remembered(whole, func() []float32 {
		noise := w.randn(seedWords(w.seed, nil, brownianPool, 1)[0])
		root := float32(math.Sqrt(w.high - w.low))
		for i := range noise {
			noise[i] *= root
		}
		return noise
	})
}

func (w *brownianWalk) remembered(s span, compute func() []float32) []float32 {
	increment, ok := w.latest[s]
	if !ok {
		increment = compute()
	}
	w.needed[s] = increment
	return increment
}

// cover adds the increments of the largest spans below s that make up the way.
func (w *brownianWalk) cover(s span, increment []float32, start, end float64) {
	if start == s.start && end == s.end {
		w.add(increment)
		return
	}
	middle := sixDigits(0.5 * (s.end + s.start))
	left := span{s.depth + 1, 2 * s.key, s.start, middle}
	right := span{s.depth + 1, 2*s.key + 1, middle, s.end}
	first := w.remembered(left, func() []float32 { return w.half(s, middle, increment) })
	if start < middle {
		w.cover(left, first, start, min(end, middle))
	}
	if end > middle {
		second := make([]float32, w.n)
		for i := range second {
			second[i] = increment[i] - first[i]
		}
		w.cover(right, second, max(start, middle), end)
	}
}

// half is the increment over the left half of a span, given that over all of it.
func (w *brownianWalk) half(s span, middle float64, increment []float32) []float32 {
	before, after, inverse := middle-s.start, s.end-middle, 1/(s.end-s.start)
	deviation := float32(math.Sqrt(before * after * inverse))
	noise := w.randn(seedWords(w.seed, []uint32{s.key, s.depth}, brownianPool, 1)[0])
	for i := range noise {
		mean := float32(float32(float32(before)*increment[i]) * float32(inverse))
		noise[i] = mean + float32(deviation*noise[i])
	}
	return noise
}

func (w *brownianWalk) add(increment []float32) {
	if w.sum == nil {
		w.sum = make([]float32, w.n)
	}
	for i, v := range increment {
		w.sum[i] += v
	}
}

// sixDigits rounds to six decimal places, to which the tree resolves.
func sixDigits(v float64) float64 {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(v, 'f', 6, 64), 64)
	if err != nil {
		panic(err) // a finite number always reads back
	}
	return rounded
}
