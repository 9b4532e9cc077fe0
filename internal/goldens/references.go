package goldens

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// Reference returns the path of a file of testdata/references, which scripts/references makes; the other functions take it
// as the name of a golden file.
func Reference(tb testing.TB, name string) string {
	tb.Helper()
	return filepath.Join(Root(tb), "testdata", "references", filepath.FromSlash(name))
}

// ReferenceModel is a small model of a published family: what is needed to write it down.
type ReferenceModel struct {
	Scheduler json.RawMessage          // scheduler_config.json
	Parts     map[string]ReferencePart // by folder: unet, vae, text_encoder, text_encoder_2
}

// ReferencePart is a network of a ReferenceModel. Its weights are those of [Formula].
type ReferencePart struct {
	Config  json.RawMessage
	Tensors map[string][]int // shapes
}

// ReferenceModels reads all models.
func ReferenceModels(tb testing.TB) map[string]ReferenceModel {
	tb.Helper()
	return unzipped[ReferenceModel](tb, "models.json.gz")
}

// ReferenceNetworks reads the networks beside UNets, by the names of their cases.
func ReferenceNetworks(tb testing.TB) map[string]ReferencePart {
	tb.Helper()
	return unzipped[ReferencePart](tb, "steering/networks.json.gz")
}

func unzipped[T any](tb testing.TB, name string) (all map[string]T) {
	tb.Helper()
	r, err := gzip.NewReader(bytes.NewReader(Bytes(tb, Reference(tb, name))))
	if err == nil {
		err = json.NewDecoder(r).Decode(&all)
	}
	if err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	return all
}

// ReferenceFolder writes a reference model as a diffusers folder, which lasts as long as the test.
func ReferenceFolder(tb testing.TB, name string) string {
	tb.Helper()
	m, ok := ReferenceModels(tb)[name]
	if !ok {
		tb.Fatalf("no reference model %q", name)
	}
	folder := filepath.Join(tb.TempDir(), name)
	write(tb, filepath.Join(folder, "scheduler", "scheduler_config.json"), m.Scheduler)
	for part, p := range m.Parts {
		write(tb, filepath.Join(folder, part, "config.json"), p.Config)
		WriteFormula(tb, filepath.Join(folder, part, map[string]string{"unet": "diffusion_pytorch_model.safetensors",
			"vae": "diffusion_pytorch_model.safetensors", "text_encoder": "model.safetensors", "text_encoder_2": "model.safetensors"}[part]), p.Tensors)
	}
	return folder
}

func write(tb testing.TB, path string, data []byte) {
	tb.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		tb.Fatal(err)
	}
}
