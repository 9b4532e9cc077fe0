package weights

import (
	"encoding/binary"
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
	switch t.DType {
	case F16:
		for i := range out {
			out[i] = binary.LittleEndian.Uint16(t.Data[2*i:])
		}
		return out, nil
	case F8E5M2:
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

// halves converts through float32 in blocks, so that a large tensor needs no
// second copy. F64 elements are rounded twice, which can differ from one
// rounding by the last bit only where float32 already met a tie.
func (t Tensor) halves(out []uint16) error {
	var block [1024]float32
	size := t.DType.Size()
	for start := 0; start < len(out); start += len(block) {
		n := min(len(block), len(out)-start)
		part := Tensor{Name: t.Name, DType: t.DType, Shape: []int{n}, Data: t.Data[start*size : (start+n)*size]}
		if t.DType == F64 {
			if err := part.narrow(block[:n]); err != nil {
				return err
			}
		} else {
			part.floats(block[:n])
		}
		FloatsToHalves(out[start:], block[:n])
		if i := overflowed(out[start:start+n], block[:n]); i >= 0 {
			return fmt.Errorf("tensor %q: element %d is %g, float16 ends at 65504", t.Name, start+i, block[i])
		}
	}
	return nil
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
