package job

import "math"

// Latent is a picture in the making: channels × height × width values, channel
// by channel, as IEEE 754 binary16. It is what previews are made from, by the
// server or by the watcher.
type Latent struct {
	Channels, Height, Width int
	Data                    []uint16
}

// Preview is the latent after one step of a job.
type Preview struct {
	Step, Total int
	Latent      Latent
}

// NewLatent converts 32-bit values; data has channels·height·width of them.
func NewLatent(channels, height, width int, data []float32) Latent {
	l := Latent{Channels: channels, Height: height, Width: width, Data: make([]uint16, len(data))}
	for i, v := range data {
		l.Data[i] = Float16(v)
	}
	return l
}

// At returns the value of channel c at row y and column x.
func (l Latent) At(c, y, x int) float32 {
	return Float32(l.Data[(c*l.Height+y)*l.Width+x])
}

// Float16 rounds a value to binary16, to the nearest and ties to even; what is
// too large becomes an infinity.
func Float16(f float32) uint16 {
	b := math.Float32bits(f)
	sign := uint16(b >> 16 & 0x8000)
	b &= 0x7fffffff
	switch {
	case b > 0x7f800000: // not a number
		return sign | 0x7e00
	case b >= 0x477ff000: // rounds to 65536 or more
		return sign | 0x7c00
	case b < 0x38800000: // below 2^-14: subnormal, a multiple of 2^-24
		return sign | uint16(math.RoundToEven(float64(math.Float32frombits(b))*(1<<24)))
	}
	// Exponents differ by 112 in their bias; round away 13 bits of fraction.
	return sign | uint16((b-112<<23+0xfff+(b>>13&1))>>13)
}

// Float32 widens a binary16 value; every one is exact.
func Float32(h uint16) float32 {
	sign, exponent, fraction := uint32(h&0x8000)<<16, uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exponent {
	case 0:
		v := float32(fraction) / (1 << 24)
		return math.Float32frombits(math.Float32bits(v) | sign)
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | fraction<<13)
}
