package noise

import (
	"fmt"
	"math"
)

// torch is PyTorch's generator for the CPU. Fewer than 16 values are made in pairs in double precision, and the second value
// of a pair waits for the next such call; 16 or more are made in blocks of 16 (normal_fill in PyTorch's DistributionTemplates).
type torch struct {
	mt    mersenne
	drawn uint64   // 32-bit numbers so far
	spare *float64 // second value of a pair
}

const (
	blockSize = 16
	// maxSkip bounds the time that a damaged checkpoint can cost: some seconds.
	maxSkip = 1 << 30
)

func newTorch(seed uint64) *torch {
	t := &torch{}
	t.mt.seed(uint32(seed))
	return t
}

func (t *torch) fill(dst []float64, p precision) {
	if len(dst) < blockSize {
		t.fillPairs(dst, p)
		return
	}
	whole := len(dst) - len(dst)%blockSize
	if p.byBlock {
		t.fillUniform(dst[:whole], p)
	} else {
		t.fillUniform(dst, p)
	}
	for at := 0; at < whole; at += blockSize {
		transformBlock(dst[at:at+blockSize], p)
	}
	if whole != len(dst) { // the last 16 values are made anew, overlapping a finished block
		tail := dst[len(dst)-blockSize:]
		t.fillUniform(tail, p)
		transformBlock(tail, p)
	}
}

// fillPairs is the Box-Muller transform in double precision, whatever the type of the result.
func (t *torch) fillPairs(dst []float64, p precision) {
	for i := range dst {
		if t.spare != nil {
			dst[i], t.spare = p.result(*t.spare), nil
			continue
		}
		u1, u2 := t.uniform(double), t.uniform(double)
		radius := math.Sqrt(-2 * math.Log1p(-u2))
		sin, cos := math.Sincos(2 * math.Pi * u1)
		second := radius * sin
		dst[i], t.spare = p.result(radius*cos), &second
	}
}

func (t *torch) fillUniform(dst []float64, p precision) {
	for i := range dst {
		dst[i] = t.uniform(p)
	}
}

// uniform returns a number in [0, 1) of p.bits random bits.
func (t *torch) uniform(p precision) float64 {
	x := uint64(t.next())
	if p.wide {
		x = x<<32 | uint64(t.next())
	}
	return math.Ldexp(float64(x&(1<<p.bits-1)), -int(p.bits))
}

func (t *torch) next() uint32 {
	t.drawn++
	return t.mt.next()
}

// transformBlock makes 16 normal values of 16 uniform ones: Box-Muller on the first and second half, every intermediate
// result rounded to the type of the computation, as there.
func transformBlock(d []float64, p precision) {
	for j := range blockSize / 2 {
		u1, u2 := p.round(1-d[j]), d[j+blockSize/2]
		radius := p.round(math.Sqrt(p.round(-2 * p.round(math.Log(u1)))))
		sin, cos := math.Sincos(p.round(2 * math.Pi * u2))
		d[j] = p.result(radius * p.round(cos))
		d[j+blockSize/2] = p.result(radius * p.round(sin))
	}
}

func (t *torch) position() Position {
	position := Position{Count: t.drawn}
	if t.spare != nil {
		spare := *t.spare
		position.Spare = &spare
	}
	return position
}

func (t *torch) restore(position Position) error {
	if position.Count > maxSkip {
		return fmt.Errorf("position %d is beyond %d", position.Count, maxSkip)
	}
	for t.drawn < position.Count {
		t.next()
	}
	if position.Spare != nil {
		spare := *position.Spare
		t.spare = &spare
	}
	return nil
}

// mersenne is MT19937 (Matsumoto and Nishimura 1998), with the initialization of 2002.
type mersenne struct {
	state [mtSize]uint32
	at    int // the next word to give out; mtSize: all used
}

const (
	mtSize  = 624
	mtShift = 397
)

func (m *mersenne) seed(seed uint32) {
	m.state[0] = seed
	for i := 1; i < mtSize; i++ {
		before := m.state[i-1]
		m.state[i] = 1812433253*(before^before>>30) + uint32(i)
	}
	m.at = mtSize
}

func (m *mersenne) next() uint32 {
	if m.at == mtSize {
		m.twist()
	}
	y := m.state[m.at]
	m.at++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

func (m *mersenne) twist() {
	for i := range m.state {
		y := m.state[i]&0x80000000 | m.state[(i+1)%mtSize]&0x7fffffff
		m.state[i] = m.state[(i+mtShift)%mtSize] ^ y>>1 ^ y&1*0x9908b0df
	}
	m.at = 0
}
