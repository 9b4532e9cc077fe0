package preview

import (
	"bytes"
	"testing"
)

// grey makes an RGBA picture of one grey a pixel.
func grey(values ...byte) []byte {
	var b []byte
	for _, v := range values {
		b = append(b, v, v, v, 255)
	}
	return b
}

func TestEnlargeKeepsPlainColour(t *testing.T) {
	src := bytes.Repeat([]byte{200, 30, 7, 255}, 3*2)
	var e Enlarger
	got := e.Enlarge(nil, src, 3, 2, 8)
	if want := bytes.Repeat([]byte{200, 30, 7, 255}, 24*16); !bytes.Equal(got, want) {
		t.Errorf("a plain picture changed: %d bytes, first %v", len(got), got[:8])
	}
}

// With an odd scale the middle sample of a pixel is the pixel itself; scale 1 changes nothing.
func TestEnlargeGoesThroughThePixels(t *testing.T) {
	src := grey(0, 255, 40, 90, 10, 200, 5, 77, 128)
	var e Enlarger
	if got := e.Enlarge(nil, src, 3, 3, 1); !bytes.Equal(got, src) {
		t.Errorf("scale 1: got %v", got)
	}
	got := e.Enlarge(nil, src, 3, 3, 5)
	for y := range 3 {
		for x := range 3 {
			at := 4 * ((5*y+2)*15 + 5*x + 2)
			if got[at] != src[4*(3*y+x)] {
				t.Errorf("pixel %d,%d is %d, want %d", x, y, got[at], src[4*(3*y+x)])
			}
		}
	}
}

// A ramp stays a ramp away from the edges, in both directions.
func TestEnlargeKeepsStraightLines(t *testing.T) {
	ramp := grey(0, 32, 64, 96, 128, 160, 192, 224)
	var e Enlarger
	across := e.Enlarge(nil, ramp, 8, 1, 4)
	down := e.Enlarge(nil, ramp, 1, 8, 4)
	for i := 8; i < 24; i++ {
		want := 8*i + 4 - 16 // 32 a pixel is 8 a sample, measured from the first pixel's centre
		for name, got := range map[string]byte{"across": across[4*i], "down": down[4*4*i]} {
			if int(got) < want-1 || int(got) > want+1 {
				t.Errorf("%s: sample %d is %d, want %d", name, i, got, want)
			}
		}
	}
}

// An edge gets no halo: nothing is brighter or darker than its two sides.
func TestEnlargeDrawsNoHalo(t *testing.T) {
	src := grey(50, 50, 200, 200, 50, 50, 200, 200, 50, 50, 200, 200)
	var e Enlarger
	for i, v := range e.Enlarge(nil, src, 4, 3, 8) {
		if i%4 != 3 && (v < 50 || v > 200) {
			t.Fatalf("byte %d is %d, outside 50…200", i, v)
		}
	}
}

func TestScale(t *testing.T) {
	for side, want := range map[int]int{16: 8, 32: 8, 64: 4, 96: 2, 128: 2, 129: 1, 256: 1} {
		if got := Scale(side, 8); got != want {
			t.Errorf("Scale(%d, 8) = %d, want %d", side, got, want)
		}
	}
}

func BenchmarkEnlarge(b *testing.B) {
	src, e := make([]byte, 64*64*4), Enlarger{}
	var dst []byte
	for b.Loop() {
		dst = e.Enlarge(dst, src, 64, 64, 4)
	}
}
