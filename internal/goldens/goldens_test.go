package goldens

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func file(header string, data ...byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func TestTensors(t *testing.T) {
	header := `{"__metadata__":{"a":"b"},"f16":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},` +
		`"bf16":{"dtype":"BF16","shape":[1],"data_offsets":[4,6]},"i32":{"dtype":"I32","shape":[1,1],"data_offsets":[6,10]},` +
		`"u8":{"dtype":"U8","shape":[1],"data_offsets":[10,11]}}`
	path := filepath.Join(t.TempDir(), "x.safetensors")
	data := file(header, 0x00, 0xc0, 0x01, 0x00, 0x80, 0x3f, 0xff, 0xff, 0xff, 0xff, 200)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	got := Tensors(t, path)
	Near(t, "f16", got["f16"].Float32s, []float32{-2, 1.0 / (1 << 24)}, 0)
	Near(t, "bf16", got["bf16"].Float32s, []float32{1}, 0)
	if len(got) != 4 || got["i32"].Int64s[0] != -1 || got["u8"].Int64s[0] != 200 {
		t.Errorf("got %v", got)
	}
}

func TestTensorsRefusesDamage(t *testing.T) {
	for name, data := range map[string][]byte{
		"short":   {1, 2},
		"header":  file(`{`),
		"length":  binary.LittleEndian.AppendUint64(nil, math.MaxUint64),
		"offsets": file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`),
		"shape":   file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, 0, 0, 0, 0),
		"type":    file(`{"a":{"dtype":"F8","shape":[1],"data_offsets":[0,1]}}`, 0),
	} {
		if _, err := parse(data); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestWorst(t *testing.T) {
	nan := float32(math.NaN())
	if d, at := Worst([]float32{1, 2, nan}, []float32{1, 4, nan}); d != 2 || at != 1 {
		t.Errorf("got %v at %d, want 2 at 1", d, at)
	}
	if d, at := Worst([]float32{1, nan}, []float32{1, 0}); !math.IsInf(d, 1) || at != 1 {
		t.Errorf("got %v at %d, want +Inf at 1", d, at)
	}
}

func TestDirFindsTheRepository(t *testing.T) {
	t.Setenv(Variable, "")
	if dir := Dir(t); !strings.HasSuffix(filepath.ToSlash(dir), "testdata/goldens") {
		t.Errorf("got %s", dir)
	}
	t.Setenv(Variable, "some/where")
	if got, want := Dir(t), filepath.Join(Root(t), "some", "where"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
