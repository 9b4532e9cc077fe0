// Package goldens helps tests to read golden data: numbers that a reference implementation computed once.
//
// The folder is named by the variable GOLDENS. Without it the repository's own part, testdata/goldens, is used; it has the
// same layout with fewer files. A file missing from the repository's part skips the test that asks for it; a file missing
// from a folder named by GOLDENS fails it.
package goldens

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// Variable names the folder of the full set.
const Variable = "GOLDENS"

// Full reports whether a full set is named by the variable GOLDENS.
func Full() bool { return os.Getenv(Variable) != "" }

// Dir returns the folder of golden data. When it is the repository's own part, it says so in the test's log.
func Dir(tb testing.TB) string {
	tb.Helper()
	if dir := os.Getenv(Variable); dir != "" {
		return absolute(tb, dir)
	}
	tb.Logf("the full golden set was not run: %s is not set, using the repository's own part testdata/goldens", Variable)
	return filepath.Join(Root(tb), "testdata", "goldens")
}

// absolute resolves a relative GOLDENS against the repository root: tests run in their package's folder.
func absolute(tb testing.TB, dir string) string {
	tb.Helper()
	if filepath.IsAbs(dir) {
		return dir
	}
	return filepath.Join(Root(tb), dir)
}

// Root returns the repository root, the nearest folder upwards that holds go.mod.
func Root(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatalf("goldens: %v", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			tb.Fatal("goldens: no go.mod in any folder above the test")
		}
		dir = parent
	}
}

// Path returns the path of a golden file, named by its folder and name ("rng/rng.safetensors"). An absent file skips the
// test when only the repository's part is there, and fails it otherwise. An absolute name is taken as it is.
func Path(tb testing.TB, name string) string {
	tb.Helper()
	path := name
	if !filepath.IsAbs(name) {
		path = filepath.Join(Dir(tb), filepath.FromSlash(name))
	}
	_, err := os.Stat(path)
	if err == nil {
		return path
	}
	if Full() {
		tb.Fatalf("golden file %s: %v", name, err)
	}
	tb.Skipf("golden file %s is not in the repository's own part; set %s to the full set", name, Variable)
	return ""
}

// Model returns the path of a file or folder under the models folder that lies beside the full set, and skips the test
// where there is none ("tiny-shapes/tokenizer").
func Model(tb testing.TB, name string) string {
	tb.Helper()
	if !Full() {
		tb.Skipf("model %s lies beside the full golden set; set %s", name, Variable)
	}
	path := filepath.Join(Dir(tb), "..", "models", filepath.FromSlash(name))
	if _, err := os.Stat(path); err != nil {
		tb.Skipf("model %s is not beside the golden set: %v", name, err)
	}
	return path
}

// Open opens a golden file; it is closed when the test ends.
func Open(tb testing.TB, name string) *os.File {
	tb.Helper()
	file, err := os.Open(Path(tb, name))
	if err != nil {
		tb.Fatalf("golden file %s: %v", name, err)
	}
	tb.Cleanup(func() { file.Close() })
	return file
}

// Bytes reads a whole golden file.
func Bytes(tb testing.TB, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile(Path(tb, name))
	if err != nil {
		tb.Fatalf("golden file %s: %v", name, err)
	}
	return data
}

// JSON decodes a golden JSON file into v, a pointer. Members that v does not name are ignored.
func JSON(tb testing.TB, name string, v any) {
	tb.Helper()
	if err := json.Unmarshal(Bytes(tb, name), v); err != nil {
		tb.Fatalf("golden file %s: %v", name, err)
	}
}

// Tensors reads every tensor of a safetensors file by name.
func Tensors(tb testing.TB, name string) map[string]Tensor {
	tb.Helper()
	tensors, err := parse(Bytes(tb, name))
	if err != nil {
		tb.Fatalf("golden file %s: %v", name, err)
	}
	return tensors
}

// Float is a type of numbers that can be compared.
type Float interface{ ~float32 | ~float64 }

// Near fails the test unless |got - want| <= atol for every element. The message names the greatest difference and its place.
func Near[T Float](tb testing.TB, name string, got, want []T, atol float64) {
	tb.Helper()
	if len(got) != len(want) {
		tb.Errorf("%s: got %d values, want %d", name, len(got), len(want))
		return
	}
	worst, at := Worst(got, want)
	if !(worst <= atol) {
		tb.Errorf("%s: greatest difference %.3g at %d of %d (got %v, want %v), allowed %.3g",
			name, worst, at, len(want), got[at], want[at], atol)
	}
}

// Worst returns the greatest |a - b| and its index. A NaN on one side only counts as infinitely far. Lengths must agree.
func Worst[T Float](a, b []T) (difference float64, at int) {
	for i := range b {
		d := math.Abs(float64(a[i]) - float64(b[i]))
		if a[i] == b[i] || a[i] != a[i] && b[i] != b[i] {
			d = 0
		}
		if math.IsNaN(d) {
			return math.Inf(1), i
		}
		if d > difference {
			difference, at = d, i
		}
	}
	return difference, at
}
