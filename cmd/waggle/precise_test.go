//go:build unix

package main

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"waggle/internal/builtin"
	"waggle/internal/job"
	"waggle/internal/weights"
)

// largeModel is a folder for --models with one model, large: the built-in one whose UNet has weights beyond float16. A norm
// follows them, so that it draws the same pictures.
func largeModel(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "large"), builtin.Files()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "large", "unet", "diffusion_pytorch_model.safetensors")
	f, err := weights.Parse(path, readFile(t, path))
	if err != nil {
		t.Fatal(err)
	}
	var all []weights.Tensor
	changed := 0
	for _, name := range f.Names() {
		tensor, _ := f.Tensor(name)
		if strings.HasPrefix(name, "mid_block.resnets.0.conv1.") || strings.HasPrefix(name, "mid_block.resnets.0.time_emb_proj.") {
			tensor = multiplied(t, tensor, 1<<24)
			changed++
		}
		all = append(all, tensor)
	}
	if changed != 4 {
		t.Fatalf("%d tensors of the built-in model's UNet were changed, want 4", changed)
	}
	var file bytes.Buffer
	if err := weights.Write(&file, all, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil { // embedded files are copied as they are: not to be written
		t.Fatal(err)
	}
	if err := os.WriteFile(path, file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// multiplied is a tensor times a factor, in float32.
func multiplied(t *testing.T, tensor weights.Tensor, by float32) weights.Tensor {
	t.Helper()
	values, err := tensor.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	tensor.DType, tensor.Data = weights.F32, nil
	for _, v := range values {
		tensor.Data = binary.LittleEndian.AppendUint32(tensor.Data, math.Float32bits(v*by))
	}
	return tensor
}

// TestFloat32IsTold: that a network's weights are beyond float16 is told by the picture, the lines for people and programs,
// the job's record and the log; by a job of another model, nothing.
func TestFloat32IsTold(t *testing.T) {
	needAdapter(t)
	t.Parallel()
	dir := largeModel(t)
	const line = "computed with weights in float32, as float16 is too narrow for them"
	draw := func(args ...string) ([]byte, outcome) {
		c := command(t, append([]string{"generate", starPrompt, "--steps", "2", "--size", "64", "--seed", "3", "-o", "out.png"}, args...)...)
		o := succeed(t, c)
		return readFile(t, filepath.Join(c.Dir, "out.png")), o
	}
	here, said := draw("--models", dir, "--model", "large")
	if text := parametersOf(t, here).String(); !strings.Contains(text, "Float32: unet") || !strings.Contains(said.err, line+": unet\n") {
		t.Errorf("metadata %q, people are told %q", text, said.err)
	}
	s := startServer(t, "serve", "--port", "0", "--models", dir)
	s.ready() // the command line asks what the server has, and does not wait for it
	there, said := draw("--server", s.url, "--model", "large", "--json")
	if text := parametersOf(t, there).String(); !strings.Contains(text, "Float32: unet") || !strings.Contains(said.out, `"float32":["unet"]`) {
		t.Errorf("of a server: metadata %q, programs are told %q", text, said.out)
	}
	if !bytes.Equal(decoded(t, here).Pix, decoded(t, there).Pix) {
		t.Error("the server draws another picture")
	}
	if _, said = draw("--server", s.url, "--model", "large"); !strings.Contains(said.err, line+": unet\n") {
		t.Errorf("of a server: people are told %q", said.err)
	}
	id, stream := s.post(star(fields{"model": "large", "width": 64, "height": 64, "steps": 2}))
	s.finished(stream)
	var report job.Report
	if s.get("/v1/jobs/"+id, &report); !slices.Equal(report.Float32, []string{"unet"}) {
		t.Errorf("the record tells %q", report.Float32)
	}
	if out := succeed(t, s.jobs(t, "show", id)).out; !strings.Contains(out, "float32    unet\n") {
		t.Errorf("jobs show tells %q", out)
	}
	if text := s.log.String(); !strings.Contains(text, line) || !strings.Contains(text, "networks=unet") {
		t.Errorf("the log says %s", clipped(text))
	}
	plain, said := draw("--server", s.url, "--json")
	if text := parametersOf(t, plain).String(); strings.Contains(text, "Float32") || strings.Contains(said.out, "float32") {
		t.Errorf("without need: metadata %q, programs are told %q", text, said.out)
	}
}
