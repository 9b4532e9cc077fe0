package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waggle/internal/builtin"
)

// A job's VAE is found on the server's shelf by name, and the picture tells it; a name that is not there is refused.
func TestServeVAE(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, file := range map[string]string{"diffusion_pytorch_model.safetensors": "plain.safetensors", "config.json": "plain.json"} {
		data, err := fs.ReadFile(builtin.Files(), "vae/"+name)
		if err == nil {
			err = os.MkdirAll(filepath.Join(dir, "VAE"), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "VAE", file), data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s := startServer(t, "serve", "--port", "0", "--models", dir)
	_, stream := s.post(star(fields{"width": 64, "height": 64, "steps": 1, "vae": "Plain"}))
	if png := s.finished(stream); !bytes.Contains(png, []byte("VAE: Plain")) {
		t.Error("the picture does not tell its VAE")
	}
	_, stream = s.post(star(fields{"width": 64, "height": 64, "steps": 1, "vae": "fine"}))
	list, _ := s.follow(stream, nil)
	if last := list[len(list)-1]; last.Type != "error" || !strings.Contains(last.Message, `no VAE "fine"; known: plain`) {
		t.Errorf("got %+v", last)
	}
	out := filepath.Join(t.TempDir(), "x.png")
	generate := []string{"generate", starPrompt, "--steps", "1", "--size", "64", "-o", out}
	succeed(t, command(t, append(generate, "--server", s.url, "--vae", "plain")...))
	if png, err := os.ReadFile(out); err != nil || !bytes.Contains(png, []byte("VAE: plain")) {
		t.Errorf("by the command line: %v, and no VAE is told", err)
	}
	fail(t, command(t, append(generate, "--server", s.url, "--clip", "x")...), exitFailed, "--clip")
	succeed(t, command(t, append(generate, "--models", dir, "--vae", "plain")...))
	if png, err := os.ReadFile(out); err != nil || !bytes.Contains(png, []byte("VAE: plain")) {
		t.Errorf("on this machine: %v, and no VAE is told", err)
	}
}
