package weights

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// raw is a file with a header as given.
func raw(header string, data ...byte) []byte {
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...), data...)
}

// f32 is a tensor of float32 numbers.
func f32(name string, shape []int, values ...float32) Tensor {
	var data []byte
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	return Tensor{Name: name, DType: F32, Shape: shape, Data: data}
}

func TestParseRefuses(t *testing.T) {
	const a = `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}`
	for _, c := range []struct{ name, header, want string }{
		{"unknown member", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}`, `unknown member "x"`},
		{"no dtype", `{"a":{"shape":[1],"data_offsets":[0,1]}}`, "needs dtype"},
		{"dtype null", `{"a":{"dtype":null,"shape":[1],"data_offsets":[0,1]}}`, "null"},
		{"dtype twice", `{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, "comes twice"},
		{"same key escaped", a + `,"\u0061":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}`, "comes twice"},
		{"tensor not an object", `{"a":[]}`, "expected an object"},
		{"metadata list", `{"__metadata__":[]}`, "expected an object"},
		{"metadata twice", `{"__metadata__":{},"__metadata__":{}}`, "comes twice"},
		{"number in exponent form", `{"a":{"dtype":"U8","shape":[1e0],"data_offsets":[0,1]}}`, "not a whole number"},
		{"nested shape", `{"a":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}}`, "not a number"},
		{"comma at the end", a + `,}`, "JSON"},
		{"second object", a + `}{}`, "after the closing"},
		{"long name", `{"` + strings.Repeat("n", nameLimit+1) + `":{}}`, "limit"},
		{"long junk", `{"a":{"dtype":"` + strings.Repeat("x", 1<<16) + `"}}`, "…"},
	} {
		_, err := Parse("file.safetensors", raw(c.header, 7))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "file.safetensors") {
			t.Errorf("%s: error %v must name the file and contain %q", c.name, err, c.want)
		}
		if err != nil && len(err.Error()) > 300 {
			t.Errorf("%s: error of %d bytes", c.name, len(err.Error()))
		}
	}
}

// A header whose length spells another format's signature is still a header.
func TestParseSignatureAsLength(t *testing.T) {
	data := raw("{}" + strings.Repeat(" ", '<'-2)) // length byte '<'
	if _, err := Parse("x", data); err != nil {
		t.Error(err)
	}
}

func TestWriteParse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shapes := rapid.SliceOfN(rapid.SliceOfN(rapid.IntRange(0, 4), 0, 4), 0, 6).Draw(t, "shapes")
		var tensors []Tensor
		for i, shape := range shapes {
			tensor := Tensor{Name: strings.Repeat("n", i), Shape: shape,
				DType: DType(rapid.IntRange(int(F64), int(Bool)).Draw(t, "dtype"))}
			tensor.Data = rapid.SliceOfN(rapid.Byte(), tensor.Elements()*tensor.DType.Size(), tensor.Elements()*tensor.DType.Size()).Draw(t, "data")
			tensors = append(tensors, tensor)
		}
		metadata := rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "metadata")
		var file bytes.Buffer
		if err := Write(&file, tensors, metadata); err != nil {
			t.Fatal(err)
		}
		f, err := Parse("x", file.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if len(f.Names()) != len(tensors) || !slices.IsSorted(f.Names()) {
			t.Fatalf("names %v of %d tensors", f.Names(), len(tensors))
		}
		for _, want := range tensors {
			got, ok := f.Tensor(want.Name)
			if !ok || got.DType != want.DType || !slices.Equal(got.Shape, want.Shape) || !bytes.Equal(got.Data, want.Data) {
				t.Fatalf("got %v, want %v", got, want)
			}
		}
		for k, v := range metadata {
			if got := f.Metadata()[k]; got != v {
				t.Fatalf("metadata %q: got %q, want %q", k, got, v)
			}
		}
	})
}

func TestWriteRefuses(t *testing.T) {
	one := f32("a", []int{1}, 1)
	for _, c := range []struct {
		name    string
		tensors []Tensor
	}{
		{"same name twice", []Tensor{one, one}},
		{"reserved name", []Tensor{f32(metadataKey, []int{1}, 1)}},
		{"too little data", []Tensor{f32("a", []int{2}, 1)}},
		{"unknown dtype", []Tensor{{Name: "a", Shape: []int{0}}}},
		{"negative dimension", []Tensor{f32("a", []int{-1})}},
		{"product overflows", []Tensor{f32("a", []int{1 << 31, 1 << 31, 1 << 31}, 1)}},
	} {
		var out bytes.Buffer
		if err := Write(&out, c.tensors, nil); err == nil || out.Len() > 0 {
			t.Errorf("%s: error %v, %d bytes written", c.name, err, out.Len())
		}
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.safetensors")
	var file bytes.Buffer
	if err := Write(&file, []Tensor{f32("x", []int{2}, 1, -2)}, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	x, _ := f.Tensor("x")
	got, err := x.Float32s()
	if diff := cmp.Diff([]float32{1, -2}, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	for range 2 {
		if err := f.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if _, ok := f.Tensor("x"); ok {
		t.Error("a closed file still hands out tensors")
	}
	if _, err := Open(dir); err == nil {
		t.Error("opened a folder")
	}
	if _, err := Open(path + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
}

func TestFloat16s(t *testing.T) {
	f64 := binary.LittleEndian.AppendUint64(nil, math.Float64bits(-0.5))
	for _, c := range []struct {
		name   string
		tensor Tensor
		want   []uint16
	}{
		{"float32", f32("t", []int{3}, 1, -2, 65519), []uint16{0x3c00, 0xc000, 0x7bff}},
		{"infinity stays", f32("t", []int{1}, float32(math.Inf(1))), []uint16{0x7c00}},
		{"bfloat16", Tensor{Name: "t", DType: BF16, Shape: []int{1}, Data: []byte{0xc0, 0x3f}}, []uint16{0x3e00}},
		{"float64", Tensor{Name: "t", DType: F64, Shape: []int{}, Data: f64}, []uint16{0xb800}},
		{"float16", Tensor{Name: "t", DType: F16, Shape: []int{1}, Data: []byte{1, 2}}, []uint16{0x0201}},
		{"e5m2", Tensor{Name: "t", DType: F8E5M2, Shape: []int{2}, Data: []byte{0x3c, 0xbc}}, []uint16{0x3c00, 0xbc00}},
		{"e4m3", Tensor{Name: "t", DType: F8E4M3, Shape: []int{2}, Data: []byte{0x38, 0x7e}}, []uint16{0x3c00, 0x5f00}},
	} {
		got, err := c.tensor.Float16s()
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", c.name, err, diff)
		}
	}
}

func TestConversionsRefuse(t *testing.T) {
	big := make([]float32, 3000)
	big[2500] = 65520
	huge := binary.LittleEndian.AppendUint64(nil, math.Float64bits(1e300))
	for _, c := range []struct {
		name   string
		tensor Tensor
		want   string
	}{
		{"beyond float16", f32("layer.w", []int{3000}, big...), "element 2500 is 65520"},
		{"beyond float32", Tensor{Name: "layer.w", DType: F64, Shape: []int{1}, Data: huge}, "element 0 is 1e+300"},
		{"integers", Tensor{Name: "layer.w", DType: I8, Shape: []int{1}, Data: []byte{1}}, "I8"},
		{"data missing", f32("layer.w", []int{2}, 1), "needs 8 bytes"},
	} {
		_, err := c.tensor.Float16s()
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "layer.w") {
			t.Errorf("%s: error %v must name the tensor and contain %q", c.name, err, c.want)
		}
	}
}

func TestCheckFinite(t *testing.T) {
	for _, c := range []struct {
		dtype DType
		bits  []byte // little-endian
		bad   bool
	}{
		{F32, []byte{0, 0, 0x80, 0x7f}, true}, {F32, []byte{0xff, 0xff, 0x7f, 0x7f}, false},
		{F64, []byte{1, 0, 0, 0, 0, 0, 0xf0, 0xff}, true}, {F64, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xef, 0x7f}, false},
		{F16, []byte{0, 0xfc}, true}, {F16, []byte{0xff, 0x7b}, false},
		{BF16, []byte{0x80, 0x7f}, true}, {BF16, []byte{0x7f, 0x7f}, false},
		{F8E4M3, []byte{0xff}, true}, {F8E4M3, []byte{0x7e}, false},
		{F8E5M2, []byte{0x7c}, true}, {F8E5M2, []byte{0x7b}, false},
		{I32, []byte{0, 0, 0x80, 0x7f}, false},
	} {
		zero := make([]byte, len(c.bits))
		var file bytes.Buffer
		tensor := Tensor{Name: "w", DType: c.dtype, Shape: []int{2}, Data: append(zero, c.bits...)}
		if err := Write(&file, []Tensor{tensor}, nil); err != nil {
			t.Fatal(err)
		}
		f, err := Parse("x", file.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		err = CheckFinite(f)
		if c.bad != (err != nil) || c.bad && !strings.Contains(err.Error(), `"w": element 1`) {
			t.Errorf("%s %x: %v", c.dtype, c.bits, err)
		}
	}
}

// What Parse accepts must be whole: each tensor as large as it says, all
// together as large as the file.
func FuzzParse(f *testing.F) {
	f.Add([]byte{})
	f.Add(raw(`{"__metadata__":{"format":"pt"},"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"F16","shape":[],"data_offsets":[2,4]}}`, 1, 2, 3, 4))
	f.Add(raw(`{"a":{"dtype":"F32","shape":[0,18446744073709551615],"data_offsets":[0,0]}}`))
	f.Add(raw(`{"a":{"dtype":"I64","shape":[1],"data_offsets":[8,0]}}`, make([]byte, 8)...))
	f.Add(raw(strings.Repeat(`{"a":`, 200)))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse("x", data)
		if err != nil {
			if file != nil {
				t.Fatal("a file and an error")
			}
			return
		}
		total := 0
		for _, name := range file.Names() {
			tensor, ok := file.Tensor(name)
			if !ok || tensor.check() != nil {
				t.Fatalf("tensor %q: %v", name, tensor.check())
			}
			total += len(tensor.Data)
		}
		if header := binary.LittleEndian.Uint64(data); uint64(total)+8+header != uint64(len(data)) {
			t.Fatalf("%d bytes of tensors and a header of %d in a file of %d", total, header, len(data))
		}
		if err := CheckFinite(file); err != nil && !strings.Contains(err.Error(), "element") {
			t.Fatal(err)
		}
	})
}
