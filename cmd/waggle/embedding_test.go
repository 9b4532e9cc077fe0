package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"waggle/internal/weights"
)

// A picture tells which embeddings its prompts name, and of which files, wherever it is made.
func TestEmbeddingIsTold(t *testing.T) {
	needAdapter(t)
	t.Parallel()
	dir := t.TempDir()
	tensor := weights.Tensor{Name: "emb_params", DType: weights.F32, Shape: []int{2, 96}}
	for i := range tensor.Elements() {
		tensor.Data = binary.LittleEndian.AppendUint32(tensor.Data, math.Float32bits(float32(i%7)/7-0.4))
	}
	var file bytes.Buffer
	if err := weights.Write(&file, []weights.Tensor{tensor}, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "embeddings"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "embeddings", "glade.safetensors")
	if err := os.WriteFile(path, file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	want := fmt.Appendf(nil, "TI hashes: \"glade: %.6x\"", sha256.Sum256(file.Bytes()))
	s := startServer(t, "serve", "--port", "0", "--models", dir)
	_, stream := s.post(star(fields{"width": 64, "height": 64, "steps": 1, "prompt": "a star in a glade"}))
	if png := s.finished(stream); !bytes.Contains(png, want) {
		t.Errorf("the server's picture does not tell %s", want)
	}
	out := filepath.Join(t.TempDir(), "x.png")
	generate := []string{"generate", "--steps", "1", "--size", "64", "--models", dir, "-o", out}
	succeed(t, command(t, append(generate, "a star in a glade, glade")...))
	if png := readFile(t, out); !bytes.Contains(png, want) {
		t.Errorf("this machine's picture does not tell %s", want)
	}
	succeed(t, command(t, append(generate, starPrompt)...))
	if png := readFile(t, out); bytes.Contains(png, []byte("TI hashes")) {
		t.Error("a picture without embeddings tells of some")
	}
}
