package models_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"waggle/internal/goldens"
	"waggle/internal/models"
	"waggle/internal/weights"
)

func open(t *testing.T, nameOrPath string, dirs ...string) *models.Model {
	t.Helper()
	m, err := models.Open(nameOrPath, dirs...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// parts lists a model's networks by name; nil for one it has not.
func parts(m *models.Model) map[string]*models.Part {
	return map[string]*models.Part{"unet": m.UNet, "vae": m.VAE, "text_encoder": m.Text, "text_encoder_2": m.Text2}
}

// The same numbers under the same names, whichever form they come in.
func TestGoldenFolderEqualsSingleFile(t *testing.T) {
	for name, want := range map[string]int{"sd1": 684 + 240 + 36, "sd2": 684 + 244 + 52, "sdxl": 620 + 244 + 52 + 53} {
		t.Run(name, func(t *testing.T) {
			folder := open(t, goldens.Path(t, "models/"+name))
			file := open(t, goldens.Path(t, "models/"+name+".safetensors"))
			if got := compare(t, folder, file); got != want {
				t.Errorf("compared %d tensors, want %d", got, want)
			}
		})
	}
	t.Run("tiny-shapes", func(t *testing.T) {
		file := open(t, goldens.Model(t, "tiny-shapes-ldm/tiny-shapes.safetensors"))
		compare(t, open(t, goldens.Model(t, "tiny-shapes")), file)
	})
}

// compare fails unless both models hold the same networks, and reports how many
// tensors it looked at.
func compare(t *testing.T, folder, file *models.Model) (total int) {
	t.Helper()
	b := parts(file)
	for part, a := range parts(folder) {
		if (a == nil) != (b[part] == nil) {
			t.Fatalf("%s: in the folder %v, in the file %v", part, a != nil, b[part] != nil)
		}
		if a == nil {
			continue
		}
		if diff := cmp.Diff(a.Tensors.Names(), b[part].Tensors.Names()); diff != "" {
			t.Fatalf("%s: names differ (folder, file): %s", part, diff)
		}
		for _, name := range a.Tensors.Names() {
			x, _ := a.Tensors.Tensor(name)
			y, _ := b[part].Tensors.Tensor(name)
			if x.Name != name || y.Name != name || x.DType != y.DType || !bytes.Equal(x.Data, y.Data) {
				t.Errorf("%s %s: %s and %s differ", part, name, x.DType, y.DType)
			}
			if !slices.Equal(squeezed(x), squeezed(y)) {
				t.Errorf("%s %s: shapes %v and %v", part, name, x.Shape, y.Shape)
			}
			total++
		}
	}
	return total
}

// squeezed is a shape without the two trailing ones of a 1×1 convolution: what
// is linear in one form is a convolution in the other.
func squeezed(t weights.Tensor) []int {
	if n := len(t.Shape); n == 4 && t.Shape[2] == 1 && t.Shape[3] == 1 {
		return t.Shape[:2]
	}
	return t.Shape
}

// A torch checkpoint is the same model as the safetensors file.
func TestGoldenCheckpointEqualsSafetensors(t *testing.T) {
	a, b := open(t, goldens.Path(t, "models/sd2.ckpt")), open(t, goldens.Path(t, "models/sd2.safetensors"))
	if got, want := compare(t, a, b), 684+244+52; got != want {
		t.Errorf("compared %d tensors, want %d", got, want)
	}
	if !bytes.Equal(a.UNet.Config, b.UNet.Config) || a.UNet.Config == nil {
		t.Error("the checkpoint is without the configuration beside it")
	}
}

func TestGoldenFolder(t *testing.T) {
	m := open(t, goldens.Path(t, "models/sd2"))
	if m.Name != "sd2" || m.Index == nil || m.Scheduler == nil || m.Text2 != nil || m.Tokenizer.Vocab != nil {
		t.Errorf("name %q, index %d bytes, scheduler %d bytes, second encoder %v, vocabulary %d bytes",
			m.Name, len(m.Index), len(m.Scheduler), m.Text2, len(m.Tokenizer.Vocab))
	}
	for part, config := range map[string][]byte{"sample_size": m.UNet.Config, "scaling_factor": m.VAE.Config, "vocab_size": m.Text.Config} {
		if !strings.Contains(string(config), part) {
			t.Errorf("config without %s: %.60s", part, config)
		}
	}
	if err := m.CheckFinite(); err != nil {
		t.Error(err)
	}
}

// A single file takes its configuration from the folder beside it.
func TestGoldenSingleFileTakesConfigs(t *testing.T) {
	for _, name := range []string{"sd2", "sd1-inpaint"} {
		t.Run(name, func(t *testing.T) {
			m := open(t, goldens.Path(t, "models/"+name+".safetensors"))
			for part, p := range parts(m) {
				if p != nil && !bytes.Contains(p.Config, []byte("{")) {
					t.Errorf("%s has no configuration", part)
				}
			}
			if m.Name != name || m.Scheduler == nil {
				t.Errorf("name %q, scheduler %q", m.Name, m.Scheduler)
			}
		})
	}
}

// Networks in files of their own make the same model as together, the text encoders in either order.
func TestGoldenJoin(t *testing.T) {
	for name, encoders := range map[string][]string{"sd1": {"text_encoder"}, "sd2": {"text_encoder"}, "sdxl": {"text_encoder_2", "text_encoder"}} {
		t.Run(name, func(t *testing.T) {
			folder := goldens.Path(t, "models/"+name)
			with := models.With{VAE: filepath.Join(folder, "vae")}
			for _, e := range encoders {
				with.Clips = append(with.Clips, filepath.Join(folder, e, "model.safetensors"))
			}
			m, err := models.NewShelf().OpenWith(filepath.Join(folder, "unet", "diffusion_pytorch_model.safetensors"), with)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			whole := open(t, folder)
			compare(t, whole, m)
			for part, p := range parts(whole) {
				if joined := parts(m)[part]; p != nil && !bytes.Equal(p.Config, joined.Config) {
					t.Errorf("%s has another configuration: %.60q", part, joined.Config)
				}
			}
		})
	}
}

// One file with the names of diffusers, whatever the prefixes, is the same model as the folder, without its configuration.
func TestGoldenDiffusersNamesInOneFile(t *testing.T) {
	for _, name := range []string{"sd1", "sd2", "sdxl"} {
		t.Run(name, func(t *testing.T) {
			folder := goldens.Path(t, "models/"+name)
			var all []weights.Tensor
			for part, prefix := range map[string]string{"unet": "", "vae": "vae.", "text_encoder": "te.", "text_encoder_2": "text_encoder_2."} {
				found, err := filepath.Glob(filepath.Join(folder, part, "*.safetensors"))
				if err != nil {
					t.Fatal(err)
				}
				for _, path := range found {
					file, err := weights.Open(path)
					if err != nil {
						t.Fatal(err)
					}
					defer file.Close()
					for _, key := range file.Names() {
						tensor, _ := file.Tensor(key)
						tensor.Name = prefix + key
						all = append(all, tensor)
					}
				}
			}
			path := filepath.Join(t.TempDir(), "one.safetensors")
			var data bytes.Buffer
			if err := weights.Write(&data, all, nil); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, data.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			m := open(t, path)
			if m.Rest.Unexpected != nil {
				t.Errorf("unexpected: %v", m.Rest.Unexpected)
			}
			compare(t, open(t, folder), m)
		})
	}
}

func TestGoldenCount(t *testing.T) {
	for _, name := range []string{"sd1", "sd2.safetensors", "sdxl.safetensors"} {
		for _, part := range models.Count(open(t, goldens.Path(t, "models/"+name))) {
			if part.DTypes["F16"] != part.Tensors || part.Bytes != 2*part.Parameters {
				t.Errorf("%s: %s: %d tensors, %v, %d bytes for %d parameters", name, part.Name, part.Tensors, part.DTypes, part.Bytes, part.Parameters)
			}
		}
	}
}

// Of the golden models both forms are found by name, and configuration alone is
// not taken for a model.
func TestGoldenList(t *testing.T) {
	dir := filepath.Dir(goldens.Path(t, "models/sd2.safetensors"))
	forms := map[string]models.Form{}
	shelf := models.NewShelf(dir)
	for _, e := range shelf.List(models.Checkpoint) {
		forms[e.Name] = e.Form
		if e.Bytes <= 0 {
			t.Errorf("%s has %d bytes", e.Name, e.Bytes)
		}
		if found, err := shelf.Find(models.Checkpoint, e.Name); err != nil || found != e {
			t.Errorf("listed %+v, found %+v, %v", e, found, err)
		}
	}
	want := map[string]models.Form{"tiny-shapes": models.Builtin, "sd2": models.Folder, "sd2.safetensors": models.SingleFile}
	if goldens.Full() {
		want["sd1-inpaint"] = models.SingleFile
	}
	for name, form := range want {
		if forms[name] != form {
			t.Errorf("%s: got %q, want %q", name, forms[name], form)
		}
	}
}

// A file that is safetensors but no model says what it holds instead.
func TestGoldenOtherNetworks(t *testing.T) {
	_, err := models.Open(goldens.Path(t, "models/esrgan_tiny.safetensors"))
	if err == nil || !strings.Contains(err.Error(), "holds no UNet") || !strings.Contains(err.Error(), "body.0.rdb1") {
		t.Errorf("error %v must say what the file holds", err)
	}
}

// Whatever a file holds, opening it as a model ends in one line that names it:
// the undamaged ones of the set are no models either.
func TestGoldenBadFilesAreNoModels(t *testing.T) {
	var index struct {
		Files map[string]any `json:"files"`
	}
	goldens.JSON(t, "bad/index.json", &index)
	for name := range index.Files {
		m, err := models.Open(goldens.Path(t, "bad/"+name))
		if err == nil {
			m.Close()
			t.Errorf("%s: opened", name)
			continue
		}
		short := strings.TrimSuffix(name, filepath.Ext(name))
		if !errors.Is(err, models.ErrInvalid) || !strings.Contains(err.Error(), short) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error is not one line of ErrInvalid that names the file: %v", name, err)
		}
	}
}

// Every golden model that is written in the other layout and read again has the tensors it had.
func TestGoldenSave(t *testing.T) {
	for _, name := range []string{"sd1", "sd2.ckpt", "sd2", "sdxl", "sd1-inpaint"} {
		t.Run(name, func(t *testing.T) {
			path := name
			if name == "sd1-inpaint" || name == "sd1" {
				path += ".safetensors"
			}
			m := open(t, goldens.Path(t, "models/"+path))
			files := map[string][]byte{}
			for part, p := range parts(m) {
				if p != nil {
					files[part+"/config.json"] = p.Config
				}
			}
			dir := t.TempDir()
			file, folder := filepath.Join(dir, "a.safetensors"), filepath.Join(dir, "b")
			if err := m.SaveFile(file, models.Save{Files: files, OpenCLIP: strings.HasPrefix(name, "sd2")}); err != nil {
				t.Fatal(err)
			}
			compare(t, m, open(t, file))
			if err := m.SaveFolder(folder, models.Save{Files: files}); err != nil {
				t.Fatal(err)
			}
			compare(t, open(t, folder), m)
		})
	}
}
