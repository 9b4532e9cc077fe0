package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"waggle/internal/builtin"
)

// TestConvert takes the built-in model to a file, and that to a folder: all three draw one picture, to the last bit.
func TestConvert(t *testing.T) {
	dir := t.TempDir()
	file, folder := filepath.Join(dir, "one.safetensors"), filepath.Join(dir, "two")
	out := succeed(t, command(t, "convert", builtin.Name, file, "--json"))
	var got converted
	if err := json.Unmarshal([]byte(out.out), &got); err != nil {
		t.Fatalf("%v: %s", err, out.out)
	}
	if want := (converted{Path: file, Form: "file", DType: "keep", Bytes: got.Bytes, Beside: filepath.Join(dir, "one")}); got != want || got.Bytes < 1e6 {
		t.Errorf("got %+v, want %+v", got, want)
	}
	succeed(t, command(t, "convert", file, folder))
	if names := entries(t, dir); !slices.Equal(names, []string{"one", "one.safetensors", "two"}) {
		t.Errorf("the folder holds %q", names)
	}
	draw := func(model string) []byte {
		return decoded(t, generate(t, starPrompt, "--model", model, "--seed", "3", "--steps", "2", "--size", "64x64")).Pix
	}
	want := draw(builtin.Name)
	for _, model := range []string{file, folder} {
		if !bytes.Equal(draw(model), want) {
			t.Errorf("%s draws another picture", filepath.Base(model))
		}
	}
}

func TestConvertRefuses(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	if err := os.MkdirAll(there, 0o755); err != nil {
		t.Fatal(err)
	}
	hostile := filepath.Join(dir, "bad.ckpt")
	if err := os.WriteFile(hostile, []byte("\x80\x02cposix\nsystem\n(U\x04true\x85R."), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name  string
		args  []string
		code  int
		words []string
	}{
		{"there already", []string{builtin.Name, there}, exitFailed, []string{"there", "--force"}},
		{"no model", []string{"none", filepath.Join(dir, "x")}, exitFailed, []string{`"none"`}},
		{"pickle out", []string{builtin.Name, filepath.Join(dir, "x.ckpt")}, exitFailed, []string{".ckpt", "safetensors"}},
		{"hostile in", []string{hostile, filepath.Join(dir, "x")}, exitFailed, []string{"bad", "names posix.system"}},
		{"type", []string{builtin.Name, filepath.Join(dir, "x"), "--dtype", "int8"}, exitUsage, []string{"--dtype", "fp8"}},
		{"no such folder", []string{builtin.Name, filepath.Join(dir, "no/x")}, exitFailed, []string{filepath.Join(dir, "no")}},
	} {
		t.Run(row.name, func(t *testing.T) {
			fail(t, command(t, append([]string{"convert"}, row.args...)...), row.code, row.words...)
		})
	}
	for _, name := range entries(t, dir) {
		if strings.HasPrefix(name, "x") || strings.HasPrefix(name, ".") {
			t.Errorf("left %s", name)
		}
	}
}

// TestConvertTold: what flags say of a model is written down.
func TestConvertTold(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "v")
	succeed(t, command(t, "convert", builtin.Name, folder, "--prediction", "v", "--zsnr"))
	config := string(readFile(t, filepath.Join(folder, "scheduler", "scheduler_config.json")))
	for _, part := range []string{`"prediction_type": "v_prediction"`, `"rescale_betas_zero_snr": true`} {
		if !strings.Contains(config, part) {
			t.Errorf("no %s in %s", part, config)
		}
	}
}
