package weights

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// torchFixture opens one of the files that testdata/torch/make.py made.
func torchFixture(t *testing.T, name string) *File {
	t.Helper()
	f, err := Open(filepath.Join("testdata", "torch", name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// Every form that torch.save has, every type, and the nestings that programs use.
func TestTorchForms(t *testing.T) {
	for name, prefixes := range map[string][]string{
		"protocol2.pt": {""}, "protocol3.pt": {""}, "protocol4.pt": {""}, "protocol5.pt": {""},
		"protocol2-legacy.pt": {""}, "protocol3-legacy.pt": {""}, "protocol4-legacy.pt": {""}, "protocol5-legacy.pt": {""},
		"float64.pt": {""}, "float16.pt": {""}, "bfloat16.pt": {""}, "float8_e4m3fn.pt": {""}, "float8_e5m2.pt": {""},
		"module.pt": {""}, "parameters.pt": {""}, "lightning.ckpt": {""}, "hypernetwork.pt": {"768.0.", "768.1."},
	} {
		t.Run(name, func(t *testing.T) {
			f := torchFixture(t, name)
			if len(f.Names()) != 2*len(prefixes) {
				t.Errorf("holds %v", f.Names())
			}
			for _, prefix := range prefixes {
				wantNumbers(t, f, prefix+"weight", []int{2, 3}, 0, 1, 2, 3, 4, 5)
				wantNumbers(t, f, prefix+"bias", []int{2}, -1, 0.5)
			}
		})
	}
}

func wantNumbers(t *testing.T, f *File, name string, shape []int, want ...float32) {
	t.Helper()
	tensor, ok := f.Tensor(name)
	got, err := tensor.Float32s()
	if !ok || err != nil || !slices.Equal(tensor.Shape, shape) || !slices.Equal(got, want) {
		t.Errorf("%s: got %v %v, %v, want %v %v", name, tensor.Shape, got, err, shape, want)
	}
}

func TestTorchDTypes(t *testing.T) {
	for name, want := range map[string]DType{
		"float64.pt": F64, "protocol2.pt": F32, "float16.pt": F16, "bfloat16.pt": BF16, "float8_e4m3fn.pt": F8E4M3, "float8_e5m2.pt": F8E5M2,
	} {
		if tensor, _ := torchFixture(t, name).Tensor("bias"); tensor.DType != want {
			t.Errorf("%s: got %s, want %s", name, tensor.DType, want)
		}
	}
}

// Numbers that lie in another order than a tensor's are put in order once.
func TestTorchChannelsLast(t *testing.T) {
	f := torchFixture(t, "channels-last.pt")
	var want []float32
	for i := range 2 * 3 * 4 * 5 {
		want = append(want, float32(i))
	}
	wantNumbers(t, f, "x", []int{2, 3, 4, 5}, want...)
	a, _ := f.Tensor("x")
	b, _ := f.Tensor("x")
	if &a.Data[0] != &b.Data[0] {
		t.Error("copied again")
	}
	c, _ := torchFixture(t, "protocol2.pt").Tensor("weight")
	if cap(c.Data) != len(c.Data) {
		t.Error("a tensor must end where its data does")
	}
}

func TestTorchNestings(t *testing.T) {
	inversion := torchFixture(t, "parameter-dict.pt")
	wantNumbers(t, inversion, "string_to_param.*", []int{2, 3}, 0, 1, 2, 3, 4, 5)
	got := torchFixture(t, "lightning.ckpt").Metadata()
	for key, want := range map[string]string{"epoch": "1", "global_step": "470000", "pytorch-lightning_version": "1.4.2"} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
	if got := torchFixture(t, "hypernetwork.pt").Metadata(); !maps.Equal(got, map[string]string{"name": "net"}) {
		t.Errorf("metadata %v", got)
	}
}

func TestTorchRefuses(t *testing.T) {
	zip := read(t, "protocol2.pt")
	legacy := read(t, "protocol2-legacy.pt")
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"a module", read(t, "whole-module.pt"), "names torch.nn.modules.linear.Linear"},
		{"zip cut", zip[:len(zip)-30], "cut or damaged"},
		{"zip cut early", zip[:200], "cut or damaged"},
		{"another class", resealed(t, zip, "QuickStorage", "FloatStorage"), "names torch.QuickStorage"},
		{"checksum", bytes.Replace(zip, []byte("weight"), []byte("height"), 1), "checksum"},
		{"entry renamed", bytes.Replace(zip, []byte("data/1"), []byte("data/7"), 1), "cut or damaged"},
		{"storage renamed", bytes.ReplaceAll(zip, []byte("data/1"), []byte("data/7")), `storage "1" is not in the file`},
		{"big-endian", bytes.Replace(zip, []byte("little"), []byte("big   "), 1), "big-endian"},
		{"compressed", methods(zip, 8), "compressed"},
		{"no description", bytes.ReplaceAll(zip, []byte("data.pkl"), []byte("info.pkl")), "needs one data.pkl"},
		{"legacy cut", legacy[:len(legacy)-1], "fetch it again"},
		{"legacy cut early", legacy[:200], "unexpected EOF"},
		{"legacy magic", bytes.Replace(legacy, []byte("\x6c\xfc"), []byte("\x6c\xfd"), 1), "not one that torch.save wrote"},
		{"legacy protocol", bytes.Replace(legacy, []byte("M\xe9\x03"), []byte("M\xea\x03"), 1), "protocol 1002"},
		{"legacy order", bytes.Replace(legacy, []byte("\x88X"), []byte("\x89X"), 1), "big-endian"},
		{"shape", bytes.Replace(legacy, []byte("K\x02K\x03\x86"), []byte("K\x02K\x04\x86"), 1), "needs 7 elements, its storage has 6"},
		{"offset", bytes.Replace(legacy, []byte("QK\x00K\x02"), []byte("QK\x01K\x02"), 1), "needs 7 elements"},
		{"stride", bytes.Replace(legacy, []byte("K\x03K\x01\x86"), []byte("J\xff\xff\xff\x7fK\x01\x86"), 1), "its storage has 6"},
		{"no tensors", []byte("PK\x03\x04"), "cut or damaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("x.ckpt", c.data)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "x.ckpt: ") {
				t.Errorf("got error %v, want one about %q", err, c.want)
			}
		})
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "torch", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// methods sets the compression method of every entry in an archive's directory.
func methods(archive []byte, method uint16) []byte {
	out := slices.Clone(archive)
	for i := range out {
		if bytes.HasPrefix(out[i:], []byte("PK\x01\x02")) {
			binary.LittleEndian.PutUint16(out[i+10:], method)
		}
	}
	return out
}

// A view can claim any size over a storage of one number; copies are bounded by the file.
func TestTorchExpandedView(t *testing.T) {
	f := torchFixture(t, "expanded.pt")
	if tensor, _ := f.Tensor("x"); len(tensor.Data) != 4000 {
		t.Errorf("got %d bytes", len(tensor.Data))
	}
	data := read(t, "expanded.pt")
	huge := resealed(t, data, "J\xff\xff\xff\x7f\x85", "M\xe8\x03\x85")
	var err error
	if n := allocations(func() { _, err = Parse("x", huge) }); n > 1<<20 {
		t.Errorf("took %d bytes", n)
	}
	if err == nil || !strings.Contains(err.Error(), "repeat more numbers") {
		t.Errorf("got error %v", err)
	}
}

// resealed replaces text in data.pkl of an archive and makes a new archive of it.
func resealed(t *testing.T, data []byte, text, replaces string) []byte {
	t.Helper()
	archive, err := readArchive(data)
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string][]byte{}
	for name, entry := range archive {
		entries[name] = bytes.Replace(entry.data, []byte(replaces), []byte(text), 1)
	}
	return stored(t, entries)
}

func allocations(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// FuzzTorch gives whatever bytes to the reader of zip archives and of the old
// form, and looks at all that it accepts.
func FuzzTorch(f *testing.F) {
	for _, dir := range []string{"testdata/torch", "../../testdata/goldens/bad"} {
		files, err := os.ReadDir(dir)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(filepath.Join(dir, file.Name()))
			if ext := filepath.Ext(file.Name()); err == nil && (ext == ".pt" || ext == ".ckpt") && len(data) < 4096 {
				f.Add(data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, parse := range []func(string, []byte) (*File, error){parseTorchZip, parseTorchLegacy} {
			if file, err := parse("x", data); err == nil {
				checkAccepted(t, file, len(data))
			}
		}
	})
}

// FuzzTorchPickle gives whatever description to three sound storages: no
// checksum stands before it.
func FuzzTorchPickle(f *testing.F) {
	files, err := filepath.Glob("testdata/torch/*t")
	if err != nil || len(files) == 0 {
		f.Fatal(err)
	}
	for _, file := range files {
		archive, err := readArchive(read(f, filepath.Base(file)))
		if err != nil {
			continue // the old form
		}
		for name, entry := range archive {
			if filepath.Base(name) == "data.pkl" {
				f.Add(entry.data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &torchCheckpoint{storages: map[string]*torchStorage{}}
		root, err := c.readZip(map[string]archived{
			"x/data.pkl": {data, crc32.ChecksumIEEE(data)},
			"x/data/0":   {data: make([]byte, 24)}, "x/data/1": {data: make([]byte, 8)}, "x/data/2": {data: make([]byte, 480)},
		})
		if err != nil {
			return
		}
		if file, err := torchFile("x", root, len(data)); err == nil {
			checkAccepted(t, file, len(data))
		}
	})
}

// checkAccepted fails where a tensor does not hold what it claims, or the copies
// exceed their limit.
func checkAccepted(t *testing.T, file *File, length int) {
	total := 0
	for _, name := range file.Names() {
		tensor, ok := file.Tensor(name)
		if err := tensor.check(); !ok || err != nil {
			t.Fatalf("accepted %q: %v", name, err)
		}
		if file.lazy[name] != nil {
			total += len(tensor.Data)
		}
	}
	if total > length+torchCopiesSlack {
		t.Fatalf("%d bytes of copies from %d", total, length)
	}
}
