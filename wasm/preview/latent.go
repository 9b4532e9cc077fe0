package preview

import (
	"encoding/binary"
	"errors"
	"math"
)

// ErrFactors is returned for a matrix that does not fit the latent.
var ErrFactors = errors.New("preview: the model's latent-to-RGB factors do not fit its latent")

// Decoder maps latents to colours with one linear rule: a good guess of what
// the VAE would draw, for three multiplications a channel.
type Decoder struct {
	half [1 << 16]float32 // value of every f16 bit pattern
}

// NewDecoder fills the f16 table (256 KiB, under a millisecond).
func NewDecoder() *Decoder {
	d := new(Decoder)
	for bits := range d.half {
		d.half[bits] = halfToFloat(uint16(bits))
	}
	return d
}

// Colours is the linear rule of one model: rgb = bias + Σ channel·factor,
// 0 black and 1 full.
type Colours struct {
	Factors [][3]float32 // [channels][rgb]
	Bias    [3]float32
}

// RGBA draws a latent frame as Height × Width pixels of four bytes into dst,
// which is grown when it is too small, and returns it.
func (d *Decoder) RGBA(dst []byte, frame Frame, colours Colours) ([]byte, error) {
	if frame.Kind != Latent || len(colours.Factors) != frame.Channels {
		return dst, ErrFactors
	}
	pixels := frame.Height * frame.Width
	if cap(dst) < 4*pixels {
		dst = make([]byte, 4*pixels)
	}
	dst = dst[:4*pixels]
	for i := range pixels {
		rgb := d.pixel(frame.Payload, i, pixels, colours)
		dst[4*i], dst[4*i+1], dst[4*i+2], dst[4*i+3] = toByte(rgb[0]), toByte(rgb[1]), toByte(rgb[2]), 255
	}
	return dst, nil
}

// pixel is the colour of pixel i; stride is the number of pixels in a channel.
func (d *Decoder) pixel(payload []byte, i, stride int, colours Colours) [3]float32 {
	rgb := colours.Bias
	for c, factor := range colours.Factors {
		v := d.half[binary.LittleEndian.Uint16(payload[2*(c*stride+i):])]
		rgb[0] += v * factor[0]
		rgb[1] += v * factor[1]
		rgb[2] += v * factor[2]
	}
	return rgb
}

// toByte maps [0,1] to [0,255]; values outside are clipped, NaN is black.
func toByte(v float32) byte {
	scaled := v*255 + 0.5
	if !(scaled > 0) {
		return 0
	}
	return byte(min(scaled, 255))
}

// halfToFloat converts IEEE 754 binary16.
func halfToFloat(bits uint16) float32 {
	sign, exponent, fraction := uint32(bits>>15)<<31, uint32(bits>>10&31), uint32(bits&1023)
	switch exponent {
	case 0: // zero and subnormals: fraction · 2⁻²⁴
		return math.Float32frombits(math.Float32bits(float32(fraction)/(1<<24)) | sign)
	case 31: // infinities and NaN
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	default: // the exponent biases are 15 and 127
		return math.Float32frombits(sign | (exponent+112)<<23 | fraction<<13)
	}
}
