// Package weights reads the numbers of a network from safetensors files and
// torch checkpoints (.ckpt, .pt, .pth, .bin), and gives every tensor the one
// name the rest of the program uses for it.
//
// A file is foreign input: its header is checked completely before any tensor
// is handed out, nothing is allocated because a header claims a size, and an
// error names the file, the tensor and the reason. A checkpoint is a pickle: it
// is read as data (package pickle), may name only what tensors are made of, and
// nothing of it is run. Natively a file is mapped,
// not read, so opening a model of many gigabytes costs no memory; where there
// is no mapping (a browser, Windows) it is read whole.
//
// Names: a checkpoint comes with the names of the program that wrote it.
// [UNetNames], [VAENames] and [CanonicalText] translate between those and the
// canonical ones: the original (LDM) names for the UNet and the VAE,
// transformers' names with the prefix "text_model." for a text encoder.
package weights

import (
	"fmt"
	"math"
)

// DType is the type of a tensor's elements as stored.
type DType uint8

// The element types a safetensors file may hold. The zero value is none.
const (
	F64 DType = iota + 1
	F32
	F16
	BF16
	F8E4M3 // finite, one NaN pattern each sign, greatest value 448
	F8E5M2 // the upper byte of an F16
	I64
	I32
	I16
	I8
	U64
	U32
	U16
	U8
	Bool
)

// dtypes holds, for each DType, its name in a file and its bytes an element.
var dtypes = [...]struct {
	name string
	size int
}{
	F64: {"F64", 8}, F32: {"F32", 4}, F16: {"F16", 2}, BF16: {"BF16", 2},
	F8E4M3: {"F8_E4M3", 1}, F8E5M2: {"F8_E5M2", 1},
	I64: {"I64", 8}, I32: {"I32", 4}, I16: {"I16", 2}, I8: {"I8", 1},
	U64: {"U64", 8}, U32: {"U32", 4}, U16: {"U16", 2}, U8: {"U8", 1},
	Bool: {"BOOL", 1},
}

// String is the name the file format uses, such as "BF16".
func (d DType) String() string {
	if d == 0 || int(d) >= len(dtypes) {
		return fmt.Sprintf("DType(%d)", uint8(d))
	}
	return dtypes[d].name
}

// Size is the number of bytes of one element; 0 for an unknown type.
func (d DType) Size() int {
	if int(d) >= len(dtypes) {
		return 0
	}
	return dtypes[d].size
}

// Float reports whether the elements are floating-point numbers.
func (d DType) Float() bool { return d >= F64 && d <= F8E5M2 }

// parseDType finds the type with a name of the file format, letter case included.
func parseDType(name string) (DType, bool) {
	for d := F64; int(d) < len(dtypes); d++ {
		if dtypes[d].name == name {
			return d, true
		}
	}
	return 0, false
}

// Tensor is a named array of numbers. Data is little-endian and row-major and
// may alias a mapped file: it must not be written to, nor used after the file
// is closed.
type Tensor struct {
	Name  string
	DType DType
	Shape []int
	Data  []byte
	Scale float32 // factor of every element, of 8-bit weights that were stored so; 0 for none
}

// Elements is the number of elements: the product of the shape, 1 for a scalar.
func (t Tensor) Elements() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// check says what is wrong with a tensor that does not hold what it claims.
func (t Tensor) check() error {
	bytes, err := sizeOf(t.DType, t.Shape)
	if err != nil {
		return fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	if bytes != len(t.Data) {
		return fmt.Errorf("tensor %q: %s %v needs %d bytes, has %d", t.Name, t.DType, t.Shape, bytes, len(t.Data))
	}
	return nil
}

// sizeOf is the number of bytes of a tensor, or an error when a dimension is
// negative, the type unknown, or the product does not fit an int.
func sizeOf(d DType, shape []int) (int, error) {
	n := d.Size()
	if n == 0 {
		return 0, fmt.Errorf("unknown dtype %s", d)
	}
	empty := false
	for _, dim := range shape {
		switch {
		case dim < 0:
			return 0, fmt.Errorf("dimension %d is negative", dim)
		case dim == 0:
			empty = true
		case n > math.MaxInt/dim:
			return 0, fmt.Errorf("shape is too large: its bytes do not fit %d bits", intBits)
		default:
			n *= dim
		}
	}
	if empty {
		return 0, nil
	}
	return n, nil
}

// intBits is the width of int on this machine.
const intBits = 32 << (^uint(0) >> 63)

// Source is a set of tensors by name: a file, several files, or a renamed view.
type Source interface {
	// Names lists every tensor once, sorted.
	Names() []string
	// Tensor finds one; its Name is the name asked for.
	Tensor(name string) (Tensor, bool)
}
