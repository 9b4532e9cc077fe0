package weights

import "math"

// HalfToFloat converts IEEE 754 binary16 bits. Every half is exact in float32;
// a NaN keeps its sign and payload.
func HalfToFloat(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	magnitude := uint32(h & 0x7fff)
	if magnitude >= 0x7c00 { // infinity and NaN: exponent all ones in both
		return math.Float32frombits(sign | 0x7f800000 | (magnitude&0x3ff)<<13)
	}
	// Moved into place the exponent is too small by 127-15; multiplying by
	// 2^112 mends it, and normalises what was subnormal on the way.
	f := math.Float32frombits(magnitude<<13) * 0x1p112
	return math.Float32frombits(sign | math.Float32bits(f))
}

// FloatToHalf converts to IEEE 754 binary16 bits, to nearest, ties to even.
// What rounds above 65504 becomes infinity; a NaN stays one (made quiet).
func FloatToHalf(f float32) uint16 {
	bits := math.Float32bits(f)
	sign := uint16(bits >> 16 & 0x8000)
	bits &= 0x7fffffff
	switch {
	case bits > 0x7f800000:
		return sign | 0x7e00 | uint16(bits>>13&0x3ff)
	case bits >= 0x47800000: // 65536 and more, infinity
		return sign | 0x7c00
	case bits < 0x38800000: // below 2^-14: subnormal, unit 2^-24
		// Adding 0.5 leaves a float whose last place is 2^-24, so the
		// processor's own rounding is the one wanted.
		sum := math.Float32frombits(bits) + 0.5
		return sign | uint16(math.Float32bits(sum)-0x3f000000)
	}
	bits += 0xfff + bits>>13&1 // half a unit, less one where the result is even
	return sign | uint16((bits-0x38000000)>>13)
}

// HalvesToFloats converts src into dst, which must be at least as long.
func HalvesToFloats(dst []float32, src []uint16) {
	dst = dst[:len(src)]
	for i, h := range src {
		dst[i] = HalfToFloat(h)
	}
}

// FloatsToHalves converts src into dst, which must be at least as long.
func FloatsToHalves(dst []uint16, src []float32) {
	dst = dst[:len(src)]
	for i, f := range src {
		dst[i] = FloatToHalf(f)
	}
}

// bfloatToFloat widens bfloat16 bits: the upper half of a float32.
func bfloatToFloat(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }

// e4m3ToFloat converts an 8-bit float with 4 exponent bits, bias 7, without
// infinities: 0x7f and 0xff are NaN (Micikevicius et al., arXiv:2209.05433).
func e4m3ToFloat(b uint8) float32 {
	exponent, mantissa := int(b>>3&15), float64(b&7)
	var f float64
	switch {
	case b&0x7f == 0x7f:
		f = math.NaN()
	case exponent == 0:
		f = math.Ldexp(mantissa, -9)
	default:
		f = math.Ldexp(8+mantissa, exponent-10)
	}
	if b&0x80 != 0 {
		f = math.Copysign(f, -1)
	}
	return float32(f)
}

// e5m2ToFloat converts an 8-bit float that is a half without its lower byte.
func e5m2ToFloat(b uint8) float32 { return HalfToFloat(uint16(b) << 8) }
