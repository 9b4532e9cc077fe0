package models

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"waggle/internal/goldens"
	"waggle/internal/weights"
)

// TestGoldenESRGAN reads upscalers by both spellings of their names, and refuses those that are damaged, by the tensor's name.
func TestGoldenESRGAN(t *testing.T) {
	for file, want := range map[string]ESRGAN{
		"esrgan_tiny.safetensors":   {Features: 8, Growth: 4, Blocks: 1, Scale: 4},
		"esrgan_x4.safetensors":     {Features: 16, Growth: 8, Blocks: 2, Scale: 4},
		"esrgan_x4_old.safetensors": {Features: 16, Growth: 8, Blocks: 2, Scale: 4},
		"esrgan_x4.pth":             {Features: 16, Growth: 8, Blocks: 2, Scale: 4},
		"realesrgan_x2.safetensors": {Features: 16, Growth: 8, Blocks: 2, Scale: 2},
	} {
		got, err := readESRGAN(t, goldens.Path(t, filepath.Join("models", file)))
		if err != nil || got.Features != want.Features || got.Growth != want.Growth || got.Blocks != want.Blocks || got.Scale != want.Scale || len(got.Unexpected) > 0 {
			t.Errorf("%s: %+v, %v", file, got, err)
		}
	}
	for file, word := range map[string]string{
		"f32": "", "bf16": "", "extra-key": "", "missing-key": "body.0.rdb2.conv3.weight is missing", "wrong-shape": "has shape", "transposed": "conv_first.weight",
		"nan": "NaN", "inf": "Inf", "integers": "floating-point",
	} {
		got, err := readESRGAN(t, goldens.Path(t, "bad/esrgan_tiny-"+file+".safetensors"))
		if word == "" && err != nil || word != "" && (err == nil || !strings.Contains(err.Error(), word)) {
			t.Errorf("%s: %v, want %q", file, err, word)
		}
		if file == "extra-key" && len(got.Unexpected) != 1 {
			t.Errorf("unexpected: %v", got.Unexpected)
		}
	}
}

func readESRGAN(t *testing.T, path string) (ESRGAN, error) {
	t.Helper()
	file, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return ReadESRGAN(file)
}

// TestESRGANOfNoSize refuses files that are far from an upscaler.
func TestESRGANOfNoSize(t *testing.T) {
	for name, shape := range map[string][]int{"conv_first.weight": {8, 3, 3, 3}, "conv_last.bias": {3}, "conv_first.bias": {}} {
		n := 1
		for _, d := range shape {
			n *= d
		}
		set, err := weights.NewSet([]weights.Tensor{{Name: name, DType: weights.F32, Shape: shape, Data: slices.Repeat([]byte{0}, 4*n)}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ReadESRGAN(set); err == nil {
			t.Errorf("%s alone is taken for an upscaler", name)
		}
	}
}
