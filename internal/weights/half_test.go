package weights

import (
	"math"
	"testing"
)

// halfValue is the definition of IEEE 754 binary16, in float64.
func halfValue(h uint16) float64 {
	exponent, mantissa := int(h>>10&31), float64(h&0x3ff)
	sign := 1.0
	if h&0x8000 != 0 {
		sign = -1
	}
	switch {
	case exponent == 31 && mantissa == 0:
		return math.Inf(int(sign))
	case exponent == 31:
		return math.NaN()
	case exponent == 0:
		return math.Copysign(math.Ldexp(mantissa, -24), sign)
	}
	return sign * math.Ldexp(1024+mantissa, exponent-25)
}

func TestHalfAllValues(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		want, got := halfValue(h), HalfToFloat(h)
		if math.IsNaN(want) {
			if back := FloatToHalf(got); got == got || back != h|0x200 {
				t.Fatalf("NaN %#04x: float %v, back %#04x", h, got, back)
			}
			continue
		}
		if math.Float64bits(float64(got)) != math.Float64bits(want) {
			t.Fatalf("HalfToFloat(%#04x) = %v, want %v", h, got, want)
		}
		if back := FloatToHalf(got); back != h {
			t.Fatalf("FloatToHalf(%v) = %#04x, want %#04x", got, back, h)
		}
	}
}

// Between each two neighbours: the middle goes to the even one, a hair to
// either side to the nearer one.
func TestFloatToHalfRounding(t *testing.T) {
	for lower := uint16(0); lower < 0x7c00; lower++ {
		a, b := halfValue(lower), halfValue(lower+1)
		if lower == 0x7bff {
			b = 65536 // where the next value would be
		}
		middle := float32((a + b) / 2) // exact: 12 bits of mantissa
		even := lower + lower&1
		for _, c := range []struct {
			in   float32
			want uint16
		}{
			{middle, even},
			{math.Nextafter32(middle, 0), lower},
			{math.Nextafter32(middle, math.MaxFloat32), lower + 1},
		} {
			if got := FloatToHalf(c.in); got != c.want {
				t.Fatalf("FloatToHalf(%g) = %#04x, want %#04x", c.in, got, c.want)
			}
			if got := FloatToHalf(-c.in); got != c.want|0x8000 {
				t.Fatalf("FloatToHalf(%g) = %#04x, want %#04x", -c.in, got, c.want|0x8000)
			}
		}
	}
}

func TestFloatToHalfExtremes(t *testing.T) {
	for _, c := range []struct {
		name string
		in   float32
		want uint16
	}{
		{"greatest float", math.MaxFloat32, 0x7c00},
		{"65536", 65536, 0x7c00},
		{"infinity", float32(math.Inf(1)), 0x7c00},
		{"minus infinity", float32(math.Inf(-1)), 0xfc00},
		{"smallest float", math.SmallestNonzeroFloat32, 0},
		{"minus smallest", -math.SmallestNonzeroFloat32, 0x8000},
		{"NaN with low payload", math.Float32frombits(0x7f800001), 0x7e00},
	} {
		if got := FloatToHalf(c.in); got != c.want {
			t.Errorf("%s: got %#04x, want %#04x", c.name, got, c.want)
		}
	}
}

func TestFloat8(t *testing.T) {
	for _, c := range []struct {
		bits uint8
		want float64
	}{
		{0x00, 0}, {0x01, 0x1p-9}, {0x07, 7 * 0x1p-9}, {0x08, 0x1p-6}, {0x38, 1},
		{0x3c, 1.5}, {0x7e, 448}, {0xfe, -448}, {0xb8, -1},
	} {
		if got := float64(e4m3ToFloat(c.bits)); got != c.want {
			t.Errorf("e4m3 %#02x = %v, want %v", c.bits, got, c.want)
		}
	}
	if !math.IsNaN(float64(e4m3ToFloat(0x7f))) || !math.IsNaN(float64(e4m3ToFloat(0xff))) {
		t.Error("e4m3 0x7f and 0xff must be NaN")
	}
	if got := e5m2ToFloat(0x7b); got != 57344 {
		t.Errorf("e5m2 0x7b = %v, want 57344", got)
	}
	if !math.IsInf(float64(e5m2ToFloat(0xfc)), -1) {
		t.Error("e5m2 0xfc must be minus infinity")
	}
}

func BenchmarkHalvesToFloats(b *testing.B) {
	src, dst := make([]uint16, 1<<16), make([]float32, 1<<16)
	for i := range src {
		src[i] = uint16(i)
	}
	b.SetBytes(2 << 16)
	for b.Loop() {
		HalvesToFloats(dst, src)
	}
}

func BenchmarkFloatsToHalves(b *testing.B) {
	dst, src := make([]uint16, 1<<16), make([]float32, 1<<16)
	for i := range src {
		src[i] = HalfToFloat(uint16(i))
	}
	b.SetBytes(4 << 16)
	for b.Loop() {
		FloatsToHalves(dst, src)
	}
}
