//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waggle/internal/picture"
)

// replayed draws from a picture's file, with more flags, and returns the new one and what was said.
func replayed(t *testing.T, file []byte, args ...string) (again []byte, said string) {
	t.Helper()
	needAdapter(t)
	c := command(t, append([]string{"generate", "--from", "old.png", "-o", "out.png"}, args...)...)
	if err := os.WriteFile(filepath.Join(c.Dir, "old.png"), file, 0o600); err != nil {
		t.Fatal(err)
	}
	said = succeed(t, c).err
	return readFile(t, filepath.Join(c.Dir, "out.png")), said
}

// TestGenerateFrom: a picture's file is enough to make it again to the last bit.
func TestGenerateFrom(t *testing.T) {
	for name, args := range map[string][]string{
		"defaults":   {starPrompt, "--seed", "5"},
		"stochastic": {starPrompt, "--sampler", "DPM++ 2M SDE Karras", "--steps", "3", "--dialect", "comfy", "--eta", "0.5", "--negative", "blue, (ring)"},
		"adaptive":   {starPrompt, "--sampler", "dpm_adaptive", "--steps", "4", "--dialect", "a1111-cpu", "--guidance", "2.5"},
		"sigmas":     {starPrompt, "--sampler", "lms", "--sigmas", "14,3.3,1,0.25,0", "--size", "64x96"},
		"diffusers":  {starPrompt, "--sampler", "uni_pc", "--dialect", "diffusers", "--steps", "5", "--guidance", "1"},
		"eta 0":      {starPrompt, "--sampler", "Euler a", "--eta", "0", "--steps", "2"},
		"clip skip":  {starPrompt, "--clip-skip", "2", "--steps", "2"},
		"CFG++":      {starPrompt, "--sampler", "euler_ancestral_cfg_pp", "--steps", "3", "--guidance", "1.2", "--precision", "f32"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := generate(t, args...)
			if again, said := replayed(t, first); !bytes.Equal(first, again) {
				t.Errorf("another picture, of %+v; it was said: %s", parametersOf(t, again), said)
			}
		})
	}
}

// TestGenerateFromWhatTheModelWasTold: LoRAs, and what flags say of a model, are kept too.
func TestGenerateFromWhatTheModelWasTold(t *testing.T) {
	t.Parallel()
	shelf := loraShelf(t)
	first := generate(t, starPrompt+" <lora:glow:0.5>", "--lora", "ink:0.7", "--models", shelf, "--prediction", "v", "--no-zsnr", "--steps", "2",
		"--cfg-rescale", "0.4", "--sampler", "ddim")
	if again, said := replayed(t, first, "--models", shelf); !bytes.Equal(first, again) {
		t.Errorf("another picture, of %+v; it was said: %s", parametersOf(t, again), said)
	}
}

// TestGenerateFromMember: one of a batch is made alone.
func TestGenerateFromMember(t *testing.T) {
	needAdapter(t)
	t.Parallel()
	c := command(t, "generate", starPrompt, "-o", "b.png", "--batch", "3", "--steps", "2", "--sampler", "euler_a", "--seed", "18446744073709551614")
	succeed(t, c)
	third := readFile(t, filepath.Join(c.Dir, "b-3.png"))
	if again, _ := replayed(t, third); !bytes.Equal(third, again) {
		t.Error("the third of a batch is another picture alone")
	}
}

// TestGenerateFromAndFlags: flags go before the file, and what was taken is said.
func TestGenerateFromAndFlags(t *testing.T) {
	t.Parallel()
	args := []string{starPrompt, "--steps", "2", "--sampler", "heun"}
	first := generate(t, append(args, "--seed", "1", "--dialect", "comfy")...)
	want := generate(t, append(args, "--seed", "2", "--dialect", "a1111")...)
	got, said := replayed(t, first, "--seed", "2", "--dialect", "a1111")
	if !bytes.Equal(want, got) {
		t.Error("another picture than the same flags make alone")
	}
	for _, part := range []string{"as Waggle does", "sampler Heun", "steps 2", "size 128×128", "seed 1"} {
		if !strings.Contains(said, part) {
			t.Errorf("%q is not said in %q", part, said)
		}
	}
}

// TestGenerateFromOthers: A1111's and ComfyUI's files, with what cannot be followed.
func TestGenerateFromOthers(t *testing.T) {
	t.Parallel()
	plain := []string{starPrompt, "--negative", "blue", "--steps", "3", "--seed", "12", "--guidance", "4", "--size", "64x64"}
	carrier := decoded(t, generate(t, plain...))
	for name, test := range map[string]struct {
		text picture.Text
		args []string
		said []string
	}{
		"A1111": {picture.Text{Keyword: "parameters", Value: starPrompt + "\nNegative prompt: blue\nSteps: 3, Sampler: DPM++ 2M, Schedule type: Automatic, " +
			"CFG scale: 4, Seed: 12, Size: 64x64, Model hash: 0123456789, Model: dream, RNG: CPU, ENSD: 31337, Version: v1.10.1"},
			[]string{"--sampler", "DPM++ 2M Karras", "--dialect", "a1111-cpu"},
			[]string{"as A1111 does", "its model dream is not here", "not followed: ENSD: 31337"}},
		"ComfyUI": {picture.Text{Keyword: "prompt", Value: `{"3":{"class_type":"KSampler","inputs":{"seed":12,"steps":3,"cfg":4,"sampler_name":"euler_ancestral",
			"scheduler":"karras","denoise":0.7,"model":["4",0],"positive":["6",0],"negative":["7",0],"latent_image":["5",0]}},
			"4":{"class_type":"CheckpointLoaderSimple","inputs":{"ckpt_name":"tiny-shapes.safetensors"}},"5":{"class_type":"EmptyLatentImage","inputs":{"width":64,"height":64}},
			"6":{"class_type":"CLIPTextEncode","inputs":{"text":"` + starPrompt + `"}},"7":{"class_type":"CLIPTextEncode","inputs":{"text":"blue"}}}`},
			[]string{"--sampler", "euler_ancestral", "--schedule", "karras", "--dialect", "comfy"},
			[]string{"as ComfyUI does", "denoise 0.7 is not followed"}},
	} {
		t.Run(name, func(t *testing.T) {
			file, err := picture.EncodePNG(carrier, test.text)
			if err != nil {
				t.Fatal(err)
			}
			got, said := replayed(t, file)
			if want := generate(t, append(plain, test.args...)...); !bytes.Equal(want, got) {
				t.Errorf("another picture than the same flags make: %+v", parametersOf(t, got))
			}
			for _, part := range test.said {
				if !strings.Contains(said, part) {
					t.Errorf("%q is not said in %q", part, said)
				}
			}
		})
	}
}

func TestGenerateFromRefuses(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		"no picture": "--from", "\x89PNG\r\n\x1a\n": "does not say how the picture was made",
	} {
		c := command(t, "generate", "--from", "old.png")
		if err := os.WriteFile(filepath.Join(c.Dir, "old.png"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		fail(t, c, exitFailed, want, "old.png")
	}
}

// TestGenerateFromForPrograms: with --json, what was taken is the first line.
func TestGenerateFromForPrograms(t *testing.T) {
	t.Parallel()
	c := command(t, "generate", "--from", "old.png", "-o", "out.png", "--json", "--seed", "2")
	if err := os.WriteFile(filepath.Join(c.Dir, "old.png"), generate(t, starPrompt, "--steps", "2", "--seed", "7", "--size", "64"), 0o600); err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(succeed(t, c).out, "\n")
	var got fromLine
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	if got.Type != "from" || got.Prompt != starPrompt || got.Seed != 7 || got.Steps != 2 || got.Width != 64 || got.Source != "Waggle" {
		t.Errorf("%+v", got)
	}
}
