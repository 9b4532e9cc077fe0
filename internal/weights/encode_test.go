package weights

import (
	"bytes"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Every number of a type that has fewer bits comes back through a wider one.
func TestEncodeIsExactWhereItCan(t *testing.T) {
	var all []byte
	for b := range 256 {
		if b&0x7f != 0x7f {
			all = append(all, byte(b))
		}
	}
	narrow := Tensor{Name: "a", DType: F8E4M3, Shape: []int{2, 127}, Data: all}
	for _, wide := range []DType{F16, BF16, F32} {
		back := through(t, through(t, narrow, wide), F8E4M3)
		if back.DType != F8E4M3 || !bytes.Equal(back.Data, narrow.Data) {
			t.Errorf("by %s: got %v", wide, back.Data)
		}
	}
}

// through writes a tensor as a type and reads it.
func through(t testing.TB, tensor Tensor, d DType) Tensor {
	t.Helper()
	var out bytes.Buffer
	wrote := 0
	if err := Encode(&out, []Tensor{tensor}, Encoding{DType: d, Wrote: func(n int) { wrote += n }}); err != nil {
		t.Fatal(err)
	}
	f, err := Parse("x", out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	back, _ := f.Tensor(tensor.Name)
	if wrote != len(back.Data) {
		t.Errorf("told of %d bytes of %d", wrote, len(back.Data))
	}
	return back
}

// Any float32 becomes the nearest number of 8 bits or of bfloat16; ties go to
// the even one.
func TestEncodeRoundsToNearest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := float32(rapid.Float64Range(-448, 448).Draw(t, "value"))
		if rapid.Bool().Draw(t, "small") {
			f *= 0x1p-10
		}
		for _, c := range []struct {
			name  string
			code  uint16
			value func(uint16) float32
		}{
			{"e4m3", uint16(floatToE4M3(f)), func(b uint16) float32 { return e4m3ToFloat(uint8(b)) }},
			{"bfloat16", floatToBfloat(f), bfloatToFloat},
		} {
			got := math.Abs(float64(c.value(c.code)) - float64(f))
			for _, other := range []uint16{c.code - 1, c.code + 1} {
				d := math.Abs(float64(c.value(other)) - float64(f))
				if d < got || d == got && c.code&1 == 1 && c.value(other) != c.value(c.code) {
					t.Fatalf("%s of %v: %#x (%v), nearer or even is %#x (%v)", c.name, f, c.code, c.value(c.code), other, c.value(other))
				}
			}
		}
	})
}

func TestFloatToE4M3Extremes(t *testing.T) {
	for f, want := range map[float32]uint8{
		448: 0x7e, 464: 0x7e, 464.1: 0x7f, -480: 0xff, 1e30: 0x7f, 0: 0, 0x1p-9: 1, 0x1p-10: 0, 0x1.8p-10: 1, -0x1p-6: 0x88,
		float32(math.Inf(1)): 0x7f, 0x1.fp-7: 8, 1: 0x38,
	} {
		if got := floatToE4M3(f); got != want {
			t.Errorf("%v: got %#x, want %#x", f, got, want)
		}
	}
	if got := floatToE4M3(float32(math.NaN())); got&0x7f != 0x7f {
		t.Errorf("NaN: got %#x", got)
	}
}

func TestEncodeKeepsVectorsAndIntegers(t *testing.T) {
	if v := through(t, f32("norm", []int{2}, 1, 2), F8E4M3); v.DType != F16 {
		t.Errorf("a vector became %s", v.DType)
	}
	ids := Tensor{Name: "ids", DType: I64, Shape: []int{1}, Data: []byte{7, 0, 0, 0, 0, 0, 0, 0}}
	if got := through(t, ids, F16); got.DType != I64 || !bytes.Equal(got.Data, ids.Data) {
		t.Errorf("integers became %s %v", got.DType, got.Data)
	}
	scaled := Tensor{Name: "w", DType: F8E4M3, Shape: []int{1, 1}, Data: []byte{0x38}, Scale: 0.5}
	if got, err := through(t, scaled, 0).Float32s(); err != nil || !slices.Equal(got, []float32{0.5}) {
		t.Errorf("scaled weights became %v, %v", got, err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	for want, d := range map[string]DType{"fit F16": F16, "fit F8_E4M3": F8E4M3} {
		err := Encode(io.Discard, []Tensor{f32("layer.w", []int{1, 2}, 1, 1e5)}, Encoding{DType: d})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `"layer.w": element 1`) {
			t.Errorf("%s: error %v", d, err)
		}
	}
}

// OpenCLIP's names lead to canonical ones and back.
func TestOpenCLIPText(t *testing.T) {
	var stored []Tensor
	for _, name := range []string{"attn.in_proj_weight", "attn.in_proj_bias", "attn.out_proj.weight", "ln_1.bias", "ln_2.weight", "mlp.c_fc.weight", "mlp.c_proj.bias"} {
		shape := []int{6, 2}
		if strings.HasSuffix(name, "bias") {
			shape = []int{6}
		}
		stored = append(stored, counted("transformer.resblocks.3."+name, shape...))
	}
	stored = append(stored, counted("positional_embedding", 4, 2), counted("token_embedding.weight", 5, 2),
		counted("ln_final.weight", 2), counted("text_projection", 2, 3))
	want, err := NewSet(stored)
	if err != nil {
		t.Fatal(err)
	}
	canonical, err := CanonicalText(want)
	if err != nil {
		t.Fatal(err)
	}
	back, err := OpenCLIPText(canonical)
	if err != nil {
		t.Fatal(err)
	}
	got, err := NewSet(back)
	if err != nil || !slices.Equal(got.Names(), want.Names()) {
		t.Fatalf("%v, names %v, want %v", err, got.Names(), want.Names())
	}
	for _, name := range want.Names() {
		a, _ := got.Tensor(name)
		b, _ := want.Tensor(name)
		if !slices.Equal(a.Shape, b.Shape) || !bytes.Equal(a.Data, b.Data) {
			t.Errorf("%s: %v %v, want %v %v", name, a.Shape, a.Data, b.Shape, b.Data)
		}
	}
}

// counted is a tensor of bytes 0, 1, 2 …
func counted(name string, shape ...int) Tensor {
	t := Tensor{Name: name, DType: U8, Shape: shape}
	for i := range t.Elements() {
		t.Data = append(t.Data, byte(i))
	}
	return t
}
