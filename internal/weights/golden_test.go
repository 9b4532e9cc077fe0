package weights_test

import (
	"bytes"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"waggle/internal/goldens"
	"waggle/internal/weights"
)

// verdicts is the index of the damaged and hostile files.
type verdicts struct {
	Files map[string]struct {
		Expected string `json:"expected"` // accept, refuse or either
		Why      string `json:"why"`
	} `json:"files"`
}

// Every file must reach its verdict without taking memory it does not need. Of
// the esrgan files the fault is in the tensors: they are compared with what the
// undamaged network holds.
func TestGoldenBadFiles(t *testing.T) {
	var index verdicts
	goldens.JSON(t, "bad/index.json", &index)
	if len(index.Files) < 70 {
		t.Fatalf("the index lists %d files, too few to be whole", len(index.Files))
	}
	esrgan := wantsOf(t, goldens.Path(t, "models/esrgan_tiny.safetensors"))
	for name, verdict := range index.Files {
		t.Run(name, func(t *testing.T) {
			path := goldens.Path(t, "bad/"+name)
			var wants []weights.Want
			if strings.HasPrefix(name, "esrgan_tiny") {
				wants = esrgan
			}
			var err error
			if bytes := allocated(func() { err = loadAll(path, wants) }); bytes > 4<<20 {
				t.Errorf("took %d bytes of memory", bytes)
			}
			judge(t, name, verdict.Expected, verdict.Why, err)
		})
	}
	for _, dir := range []string{".", os.TempDir()} {
		if _, err := os.Stat(filepath.Join(dir, "GOLDEN_PICKLE_EXECUTED")); err == nil {
			t.Errorf("a pickle was run: it left a file in %s", dir)
		}
	}
}

// judge compares an outcome with the verdict of the index.
func judge(t *testing.T, name, expected, why string, err error) {
	t.Helper()
	switch {
	case expected == "accept" && err != nil:
		t.Errorf("refused, must be accepted (%s): %v", why, err)
	case expected == "refuse" && err == nil:
		t.Errorf("accepted, must be refused: %s", why)
	case err != nil && !strings.Contains(err.Error(), name):
		t.Errorf("error does not name the file: %v", err)
	case err != nil && (len(err.Error()) > 600 || strings.Contains(err.Error(), "\n")):
		t.Errorf("error of %d bytes is no line for a person: %v", len(err.Error()), err)
	}
	if err != nil {
		t.Log(err)
	}
}

// loadAll does what loading a model does: open, compare with the network, look
// for numbers that are none.
func loadAll(path string, wants []weights.Want) error {
	f, err := weights.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := weights.Check(f, wants); err != nil {
		return &weights.FormatError{File: path, Reason: err.Error()}
	}
	if err := weights.CheckFinite(f); err != nil {
		return &weights.FormatError{File: path, Reason: err.Error()}
	}
	return nil
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func wantsOf(t *testing.T, path string) []weights.Want {
	t.Helper()
	f, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var wants []weights.Want
	for _, name := range f.Names() {
		tensor, _ := f.Tensor(name)
		wants = append(wants, weights.Want{Name: name, Shape: tensor.Shape})
	}
	return wants
}

// The refusals a person is most likely to meet must say what to do.
func TestGoldenBadFilesSayWhy(t *testing.T) {
	for name, want := range map[string]string{
		"git-lfs-pointer.safetensors":         "git lfs pull",
		"not-a-model.ckpt":                    "web page",
		"empty.safetensors":                   "empty",
		"truncated-body.safetensors":          `tensor "b"`,
		"duplicate-keys.safetensors":          `"a" comes twice`,
		"dtype-unknown.safetensors":           `"F24"`,
		"esrgan_tiny-missing-key.safetensors": "missing: body.0.rdb2.conv3.weight",
		"esrgan_tiny-nan.safetensors":         "NaN",
		"esrgan_tiny-inf.safetensors":         "Inf",
		"esrgan_tiny-integers.safetensors":    "floating-point",
		"malicious-system.ckpt":               "names posix.system",
		"malicious-eval.ckpt":                 "eval",
		"malicious-popen.ckpt":                "names commands.Popen",
		"malicious-import.ckpt":               "names importlib.import_module",
		"malicious-legacy.ckpt":               "names posix.system",
		"malicious-proto4.ckpt":               "names posix.system",
		"malicious-raw.pt":                    "names posix.system",
		"missing-storage.ckpt":                `storage "0" is not in the file`,
		"short-storage.ckpt":                  `storage "0" has 4 bytes, its tensors say 12`,
		"truncated.ckpt":                      "cut or damaged",
		"zip-bomb.ckpt":                       "compressed",
		"pickle-truncated.ckpt":               "unexpected EOF",
		"pickle-huge-string.ckpt":             "needs 4611686018427387904 bytes",
		"pickle-memo-huge.ckpt":               "memo index 2147483647",
	} {
		err := loadAll(goldens.Path(t, "bad/"+name), wantsOf(t, goldens.Path(t, "models/esrgan_tiny.safetensors")))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v must contain %q", name, err, want)
		}
	}
}

// What the index says of the pickles that are in order, number by number.
func TestGoldenTorchValues(t *testing.T) {
	x := make([]float32, 24)
	transposed := make([]float32, 24)
	for i := range x {
		x[i] = float32(i)
		transposed[i%6*4+i/6] = float32(i)
	}
	plain := map[string]goldens.Tensor{
		"first.weight": {DType: "F16", Shape: []int{2, 3}, Float32s: []float32{0, 1, 2, 3, 4, 5}},
		"first.bias":   {DType: "F32", Shape: []int{2}, Float32s: []float32{0, 0}},
	}
	for file, want := range map[string]map[string]goldens.Tensor{
		"ok-plain.ckpt":  plain,
		"ok-legacy.ckpt": plain,
		"ok-views.ckpt": {
			"view":   {DType: "F32", Shape: []int{2, 3}, Float32s: []float32{6, 8, 10, 12, 14, 16}},
			"t":      {DType: "F32", Shape: []int{6, 4}, Float32s: transposed},
			"shared": {DType: "F32", Shape: []int{4, 6}, Float32s: x},
		},
	} {
		f, err := weights.Open(goldens.Path(t, "bad/"+file))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if len(f.Names()) != len(want) {
			t.Errorf("%s: holds %v", file, f.Names())
		}
		for name, w := range want {
			tensor, _ := f.Tensor(name)
			got, err := tensor.Float32s()
			if err != nil || tensor.DType.String() != w.DType || !slices.Equal(tensor.Shape, w.Shape) || !slices.Equal(got, w.Float32s) {
				t.Errorf("%s %s: got %s %v %v, %v, want %s %v %v", file, name, tensor.DType, tensor.Shape, got, err, w.DType, w.Shape, w.Float32s)
			}
		}
	}
}

// A checkpoint holds what the safetensors file of the same model holds, bit for bit.
func TestGoldenTorchEqualsSafetensors(t *testing.T) {
	for torch, c := range map[string]struct{ file, prefix string }{
		"sd2.ckpt":             {"sd2.safetensors", ""},
		"sd2-text-legacy.ckpt": {"sd2.safetensors", "cond_stage_model.model."},
		"esrgan_x4.pth":        {"esrgan_x4.safetensors", ""},
	} {
		t.Run(torch, func(t *testing.T) {
			got, err := weights.Open(goldens.Path(t, "models/"+torch))
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			file, err := weights.Open(goldens.Path(t, "models/"+c.file))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			want, err := weights.Rename(file, func(name string) (string, bool) { return name, strings.HasPrefix(name, c.prefix) })
			if err != nil {
				t.Fatal(err)
			}
			same(t, got, want)
		})
	}
}

// same fails unless both sources hold the same tensors.
func same(t *testing.T, got, want weights.Source) {
	t.Helper()
	if !slices.Equal(got.Names(), want.Names()) {
		t.Fatalf("names differ: %d %.3q, want %d %.3q", len(got.Names()), got.Names(), len(want.Names()), want.Names())
	}
	for _, name := range want.Names() {
		a, _ := got.Tensor(name)
		b, _ := want.Tensor(name)
		if a.DType != b.DType || !slices.Equal(a.Shape, b.Shape) || !bytes.Equal(a.Data, b.Data) {
			t.Errorf("%s: %s %v, want %s %v, or the numbers differ", name, a.DType, a.Shape, b.DType, b.Shape)
		}
	}
}

// Values that are no tensors: what a textual inversion says of itself.
func TestGoldenTorchMetadata(t *testing.T) {
	f, err := weights.Open(goldens.Path(t, "embeddings/golden-sd1.pt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := map[string]string{"name": "golden-sd1", "step": "500", "string_to_token.*": "265"}
	if !maps.Equal(f.Metadata(), want) {
		t.Errorf("metadata %v, want %v", f.Metadata(), want)
	}
	vectors, ok := f.Tensor("string_to_param.*")
	if !ok || !slices.Equal(vectors.Shape, []int{3, 32}) {
		t.Errorf("holds %v, want vectors of 3 by 32", f.Names())
	}
}

func TestGoldenDTypes(t *testing.T) {
	f, err := weights.Open(goldens.Path(t, "bad/ok-dtypes.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, want := range map[string][]float32{"f64": {1.5}, "bf16": {1.5, -2.5}, "f16": {1.5, -2}} {
		tensor, ok := f.Tensor(name)
		if !ok {
			t.Fatalf("no tensor %s among %v", name, f.Names())
		}
		got, err := tensor.Float32s()
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, want)
		}
	}
	for _, name := range []string{"i64", "u8", "bool", "i32"} {
		tensor, _ := f.Tensor(name)
		if _, err := tensor.Float32s(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: integers as weights: error %v must name the tensor", name, err)
		}
	}
	u8, _ := f.Tensor("u8")
	if !slices.Equal(u8.Data, []byte{1, 2, 3}) {
		t.Errorf("u8: got %v", u8.Data)
	}
}

// What is unusual in the files to be accepted is read as it is meant.
func TestGoldenUnusualFiles(t *testing.T) {
	for file, want := range map[string]map[string][]int{
		"ok-plain.safetensors":         {"a": {2, 2}, "b": {2, 2}},
		"ok-padded-header.safetensors": {"a": {2, 2}, "b": {2, 2}},
		"ok-metadata.safetensors":      {"a": {2, 2}, "b": {2, 2}},
		"ok-unordered.safetensors":     {"a": {2, 2}, "b": {2, 2}},
		"ok-no-tensors.safetensors":    {},
	} {
		f, err := weights.Open(goldens.Path(t, "bad/"+file))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		got := map[string][]int{}
		for _, name := range f.Names() {
			tensor, _ := f.Tensor(name)
			got[name] = tensor.Shape
		}
		if !maps.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%s: holds %v, want %v", file, got, want)
		}
		if file == "ok-metadata.safetensors" && len(f.Metadata()) == 0 {
			t.Errorf("%s: no metadata", file)
		}
	}
}

// The same network in three types: float16 values are exact in float32 and
// rounded to 8 bits of mantissa in bfloat16.
func TestGoldenSameInEveryType(t *testing.T) {
	half, err := weights.Open(goldens.Path(t, "models/esrgan_tiny.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	for file, relative := range map[string]float64{"esrgan_tiny-f32": 0, "esrgan_tiny-bf16": 0x1p-8} {
		other, err := weights.Open(goldens.Path(t, "bad/"+file+".safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		for _, name := range half.Names() {
			a, _ := half.Tensor(name)
			b, _ := other.Tensor(name)
			x, errX := a.Float32s()
			y, errY := b.Float32s()
			if errX != nil || errY != nil || len(x) != len(y) {
				t.Fatalf("%s %s: %v %v, %d and %d elements", file, name, errX, errY, len(x), len(y))
			}
			for i := range x {
				if d := math.Abs(float64(x[i] - y[i])); d > relative*math.Abs(float64(x[i])) {
					t.Fatalf("%s %s[%d]: %v and %v", file, name, i, x[i], y[i])
				}
			}
		}
	}
}
