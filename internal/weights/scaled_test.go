package weights

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// float8 is the definition of an 8-bit float with so many mantissa bits, in
// float64; infinities and NaN apart.
func float8(b uint8, mantissaBits, bias int) float64 {
	mantissa := int(b) & (1<<mantissaBits - 1)
	exponent := int(b&0x7f) >> mantissaBits
	value := math.Ldexp(float64(mantissa), 1-bias-mantissaBits)
	if exponent > 0 {
		value = math.Ldexp(float64(mantissa+1<<mantissaBits), exponent-bias-mantissaBits)
	}
	if b&0x80 != 0 {
		return -value
	}
	return value
}

// nearestHalf is the half nearest to a number, found by comparing: the greater
// neighbour's bits even in a tie. The number must be within the range.
func nearestHalf(f float64) uint16 {
	a := math.Abs(f)
	low := uint16(0)
	for step := uint16(0x4000); step > 0; step >>= 1 {
		if next := low + step; next < 0x7c00 && halfValue(next) <= a {
			low = next
		}
	}
	if low < 0x7bff {
		below, above := a-halfValue(low), halfValue(low+1)-a
		if above < below || above == below && low&1 == 1 {
			low++
		}
	}
	if math.Signbit(f) {
		low |= 0x8000
	}
	return low
}

// Every finite 8-bit number, alone and times any factor, becomes the half and
// the float32 that the formulas say.
func TestFloat8ByFormula(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tensor := Tensor{Name: "a", DType: F8E4M3, Shape: []int{1}}
		mantissa, bias, last := 3, 7, 0x7e
		if rapid.Bool().Draw(t, "e5m2") {
			tensor.DType, mantissa, bias, last = F8E5M2, 2, 15, 0x7b
		}
		b := uint8(rapid.IntRange(0, last).Draw(t, "magnitude"))
		if rapid.Bool().Draw(t, "negative") {
			b |= 0x80
		}
		tensor.Data = []byte{b}
		want := float8(b, mantissa, bias)
		if rapid.Bool().Draw(t, "scaled") {
			tensor.Scale = rapid.Float32Range(1e-6, 1).Draw(t, "scale")
			want = float64(float32(want) * tensor.Scale)
		}
		floats, err := tensor.Float32s()
		if err != nil || float64(floats[0]) != want {
			t.Fatalf("%v: got %v, %v, want %v", tensor, floats, err, want)
		}
		halves, err := tensor.Float16s()
		if err != nil || halves[0] != nearestHalf(want) {
			t.Fatalf("%v: got %#x, %v, want %#x", tensor, halves, err, nearestHalf(want))
		}
	})
}

// Any float64, float32 or bfloat16 within the range becomes the nearest half, in
// one rounding; beyond it the error names the tensor.
func TestHalvesByFormula(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.Float64Range(-70000, 70000).Draw(t, "value")
		if rapid.Bool().Draw(t, "near a tie") { // the middle of two halves, and a hair beside
			h := uint16(rapid.IntRange(0, 0x7bfe).Draw(t, "half"))
			f = (halfValue(h) + halfValue(h+1)) / 2 * (1 + rapid.SampledFrom([]float64{0, 0x1p-52, -0x1p-52, 0x1p-30, -0x1p-30}).Draw(t, "hair"))
		}
		tensor := Tensor{Name: "some.weight", DType: rapid.SampledFrom([]DType{F64, F32, BF16}).Draw(t, "type"), Shape: []int{1}}
		switch bits := math.Float32bits(float32(f)); tensor.DType {
		case F64:
			tensor.Data = binary.LittleEndian.AppendUint64(nil, math.Float64bits(f))
		case F32:
			f, tensor.Data = float64(float32(f)), binary.LittleEndian.AppendUint32(nil, bits)
		case BF16:
			f, tensor.Data = float64(math.Float32frombits(bits&0xffff0000)), binary.LittleEndian.AppendUint16(nil, uint16(bits>>16))
		}
		got, err := tensor.Float16s()
		if math.Abs(f) >= 65520 {
			if err == nil || !strings.Contains(err.Error(), "some.weight") || !strings.Contains(err.Error(), "65504") {
				t.Fatalf("%v: %v, error %v must name the tensor and the limit", f, got, err)
			}
			return
		}
		if err != nil || got[0] != nearestHalf(f) {
			t.Fatalf("%s %v: got %#x, %v, want %#x", tensor.DType, f, got, err, nearestHalf(f))
		}
	})
}

func scaledFile(t *testing.T, factor Tensor) (*File, error) {
	t.Helper()
	var out bytes.Buffer
	if err := Write(&out, []Tensor{
		{Name: "in.scaled_fp8", DType: F8E4M3, Shape: []int{0}},
		{Name: "in.a.weight", DType: F8E4M3, Shape: []int{2}, Data: []byte{0x38, 0xc0}}, // 1, -2
		{Name: "in.b.weight", DType: F8E4M3, Shape: []int{1}, Data: []byte{0x38}},
		f32("in.c.scale_weight", []int{1}, 7), // of no 8-bit weight: a tensor like any
		f32("in.c.weight", []int{1}, 3),
		f32("in.a.scale_input", nil, 5),
		factor,
	}, nil); err != nil {
		t.Fatal(err)
	}
	return Parse("x", out.Bytes())
}

func TestScaledWeights(t *testing.T) {
	f, err := scaledFile(t, f32("in.a.scale_weight", nil, 0.25))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(f.Names(), " "); got != "in.a.weight in.b.weight in.c.scale_weight in.c.weight" {
		t.Errorf("holds %s", got)
	}
	wantNumbers(t, f, "in.a.weight", []int{2}, 0.25, -0.5)
	wantNumbers(t, f, "in.b.weight", []int{1}, 1)
	a, _ := f.Tensor("in.a.weight")
	if halves, err := a.Float16s(); err != nil || HalfToFloat(halves[1]) != -0.5 {
		t.Errorf("got %v, %v", halves, err)
	}
}

func TestScaledWeightsRefused(t *testing.T) {
	for want, factor := range map[string]Tensor{
		"shape [2]":        f32("in.a.scale_weight", []int{2}, 1, 2),
		"must be positive": f32("in.a.weight_scale", []int{1}, 0),
		"is NaN":           f32("in.a.scale_weight", nil, float32(math.NaN())),
		"floating-point":   {Name: "in.a.scale_weight", DType: U8, Data: []byte{1}},
	} {
		if _, err := scaledFile(t, factor); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "in.a.") {
			t.Errorf("got error %v, want one about %q", err, want)
		}
	}
}
