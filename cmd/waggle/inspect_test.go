package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"waggle/internal/builtin"
	"waggle/internal/goldens"
	"waggle/internal/models"
)

var update = flag.Bool("update", false, "rewrite testdata/inspect")

// TestGoldenInspect compares what is said of models with what was approved, for people and for programs.
func TestGoldenInspect(t *testing.T) {
	for name, model := range map[string]string{
		"tiny-shapes": builtin.Name, "sd1": "models/sd1", "sd1-file": "models/sd1.safetensors", "sd2": "models/sd2", "sd2-file": "models/sd2.safetensors",
		"sdxl-file": "models/sdxl.safetensors", "inpaint": "models/sd1-inpaint.safetensors", "pix2pix": "models/sd1-pix2pix.safetensors",
		"sd2-vae": "models/sd2/vae/diffusion_pytorch_model.safetensors", "sd2-unet": "models/sd2/unet/diffusion_pytorch_model.safetensors",
	} {
		t.Run(name, func(t *testing.T) {
			if model != builtin.Name {
				model = goldens.Path(t, model)
			}
			i, err := (&modelsInspectCommand{Model: model}).inspect()
			if err != nil {
				t.Fatal(err)
			}
			i.Path = filepath.Base(i.Path)
			var text bytes.Buffer
			if err := i.write(&text); err != nil {
				t.Fatal(err)
			}
			data, err := json.MarshalIndent(i, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			approve(t, name+".txt", text.Bytes())
			approve(t, name+".json", append(data, '\n'))
		})
	}
}

// approve compares with a file of testdata/inspect, or writes it.
func approve(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join(goldens.Root(t), "cmd/waggle/testdata/inspect", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s: approved and got (-update rewrites it):\n%s", name, diff)
	}
}

// TestInspect: the real program describes the model with its memory on every adapter, takes the owner's word, and fails with
// the reason for what cannot be run.
func TestInspect(t *testing.T) {
	t.Parallel()
	o := finish(t, command(t, "models", "inspect", builtin.Name, "--json", "--prediction", "v", "--zsnr"))
	var i inspection
	if err := json.Unmarshal([]byte(o.out), &i); err != nil || o.code != exitOK {
		t.Fatalf("exit code %d, %v: %s%s", o.code, err, o.out, o.err)
	}
	if len(i.Adapters) == 0 || !i.Adapters[0].Fits || i.Adapters[0].Total <= 0 || i.Adapters[0].Plan == nil {
		t.Errorf("adapters %+v", i.Adapters)
	}
	flagged := 0
	for _, f := range i.Facts {
		if f.Source == "flag" {
			flagged++
		}
	}
	if flagged != 2 {
		t.Errorf("%d facts by flags, want prediction and zero terminal SNR: %+v", flagged, i.Facts)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, builtin.Files()); err != nil {
		t.Fatal(err)
	}
	turbo := filepath.Join(t.TempDir(), "shapes-turbo")
	if err := os.CopyFS(turbo, builtin.Files()); err != nil {
		t.Fatal(err)
	}
	o = finish(t, command(t, "generate", "x", "--plan", "--model", turbo))
	if o.code != exitOK || !strings.Contains(o.err, "distilled: turbo (the model's name, a guess") {
		t.Errorf("a model called turbo: exit code %d, %s", o.code, o.err)
	}
	vae := filepath.Join(dir, "vae", "diffusion_pytorch_model.safetensors")
	o = finish(t, command(t, "models", "inspect", vae))
	if o.code != exitFailed || !strings.Contains(o.out, "vae") || !strings.Contains(o.err, "--vae lends") {
		t.Errorf("a VAE alone: exit code %d, %s%s", o.code, o.out, o.err)
	}
	unet := filepath.Join(dir, "unet", "diffusion_pytorch_model.safetensors")
	o = finish(t, command(t, "generate", "x", "--plan", "--model", unet, "--vae", filepath.Join(dir, "vae"), "--clip", filepath.Join(dir, "text_encoder"), "--size", "64"))
	if o.code != exitFailed || !strings.Contains(o.err, "tokenizer files") {
		t.Errorf("three files without the tokenizer: exit code %d, %s%s", o.code, o.out, o.err)
	}
}

// TestGoldenInspectKin: what goes with models is told too, by path and by name.
func TestGoldenInspectKin(t *testing.T) {
	for file, want := range map[string][]string{
		"lora/sdxl-kohya-ldm.safetensors":   {"lora\n", "made for", "684 tensors", "and 676 more"},
		"embeddings/golden-sd1.pt":          {"embedding\n", "[3 32]"},
		"models/esrgan_x4.pth":              {"upscaler\n", "×4, 2 blocks of 16 channels, 0 tensors"},
		"models/controlnet-sd1.safetensors": {"controlnet", "338 tensors"},
		"models/taesd_decoder.safetensors":  {"taesd"},
	} {
		path := goldens.Path(t, file)
		for where, shelf := range map[string]*models.Shelf{path: models.NewShelf(), strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)): models.NewShelf(filepath.Dir(path))} {
			k, ok, err := inspectKin(shelf, where)
			if !ok || err != nil {
				t.Errorf("%s: %v, %v", where, ok, err)
				continue
			}
			var text bytes.Buffer
			if err := k.write(&text); err != nil {
				t.Fatal(err)
			}
			for _, want := range want {
				if !strings.Contains(text.String(), want) {
					t.Errorf("%s: %q is not in\n%s", where, want, text.String())
				}
			}
		}
	}
	if _, ok, _ := inspectKin(models.NewShelf(), goldens.Path(t, "models/sd1.safetensors")); ok {
		t.Error("a model is taken for something that goes with one")
	}
}
