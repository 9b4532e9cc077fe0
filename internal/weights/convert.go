package weights

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Float32s converts a tensor of any floating-point type to a new slice. Only a
// float64 can be out of range, which is an error, as is an integer tensor.
func (t Tensor) Float32s() ([]float32, error) {
	if err := t.checkFloat(); err != nil {
		return nil, err
	}
	out := make([]float32, t.Elements())
	if t.DType == F64 {
		return out, t.narrow(out)
	}
	t.floats(out)
	return out, nil
}

// ErrOverflow says that a number does not fit float16.
var ErrOverflow = errors.New("float16 ends at 65504")

// Float16s converts a tensor of any floating-point type to a new slice of IEEE
// half bits, rounded to nearest even. A finite value that does not fit (more
// than 65504 after rounding) is an error that names the tensor: silently
// saturated weights make wrong pictures. NaN and infinity pass; [CheckFinite]
// finds those.
func (t Tensor) Float16s() ([]uint16, error) {
	if err := t.checkFloat(); err != nil {
		return nil, err
	}
	out := make([]uint16, t.Elements())
	switch {
	case t.DType == F16:
		for i := range out {
			out[i] = binary.LittleEndian.Uint16(t.Data[2*i:])
		}
		return out, nil
	case t.DType == F8E5M2 && t.Scale == 0:
		for i, b := range t.Data {
			out[i] = uint16(b) << 8
		}
		return out, nil
	}
	return out, t.halves(out)
}

// checkFloat refuses a tensor that is not of a floating-point type or not whole.
func (t Tensor) checkFloat() error {
	if err := t.check(); err != nil {
		return err
	}
	if !t.DType.Float() {
		return fmt.Errorf("tensor %q: has %s numbers, weights must be floating-point", t.Name, t.DType)
	}
	return nil
}

// floats converts all elements but those of F64, whose range needs narrow.
func (t Tensor) floats(out []float32) {
	switch t.DType {
	case F32:
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.Data[4*i:]))
		}
	case F16:
		for i := range out {
			out[i] = HalfToFloat(binary.LittleEndian.Uint16(t.Data[2*i:]))
		}
	case BF16:
		for i := range out {
			out[i] = bfloatToFloat(binary.LittleEndian.Uint16(t.Data[2*i:]))
		}
	case F8E4M3:
		for i, b := range t.Data {
			out[i] = e4m3ToFloat(b)
		}
	case F8E5M2:
		for i, b := range t.Data {
			out[i] = e5m2ToFloat(b)
		}
	}
	if t.Scale != 0 {
		for i := range out {
			out[i] *= t.Scale
		}
	}
}

// narrow converts float64 elements; a finite one that float32 cannot hold is an error.
func (t Tensor) narrow(out []float32) error {
	for i := range out {
		f := math.Float64frombits(binary.LittleEndian.Uint64(t.Data[8*i:]))
		out[i] = float32(f)
		if math.IsInf(float64(out[i]), 0) && !math.IsInf(f, 0) {
			return fmt.Errorf("tensor %q: element %d is %g, beyond float32", t.Name, i, f)
		}
	}
	return nil
}

// oddly converts float64 elements for another rounding to come: what float32
// cannot hold exactly goes towards zero and gets an odd last bit, so that it is
// on the right side of every tie of a narrower type (Boldo and Melquiond, 2008).
// NaN and infinity pass; what is beyond float32 is its greatest number.
func (t Tensor) oddly(out []float32) {
	for i := range out {
		f := math.Float64frombits(binary.LittleEndian.Uint64(t.Data[8*i:]))
		out[i] = float32(f)
		if wide := float64(out[i]); wide != f && f == f {
			bits := math.Float32bits(out[i])
			if math.Abs(wide) > math.Abs(f) {
				bits--
			}
			out[i] = math.Float32frombits(bits | 1)
		}
	}
}

// halves converts through float32 in blocks, so that a large tensor needs no
// second copy. Every element is rounded once.
func (t Tensor) halves(out []uint16) error {
	var block [1024]float32
	size := t.DType.Size()
	for start := 0; start < len(out); start += len(block) {
		n := min(len(block), len(out)-start)
		part := Tensor{Name: t.Name, DType: t.DType, Shape: []int{n}, Data: t.Data[start*size : (start+n)*size], Scale: t.Scale}
		if t.DType == F64 {
			part.oddly(block[:n])
		} else {
			part.floats(block[:n])
		}
		FloatsToHalves(out[start:], block[:n])
		if i := overflowed(out[start:start+n], block[:n]); i >= 0 {
			return fmt.Errorf("tensor %q: element %d is %g: %w", t.Name, start+i, part.wide(i, block[i]), ErrOverflow)
		}
	}
	return nil
}

// wide is an element without loss; float is it as float32.
func (t Tensor) wide(i int, float float32) float64 {
	if t.DType == F64 {
		return math.Float64frombits(binary.LittleEndian.Uint64(t.Data[8*i:]))
	}
	return float64(float)
}

// overflowed finds the first half that is infinite though its float is not; -1 if none.
func overflowed(halves []uint16, floats []float32) int {
	for i, h := range halves {
		if h&0x7fff == 0x7c00 && !math.IsInf(float64(floats[i]), 0) {
			return i
		}
	}
	return -1
}
