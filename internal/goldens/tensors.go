package goldens

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// Tensor is one tensor of a golden file, row-major. Floating-point types (F64, F32, F16, BF16) are in Float32s, F64 also
// unrounded in Float64s; integer types (I64, I32, U8, BOOL) are in Int64s.
type Tensor struct {
	DType    string
	Shape    []int
	Float32s []float32
	Float64s []float64
	Int64s   []int64
}

// Len is the number of elements.
func (t Tensor) Len() int {
	n := 1
	for _, size := range t.Shape {
		n *= size
	}
	return n
}

// Row returns the i-th slice along the first axis of a floating-point tensor.
func (t Tensor) Row(i int) []float32 {
	n := len(t.Float32s) / t.Shape[0]
	return t.Float32s[i*n : (i+1)*n]
}

// entry is one tensor in a safetensors header; offsets are bytes after the header.
type entry struct {
	DType   string `json:"dtype"`
	Shape   []int  `json:"shape"`
	Offsets [2]int `json:"data_offsets"`
}

// parse reads a safetensors file: u64 header length, JSON header, data, all little-endian.
func parse(file []byte) (map[string]Tensor, error) {
	if len(file) < 8 {
		return nil, errors.New("shorter than a safetensors header")
	}
	n := binary.LittleEndian.Uint64(file)
	if n > uint64(len(file)-8) {
		return nil, fmt.Errorf("header of %d bytes in a file of %d", n, len(file))
	}
	var header map[string]json.RawMessage
	if err := json.Unmarshal(file[8:8+n], &header); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	delete(header, "__metadata__")
	tensors := make(map[string]Tensor, len(header))
	for name, raw := range header {
		tensor, err := decode(raw, file[8+n:])
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", name, err)
		}
		tensors[name] = tensor
	}
	return tensors, nil
}

func decode(raw json.RawMessage, data []byte) (Tensor, error) {
	var e entry
	if err := json.Unmarshal(raw, &e); err != nil {
		return Tensor{}, err
	}
	tensor := Tensor{DType: e.DType, Shape: e.Shape}
	from, to := e.Offsets[0], e.Offsets[1]
	if from < 0 || to < from || to > len(data) {
		return Tensor{}, fmt.Errorf("offsets %v outside %d bytes of data", e.Offsets, len(data))
	}
	width, ok := widths[e.DType]
	if !ok {
		return Tensor{}, fmt.Errorf("type %s is not known", e.DType)
	}
	if tensor.Len()*width != to-from {
		return Tensor{}, fmt.Errorf("%s %v in %d bytes", e.DType, e.Shape, to-from)
	}
	tensor.fill(data[from:to])
	return tensor, nil
}

// widths are the bytes of an element.
var widths = map[string]int{"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}

func (t *Tensor) fill(b []byte) {
	le, n := binary.LittleEndian, t.Len()
	switch t.DType {
	case "F64":
		t.Float64s = each(n, func(i int) float64 { return math.Float64frombits(le.Uint64(b[8*i:])) })
		t.Float32s = each(n, func(i int) float32 { return float32(t.Float64s[i]) })
	case "F32":
		t.Float32s = each(n, func(i int) float32 { return math.Float32frombits(le.Uint32(b[4*i:])) })
	case "F16":
		t.Float32s = each(n, func(i int) float32 { return half(le.Uint16(b[2*i:])) })
	case "BF16":
		t.Float32s = each(n, func(i int) float32 { return math.Float32frombits(uint32(le.Uint16(b[2*i:])) << 16) })
	case "I64":
		t.Int64s = each(n, func(i int) int64 { return int64(le.Uint64(b[8*i:])) })
	case "I32":
		t.Int64s = each(n, func(i int) int64 { return int64(int32(le.Uint32(b[4*i:]))) })
	default: // U8, BOOL
		t.Int64s = each(n, func(i int) int64 { return int64(b[i]) })
	}
}

func each[T any](n int, at func(i int) T) []T {
	values := make([]T, n)
	for i := range values {
		values[i] = at(i)
	}
	return values
}

// half widens an IEEE 754 binary16 value.
func half(h uint16) float32 {
	sign, exponent, fraction := uint32(h>>15)<<31, uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exponent {
	case 0: // zero and subnormals: fraction × 2⁻²⁴
		value := math.Float32bits(float32(fraction) / (1 << 24))
		return math.Float32frombits(sign | value)
	case 0x1f: // infinity and NaN
		return math.Float32frombits(sign | 0xff<<23 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
}
