package weights

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Want is a tensor that a network needs.
type Want struct {
	Name  string
	Shape []int
}

// Check compares a source with what a network needs: every tensor there, in
// its shape, of a floating-point type. Tensors nobody wants are no fault. The
// error names the first faults of each kind and counts the rest.
func Check(src Source, wants []Want) error {
	var missing, wrong []string
	for _, w := range wants {
		t, ok := src.Tensor(w.Name)
		switch {
		case !ok:
			missing = append(missing, w.Name)
		case !slices.Equal(t.Shape, w.Shape):
			wrong = append(wrong, fmt.Sprintf("%s has shape %v, needs %v", w.Name, clipShape(t.Shape), w.Shape))
		case !t.DType.Float():
			wrong = append(wrong, fmt.Sprintf("%s has %s numbers, weights must be floating-point", w.Name, t.DType))
		}
	}
	var faults []error
	if len(missing) > 0 {
		faults = append(faults, errors.New("missing: "+some(missing, ", ")))
	}
	if len(wrong) > 0 {
		faults = append(faults, errors.New(some(wrong, "; ")))
	}
	return errors.Join(faults...)
}

// clipShape keeps a shape of a thousand dimensions out of an error.
func clipShape(shape []int) []int { return shape[:min(len(shape), 8)] }

// some lists the first few and the number of the others.
func some(items []string, separator string) string {
	const most = 5
	if len(items) <= most {
		return strings.Join(items, separator)
	}
	return fmt.Sprintf("%s and %d more", strings.Join(items[:most], separator), len(items)-most)
}

// CheckFinite refuses a source that holds a NaN or an infinity, and names the
// first: such a network makes black pictures at best. It reads every weight.
func CheckFinite(src Source) error {
	for _, name := range src.Names() {
		t, ok := src.Tensor(name)
		if !ok || !t.DType.Float() {
			continue
		}
		if err := t.check(); err != nil {
			return err
		}
		if i, f := t.nonFinite(); i >= 0 {
			return fmt.Errorf("tensor %q: element %d is %v; the file is damaged", name, i, f)
		}
	}
	return nil
}

// nonFinite finds the first NaN or infinity; index -1 if there is none. Both
// have all exponent bits set, whatever the type.
func (t Tensor) nonFinite() (int, float64) {
	switch t.DType {
	case F16:
		return scan16(t.Data, 0x7c00, HalfToFloat)
	case BF16:
		return scan16(t.Data, 0x7f80, bfloatToFloat)
	case F8E4M3:
		return scan8(t.Data, 0x7f, e4m3ToFloat)
	case F8E5M2:
		return scan8(t.Data, 0x7c, e5m2ToFloat)
	case F32:
		for i := 0; i+4 <= len(t.Data); i += 4 {
			if b := binary.LittleEndian.Uint32(t.Data[i:]); b&0x7f800000 == 0x7f800000 {
				return i / 4, float64(math.Float32frombits(b))
			}
		}
	case F64:
		for i := 0; i+8 <= len(t.Data); i += 8 {
			if b := binary.LittleEndian.Uint64(t.Data[i:]); b&(0x7ff<<52) == 0x7ff<<52 {
				return i / 8, math.Float64frombits(b)
			}
		}
	}
	return -1, 0
}

func scan16(data []byte, exponent uint16, float func(uint16) float32) (int, float64) {
	for i := 0; i+2 <= len(data); i += 2 {
		if b := binary.LittleEndian.Uint16(data[i:]); b&exponent == exponent {
			return i / 2, float64(float(b))
		}
	}
	return -1, 0
}

func scan8(data []byte, exponent uint8, float func(uint8) float32) (int, float64) {
	for i, b := range data {
		if b&exponent == exponent {
			return i, float64(float(b))
		}
	}
	return -1, 0
}
