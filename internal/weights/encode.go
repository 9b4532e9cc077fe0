package weights

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// Encoding says how a file is written.
type Encoding struct {
	// DType is what floating-point numbers become; 0 keeps them. Vectors keep 16
	// bits where it has 8: norms and biases are few, and lose too much.
	DType    DType
	Metadata map[string]string
	Wrote    func(bytes int) // called as tensor data is written; may be nil

	Interrupted func() error // asked now and then; its error ends the writing; may be nil
}

// Of is the type a tensor is written in.
func (e Encoding) Of(t Tensor) DType {
	switch {
	case !t.DType.Float():
		return t.DType
	case e.DType.Size() == 1 && len(t.Shape) < 2:
		return F16
	case e.DType == 0 && t.Scale != 0:
		return F16 // the factor has no place in the file
	case e.DType == 0:
		return t.DType
	}
	return e.DType
}

// Encode writes a safetensors file with the tensors in the order given, one
// after the other: memory does not grow with them. A number that the type asked
// for cannot hold is an error that names the tensor.
func Encode(w io.Writer, tensors []Tensor, e Encoding) error {
	plan := make([]entry, len(tensors))
	var at uint64
	for i, t := range tensors {
		if err := t.check(); err != nil {
			return err
		}
		size, err := sizeOf(e.Of(t), t.Shape)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		plan[i] = entry{t.Name, e.Of(t), t.Shape, at, at + uint64(size)}
		at += uint64(size)
	}
	header, err := encodeHeader(plan, e.Metadata)
	if err != nil {
		return err
	}
	for _, b := range [][]byte{binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header} {
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	for i, t := range tensors {
		if err := t.encode(w, plan[i].dtype, e); err != nil {
			return err
		}
	}
	return nil
}

// encodeBlock is how many elements are converted at once.
const encodeBlock = 64 << 10

// encode writes the numbers as another type.
func (t Tensor) encode(w io.Writer, to DType, e Encoding) error {
	size, n := t.DType.Size(), t.Elements()
	for start := 0; start < n; start += encodeBlock {
		count := min(encodeBlock, n-start)
		part := Tensor{t.Name, t.DType, []int{count}, t.Data[start*size : (start+count)*size], t.Scale}
		data := part.Data
		if to != t.DType || t.Scale != 0 {
			var bad int
			if data, bad = part.as(to); bad >= 0 {
				return fmt.Errorf("tensor %q: element %d does not fit %s", t.Name, start+bad, to)
			}
		}
		if _, err := w.Write(data); err != nil {
			return fmt.Errorf("write tensor %q: %w", t.Name, err)
		}
		if e.Wrote != nil {
			e.Wrote(len(data))
		}
		if e.Interrupted == nil {
			continue
		}
		if err := e.Interrupted(); err != nil {
			return err
		}
	}
	return nil
}

// as converts a block of floating-point numbers; bad is the first finite one
// that does not fit, -1 for none.
func (t Tensor) as(to DType) (data []byte, bad int) {
	floats := make([]float32, t.Elements())
	data = make([]byte, 0, len(floats)*to.Size())
	if t.DType == F64 {
		t.oddly(floats)
	} else {
		t.floats(floats)
	}
	for i, f := range floats {
		before, fits := len(data), true
		switch to {
		case F32:
			if t.DType == F64 { // rounded for a narrower type
				wide := t.wide(i, f)
				f = float32(wide)
				fits = !math.IsInf(float64(f), 0) || math.IsInf(wide, 0)
			}
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(f))
		case F16:
			h := FloatToHalf(f)
			data, fits = binary.LittleEndian.AppendUint16(data, h), h&0x7fff != 0x7c00
		case BF16:
			h := floatToBfloat(f)
			data, fits = binary.LittleEndian.AppendUint16(data, h), h&0x7fff != 0x7f80
		case F8E4M3:
			b := floatToE4M3(f)
			data, fits = append(data, b), b&0x7f != 0x7f
		}
		if len(data) == before || !fits && !math.IsInf(float64(f), 0) && f == f {
			return nil, i
		}
	}
	return data, -1
}

// floatToBfloat rounds to the upper half of a float32, ties to even.
func floatToBfloat(f float32) uint16 {
	bits := math.Float32bits(f)
	if f != f {
		return uint16(bits>>16) | 0x40 // stays a NaN
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

// floatToE4M3 rounds to the 8-bit float, ties to even; NaN, infinity and what
// rounds above 448 is NaN, for there is no infinity.
func floatToE4M3(f float32) uint8 {
	bits := math.Float32bits(f)
	sign := uint8(bits >> 24 & 0x80)
	bits &= 0x7fffffff
	switch {
	case bits > 0x43e80000: // above 464, the last tie, which goes to 448
		return sign | 0x7f
	case bits < 0x3c800000: // below 2^-6: subnormal, unit 2^-9
		// Adding 2^14 leaves a float whose last place is 2^-9, as in FloatToHalf.
		sum := math.Float32frombits(bits) + 0x1p14
		return sign | uint8(math.Float32bits(sum)-0x46800000)
	}
	bits += 0x7ffff + bits>>20&1 // half a unit, less one where the result is even
	return sign | uint8((bits-0x3c000000)>>20)
}
