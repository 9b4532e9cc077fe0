package models

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"waggle/internal/builtin"
	"waggle/internal/weights"
)

// saved is how the built-in model is written in tests: with the configuration it has.
func saved(t *testing.T, m *Model) Save {
	t.Helper()
	files := map[string][]byte{"scheduler/scheduler_config.json": m.Scheduler, "model_index.json": m.Index,
		"tokenizer/vocab.json": m.Tokenizer.Vocab, "tokenizer/merges.txt": m.Tokenizer.Merges}
	for _, p := range m.parts() {
		files[p.name+"/config.json"] = p.Config
	}
	return Save{Files: files}
}

func openBuiltin(t *testing.T) *Model {
	t.Helper()
	m, err := Open(builtin.Name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func reopened(t *testing.T, path string) *Model {
	t.Helper()
	m, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// Folder to file to folder: the same numbers under the same names, and the last folder's files are the first's.
func TestSaveRoundTrip(t *testing.T) {
	m, dir := openBuiltin(t), t.TempDir()
	file, folder := filepath.Join(dir, "one.safetensors"), filepath.Join(dir, "two")
	s := saved(t, m)
	wrote := 0
	s.Encoding.Wrote = func(n int) { wrote += n }
	if err := m.SaveFile(file, s); err != nil {
		t.Fatal(err)
	}
	if total := m.Bytes(s.Encoding); int64(wrote) != total {
		t.Errorf("told of %d bytes of %d", wrote, total)
	}
	single := reopened(t, file)
	alike(t, m, single)
	if err := single.SaveFolder(folder, saved(t, single)); err != nil {
		t.Fatal(err)
	}
	alike(t, m, reopened(t, folder))
	for _, name := range []string{"unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"} {
		written, err := weights.Open(filepath.Join(folder, name+extension))
		if err != nil {
			t.Fatal(err)
		}
		defer written.Close()
		original, err := builtinWeights(name)
		if err != nil || !slices.Equal(written.Names(), original.Names()) {
			t.Errorf("%s: %v, names differ: %.60q", name, err, written.Names())
		}
	}
	if names := inFolder(t, dir); !slices.Equal(names, []string{"one", "one.safetensors", "two"}) {
		t.Errorf("the folder holds %v", names)
	}
}

// builtinWeights opens a weight file of the built-in model.
func builtinWeights(name string) (*weights.File, error) {
	return folder{fsys: builtin.Files()}.weights(name + extension)
}

func inFolder(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// alike fails unless two models hold the same tensors.
func alike(t *testing.T, a, b *Model) {
	t.Helper()
	parts := b.parts()
	if len(parts) != len(a.parts()) {
		t.Fatalf("%d networks, want %d", len(parts), len(a.parts()))
	}
	for i, p := range a.parts() {
		if !slices.Equal(p.Tensors.Names(), parts[i].Tensors.Names()) {
			t.Fatalf("%s: names differ", p.name)
		}
		for _, name := range p.Tensors.Names() {
			x, _ := p.Tensors.Tensor(name)
			y, _ := parts[i].Tensors.Tensor(name)
			if x.DType != y.DType || !bytes.Equal(x.Data, y.Data) {
				t.Errorf("%s %s differs", p.name, name)
			}
		}
	}
}

func TestSaveTypes(t *testing.T) {
	m, dir := openBuiltin(t), t.TempDir()
	for _, c := range []struct {
		dtype          weights.DType
		matrix, vector string
	}{{weights.F32, "F32", "F32"}, {weights.BF16, "BF16", "BF16"}, {weights.F8E4M3, "F8_E4M3", "F16"}} {
		path := filepath.Join(dir, c.matrix+".safetensors")
		s := saved(t, m)
		s.Encoding.DType = c.dtype
		if err := m.SaveFile(path, s); err != nil {
			t.Fatal(err)
		}
		got := reopened(t, path)
		matrix, _ := got.UNet.Tensors.Tensor("input_blocks.0.0.weight")
		vector, _ := got.UNet.Tensors.Tensor("input_blocks.0.0.bias")
		if matrix.DType.String() != c.matrix || vector.DType.String() != c.vector {
			t.Errorf("%s: got %s and %s, want %s and %s", c.dtype, matrix.DType, vector.DType, c.matrix, c.vector)
		}
	}
}

// Nothing is replaced unasked, and what fails leaves nothing behind and nothing changed.
func TestSaveReplacesWhenTold(t *testing.T) {
	for _, name := range []string{"a.safetensors", "a"} {
		t.Run(name, func(t *testing.T) {
			m, dir := openBuiltin(t), t.TempDir()
			path, s := filepath.Join(dir, name), saved(t, m)
			save := m.SaveFolder
			if strings.HasSuffix(name, extension) {
				save = m.SaveFile
				s.Files = nil
			}
			write(t, filepath.Join(dir, "a/kept"), "kept")
			write(t, filepath.Join(dir, "a.safetensors"), "kept")
			before := inFolder(t, dir)
			if err := save(path, s); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "--force") {
				t.Errorf("error %v must say that it is there", err)
			}
			s.Replace = true
			stop := errors.New("stop")
			s.Encoding.Interrupted = func() error { return stop }
			if err := save(path, s); !errors.Is(err, stop) {
				t.Errorf("got %v", err)
			}
			if !slices.Equal(inFolder(t, dir), before) || string(must(os.ReadFile(filepath.Join(dir, "a/kept")))) != "kept" {
				t.Errorf("left %v", inFolder(t, dir))
			}
			s.Encoding.Interrupted = nil
			if err := save(path, s); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(inFolder(t, dir), before) {
				t.Errorf("left %v", inFolder(t, dir))
			}
		})
	}
}

func must(data []byte, err error) []byte {
	if err != nil {
		return []byte(err.Error())
	}
	return data
}

// An encoder of Stable Diffusion 2 gets back the layer that the original layout has and nobody uses.
func TestUnusedLayer(t *testing.T) {
	src, err := weights.NewSet([]weights.Tensor{
		small("text_model.encoder.layers.0.mlp.fc1.weight", 1, 1), small("text_model.encoder.layers.1.mlp.fc1.weight", 1, 1),
		small("text_model.final_layer_norm.weight", 1),
	})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := withUnusedLayer(src)
	if err != nil || len(whole.Names()) != 4 {
		t.Fatalf("%v: %v", err, whole.Names())
	}
	back, err := withoutLastLayer(whole)
	if err != nil || !slices.Equal(back.Names(), src.Names()) {
		t.Errorf("%v: %v, want %v", err, back.Names(), src.Names())
	}
}
