package noise

import (
	"fmt"
	"math"
	"math/bits"
)

// philox is PyTorch's generator on CUDA: value i of call k is a function of seed, k and i alone, so calls before it need not
// be made again.
type philox struct {
	seed uint64
	call uint32
}

// The constants are float32, as in the CUDA code; 2⁻³² and 2π·2⁻³².
const (
	twoPow32Inv    = float32(2.3283064e-10)
	twoPow32Inv2Pi = float32(2.3283064e-10 * 6.2831855)
)

func (g *philox) fill(dst []float64, p precision) {
	for i := range dst {
		block := philox4x32([4]uint32{g.call, 0, uint32(i), 0}, [2]uint32{uint32(g.seed), uint32(g.seed >> 32)})
		dst[i] = p.result(boxMuller(block[0], block[1]))
	}
	g.call++
}

// boxMuller makes a normal value of two random words; the second value of the pair is not used.
func boxMuller(x, y uint32) float64 {
	u := float64(x)*float64(twoPow32Inv) + float64(twoPow32Inv/2)
	v := float64(y)*float64(twoPow32Inv2Pi) + float64(twoPow32Inv2Pi/2)
	return math.Sqrt(-2*math.Log(u)) * math.Sin(v)
}

// philox4x32 is Philox4x32 with 10 rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
func philox4x32(counter [4]uint32, key [2]uint32) [4]uint32 {
	for range 10 {
		high0, low0 := bits.Mul32(0xd2511f53, counter[0])
		high2, low2 := bits.Mul32(0xcd9e8d57, counter[2])
		counter = [4]uint32{high2 ^ counter[1] ^ key[0], low2, high0 ^ counter[3] ^ key[1], low0}
		key[0] += 0x9e3779b9
		key[1] += 0xbb67ae85
	}
	return counter
}

func (g *philox) position() Position { return Position{Count: uint64(g.call)} }

func (g *philox) restore(position Position) error {
	if position.Count > math.MaxUint32 {
		return fmt.Errorf("position %d is beyond %d", position.Count, uint32(math.MaxUint32))
	}
	g.call = uint32(position.Count)
	return nil
}
