package models

import (
	"errors"
	"path/filepath"
	"testing"
)

// A well-known model is found by each of its names, under whichever of them it lies.
func TestFindByOtherNames(t *testing.T) {
	const weights = "/unet/diffusion_pytorch_model.safetensors"
	first, second := t.TempDir(), t.TempDir()
	write(t, filepath.Join(first, "runwayml/stable-diffusion-v1-5"+weights), "12345")
	write(t, filepath.Join(first, "SDXL-turbo.safetensors"), "12345")
	write(t, filepath.Join(first, "stable-diffusion-2-1"+weights), "12345")
	write(t, filepath.Join(first, "xl.safetensors"), "12345")
	write(t, filepath.Join(second, "turbo.safetensors"), "12345")
	for name, want := range map[string]string{
		"v1-5": "runwayml/stable-diffusion-v1-5", "V1.5": "runwayml/stable-diffusion-v1-5", "1.5": "runwayml/stable-diffusion-v1-5",
		"RunwayML/Stable-Diffusion-v1-5": "runwayml/stable-diffusion-v1-5",
		"v2-1":                           "stable-diffusion-2-1", "stabilityai/stable-diffusion-2-1": "stable-diffusion-2-1",
		"stabilityai/stable-diffusion-xl-base-1.0": "xl", "sdxl": "xl",
		"turbo": "turbo", // the very name goes before others, in whichever folder it is
	} {
		if e, err := NewShelf(first, second).Find(Checkpoint, name); err != nil || e.Name != want {
			t.Errorf("%s: found %q, %v, want %q", name, e.Name, err, want)
		}
	}
	for _, name := range []string{"v1-5-inpaint", "xl-inpaint", "flux-dev", "v1-5 "} {
		if e, err := NewShelf(first, second).Find(Checkpoint, name); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: found %q, %v", name, e.Name, err)
		}
	}
}

// No two models share a name.
func TestVersions(t *testing.T) {
	seen := map[string]bool{}
	for _, names := range versions {
		for _, name := range names {
			if seen[name] || !ValidName(name) {
				t.Errorf("%s: a second time, or no name", name)
			}
			seen[name] = true
		}
	}
}
