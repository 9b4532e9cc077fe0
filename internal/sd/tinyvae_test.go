package sd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"waggle/internal/goldens"
	"waggle/internal/models"
	"waggle/internal/nn"
	"waggle/internal/weights"
)

// taesdFile writes the reference's TAESD; rename gives its tensors other names, and leaves out those of no name.
func taesdFile(t *testing.T, path string, rename func(name string) string) {
	t.Helper()
	plain := filepath.Join(t.TempDir(), "network.safetensors")
	goldens.WriteFormula(t, plain, goldens.ReferenceNetworks(t)["tiny"].Tensors)
	f, err := weights.Open(plain)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var tensors []weights.Tensor
	for _, name := range f.Names() {
		tensor, _ := f.Tensor(name)
		if tensor.Name = rename(name); tensor.Name != "" {
			tensors = append(tensors, tensor)
		}
	}
	slices.SortFunc(tensors, func(a, b weights.Tensor) int { return strings.Compare(a.Name, b.Name) })
	var file bytes.Buffer
	if err := weights.Write(&file, tensors, nil); err != nil {
		t.Fatal(err)
	}
	putFile(t, path, file.Bytes())
}

func putFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// asOriginal is the name of a decoder's tensor in the original's files, in which one module more is counted.
func asOriginal(name string) string {
	rest, ok := strings.CutPrefix(name, "decoder.layers.")
	if !ok {
		return ""
	}
	number, leaf, _ := strings.Cut(rest, ".")
	n, _ := strconv.Atoi(number)
	return fmt.Sprintf("%d.%s", n+1, leaf)
}

// combined has both halves of the original in one file.
func combined(name string) string {
	if original := asOriginal(name); original != "" {
		return "taesd_decoder." + original
	}
	return "taesd_encoder." + strings.TrimPrefix(name, "encoder.layers.")
}

var taesdForms = map[string]func(string) string{
	"diffusers": func(name string) string { return name }, "original": asOriginal, "combined": combined,
}

// tinyReference is a model's folder with the reference's TAESD in place of its VAE.
func tinyReference(t *testing.T, name string) string {
	t.Helper()
	dir := goldens.ReferenceFolder(t, name)
	var config map[string]any
	if err := json.Unmarshal(goldens.ReferenceNetworks(t)["tiny"].Config, &config); err != nil {
		t.Fatal(err)
	}
	config["_class_name"] = "AutoencoderTiny"
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	putFile(t, filepath.Join(dir, "vae", "config.json"), data)
	taesdFile(t, filepath.Join(dir, "vae", "diffusion_pytorch_model.safetensors"), taesdForms["diffusers"])
	return dir
}

// decodesLikeReference compares what a pipeline makes of the reference's latents with what diffusers' AutoencoderTiny does.
func decodesLikeReference(t *testing.T, p *Pipeline, vae string) {
	t.Helper()
	var index struct{ Cases map[string]forwardCase }
	goldens.JSON(t, goldens.Reference(t, "steering/index.json"), &index)
	all := goldens.Tensors(t, goldens.Reference(t, "steering/steering.safetensors"))
	decodesTo(t, p, vae, all["tiny.in.z"], all["tiny.out.decoded"], index.Cases["tiny"].Tensors["out.decoded"].Atol)
}

// decodesTo compares the first picture of latents.
func decodesTo(t *testing.T, p *Pipeline, vae string, z, want goldens.Tensor, atol float64) {
	t.Helper()
	shape := z.Shape
	s := settings{Request: Request{VAE: vae}, channels: shape[1], height: shape[2], width: shape[3]}
	picture, err := p.decode(s, slices.Clone(z.Float32s[:shape[1]*shape[2]*shape[3]]))
	if err != nil {
		t.Fatalf("%s: %v", vae, err)
	}
	pixels := want.Shape[2] * want.Shape[3]
	goldens.Near(t, vae+" decoded", transposed(picture, 1, pixels, want.Shape[1]), want.Float32s[:want.Shape[1]*pixels], atol)
}

// A model whose VAE is an AutoencoderTiny decodes with it; so does SDXL.
func TestGoldenTinyVAE(t *testing.T) {
	for _, name := range []string{"sdxs", "sdxl-turbo"} {
		t.Run(name, func(t *testing.T) {
			m, err := models.Open(tinyReference(t, name))
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			p, err := newPipeline(testGPU(t, testDevice(t), nn.Options{}), m)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			decodesLikeReference(t, p, "")
			i := Inspect(m)
			if strings.Contains(i.Problem, "vae") || !slices.Contains(i.Facts, Fact{"vae", "TAESD", fromConfig}) {
				t.Errorf("inspected as %q %v", i.Problem, i.Facts)
			}
			for _, part := range i.Parts {
				if part.Name == "vae" && part.Missing.Count+part.Misshapen.Count+part.Unexpected.Count > 0 {
					t.Errorf("the VAE is told of as %+v", part)
				}
			}
			if _, err := ExportOf(m); err == nil || !strings.Contains(err.Error(), "TAESD") {
				t.Errorf("exported: %v", err)
			}
		})
	}
}

// A request's decoder may be a TAESD of any layout, from the shelf's folder for VAEs or for TAESDs.
func TestGoldenTinyDecoder(t *testing.T) {
	p, dir := decoderPipeline(t)
	own := drawnWith(t, p, "")
	var first *image.NRGBA
	for form, rename := range taesdForms {
		for _, folder := range []string{"vae", "vae_approx"} {
			name := form + "-" + folder
			taesdFile(t, filepath.Join(dir, folder, name+".safetensors"), rename)
			decodesLikeReference(t, p, name)
			img := drawnWith(t, p, name)
			if first == nil {
				first = img
			}
			if bytes.Equal(img.Pix, own.Pix) || !bytes.Equal(img.Pix, first.Pix) {
				t.Errorf("%s: not the picture of the TAESD", name)
			}
		}
	}
	r := Request{Width: 64, Height: 64, VAE: "original-vae"}
	small, err := p.Plan(r, 1)
	if err != nil {
		t.Fatal(err)
	}
	r.VAE = ""
	large, err := p.Plan(r, 1)
	if err != nil {
		t.Fatal(err)
	}
	last := len(small.Parts) - 1
	if a, b := small.Parts[last], large.Parts[last]; a.Name != "decoder" || a.Weights == 0 || a.Weights == b.Weights {
		t.Errorf("planned %+v, the model's own %+v", a, b)
	}
}

// A TAESD's files, beside its folder without the configuration, decode in a pipeline as they do alone.
func TestGoldenTinyDecoderFiles(t *testing.T) {
	p, dir := decoderPipeline(t)
	for name, file := range map[string]string{"original": "taesd_decoder.safetensors", "diffusers": "taesd/diffusion_pytorch_model.safetensors"} {
		putFile(t, filepath.Join(dir, "vae_approx", name+".safetensors"), goldens.Bytes(t, "models/"+file))
		for _, size := range []string{"taesd.8x16", "taesd.9x6"} {
			f := forwardOf(t, nil, size)
			decodesTo(t, p, name, f.in["in.z"], f.in["out.decoded"], f.c.Tensors["out.decoded"].Atol)
		}
	}
}

// A TAESD within a budget that is too small for it as a whole gives the same picture.
func TestTinyDecoderWithinBudget(t *testing.T) {
	p, dir := decoderPipeline(t)
	taesdFile(t, filepath.Join(dir, "vae_approx", "small.safetensors"), asOriginal)
	s := settings{Request: Request{VAE: "small"}, channels: 4, height: 8, width: 8}
	latent := make([]float32, 4*8*8)
	for i := range latent {
		latent[i] = float32(i%7) - 3
	}
	want, err := p.decode(s, latent)
	if err != nil {
		t.Fatal(err)
	}
	d, err := p.decoder("small")
	if err != nil {
		t.Fatal(err)
	}
	whole, err := p.fit(d.part(8, 8))
	if err != nil {
		t.Fatal(err)
	}
	p.programs.shrink(0)
	p.budget = whole.need.Total() - 1
	if w, err := p.fit(d.part(8, 8)); err != nil || w.saving == (nn.Saving{}) {
		t.Fatalf("fitted as %+v, %v", w.saving, err)
	}
	if got, err := p.decode(s, latent); err != nil || !slices.Equal(got, want) {
		t.Errorf("another picture: %v", err)
	}
}

// Half a TAESD, and shapes that are not built, are refused by what is wrong.
func TestTinyVAERefused(t *testing.T) {
	p, dir := decoderPipeline(t)
	taesdFile(t, filepath.Join(dir, "vae_approx", "encoder.safetensors"), func(name string) string {
		rest, _ := strings.CutPrefix(name, "encoder.layers.")
		if rest == name {
			return ""
		}
		return rest
	})
	if _, err := p.Plan(Request{Width: 64, Height: 64, VAE: "encoder"}, 1); err == nil || !strings.Contains(err.Error(), "no VAE") {
		t.Errorf("an encoder alone: %v", err)
	}
	for config, want := range map[string]string{
		`"act_fn":"gelu"`: "act_fn", `"shift_factor":1`: "shift_factor", `"upsample_fn":"bilinear"`: "upsample_fn",
		`"upsampling_scaling_factor":4`: "upsample_fn", `"decoder_block_out_channels":[64,32,64,64]`: "one width",
		`"decoder_block_out_channels":[]`: "levels", `"num_decoder_blocks":[3]`: "levels", `"num_encoder_blocks":[-1]`: "num_encoder_blocks",
		`"scaling_factor":0`: "scaling_factor", `"out_channels":4`: "in_channels",
	} {
		if _, err := parseVAE([]byte(`{"_class_name":"AutoencoderTiny",` + config + `}`)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
}
