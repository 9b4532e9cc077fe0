package sd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waggle/internal/builtin"
	"waggle/internal/models"
	"waggle/internal/weights"
)

// builtinVAE are the tensors of the built-in model's VAE, as stored.
func builtinVAE(t *testing.T) []weights.Tensor {
	t.Helper()
	data, err := fs.ReadFile(builtin.Files(), "vae/diffusion_pytorch_model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	f, err := weights.Parse("vae", data)
	if err != nil {
		t.Fatal(err)
	}
	var tensors []weights.Tensor
	for _, name := range f.Names() {
		tensor, _ := f.Tensor(name)
		tensors = append(tensors, tensor)
	}
	return tensors
}

// putVAE writes a VAE with its configuration beside it; change may return another tensor.
func putVAE(t *testing.T, path string, change func(weights.Tensor) weights.Tensor) {
	t.Helper()
	config, err := fs.ReadFile(builtin.Files(), "vae/config.json")
	if err != nil {
		t.Fatal(err)
	}
	tensors := builtinVAE(t)
	for i := range tensors {
		tensors[i] = change(tensors[i])
	}
	var file bytes.Buffer
	if err := weights.Write(&file, tensors, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{path: file.Bytes(), strings.TrimSuffix(path, ".safetensors") + ".json": config} {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// dark is a VAE whose pictures have no colour but one.
func dark(t weights.Tensor) weights.Tensor {
	if t.Name == "decoder.conv_out.weight" {
		t.Data = make([]byte, len(t.Data))
	}
	return t
}

func same(t weights.Tensor) weights.Tensor { return t }

// decoderPipeline is the built-in model with a shelf of decoders.
func decoderPipeline(t *testing.T) (*Pipeline, string) {
	t.Helper()
	dir := t.TempDir()
	m, err := models.Open(builtin.Name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	p, err := Load(testDevice(t), m, LoadOptions{Shelf: models.NewShelf(dir)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, dir
}

func drawnWith(t *testing.T, p *Pipeline, vae string) *image.NRGBA {
	t.Helper()
	img, err := p.Generate(t.Context(), Request{Prompt: "a red circle", Width: 64, Height: 64, Steps: 1, Seed: 7, VAE: vae}, nil)
	if err != nil {
		t.Fatalf("%s: %v", vae, err)
	}
	return img
}

// colours counts the colours of a picture, up to 100.
func colours(img *image.NRGBA) int {
	seen := map[[4]byte]bool{}
	for i := 0; i < len(img.Pix) && len(seen) < 100; i += 4 {
		seen[[4]byte(img.Pix[i:])] = true
	}
	return len(seen)
}

// A request's decoder makes its picture, and no other's; with the model's own weights it is the same to the last bit.
func TestDecoder(t *testing.T) {
	p, dir := decoderPipeline(t)
	for _, name := range []string{"same", "again", "third"} {
		putVAE(t, filepath.Join(dir, "vae", name+".safetensors"), same)
	}
	putVAE(t, filepath.Join(dir, "vae", "dark.safetensors"), dark)
	own := drawnWith(t, p, "")
	if n := colours(own); n < 10 {
		t.Fatalf("the model's own picture has %d colours", n)
	}
	if n := colours(drawnWith(t, p, "dark")); n != 1 {
		t.Errorf("the decoder's picture has %d colours", n)
	}
	for _, name := range []string{"same", "again", "third", "SAME.safetensors", ""} {
		if !bytes.Equal(drawnWith(t, p, name).Pix, own.Pix) {
			t.Errorf("%q: another picture", name)
		}
	}
	if n := len(p.decoders.values); n > decoderLimit {
		t.Errorf("%d decoders are kept, want %d", n, decoderLimit)
	}
	if err := os.Remove(filepath.Join(dir, "vae", "same.safetensors")); err != nil {
		t.Fatal(err)
	}
	putVAE(t, filepath.Join(dir, "vae", "same.safetensors"), dark)
	if n := colours(drawnWith(t, p, "same")); n != 1 {
		t.Errorf("after its file became another the picture has %d colours", n)
	}
}

// Of a decoder that was computed in float32 nothing is left when others have taken its place: its file is closed by then.
func TestDecoderBeyondFloat16IsDropped(t *testing.T) {
	p, dir := decoderPipeline(t)
	putVAE(t, filepath.Join(dir, "vae", "large.safetensors"), beyondFloat16)
	putVAE(t, filepath.Join(dir, "vae", "a.safetensors"), same)
	putVAE(t, filepath.Join(dir, "vae", "b.safetensors"), same)
	drawnWith(t, p, "large")
	large, err := p.decoder("large")
	if err != nil {
		t.Fatal(err)
	}
	if p.exact[large.tensors] == nil {
		t.Fatal("the decoder's weights fit float16")
	}
	for _, name := range []string{"a", "b"} {
		if _, err := p.decoder(name); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.exact) > 0 {
		t.Error("its weights in float32 are kept")
	}
	for key, c := range p.programs.values {
		if baseOf(c.source) == large.tensors {
			t.Errorf("its program %q is kept", key)
		}
	}
}

// beyondFloat16 enlarges weights that a norm follows.
func beyondFloat16(t weights.Tensor) weights.Tensor {
	if t.Name != "decoder.mid_block.resnets.0.conv1.weight" {
		return t
	}
	values, err := t.Float32s()
	if err != nil {
		panic(err) // the built-in model's
	}
	t.DType, t.Data = weights.F32, nil
	for _, v := range values {
		t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(v*(1<<24)))
	}
	return t
}

// Drawings of different decoders are stepped together, and each gets its own in the end.
func TestDecodersTogether(t *testing.T) {
	p, dir := decoderPipeline(t)
	putVAE(t, filepath.Join(dir, "vae", "dark.safetensors"), dark)
	var all []*Drawing
	for _, vae := range []string{"dark", ""} {
		d, err := p.Begin(Request{Prompt: "a red circle", Width: 64, Height: 64, Steps: 1, Seed: 7, VAE: vae})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	if err := p.Step(all...); err != nil {
		t.Fatal(err)
	}
	for i, d := range all {
		img, err := p.Finish(d)
		if err != nil {
			t.Fatal(err)
		}
		if n := colours(img); (n == 1) != (i == 0) {
			t.Errorf("picture %d has %d colours", i, n)
		}
	}
	one, err := p.terms(all[0].settings)
	if err != nil {
		t.Fatal(err)
	}
	other, err := p.terms(all[1].settings)
	if err != nil || len(differences(one, other)) == 0 {
		t.Errorf("a checkpoint does not tell the decoders apart: %v", err)
	}
}

// What is no decoder for the model is refused before anything is drawn, and the plan counts what is.
func TestDecoderRefused(t *testing.T) {
	p, dir := decoderPipeline(t)
	putVAE(t, filepath.Join(dir, "vae", "good.safetensors"), same)
	putVAE(t, filepath.Join(dir, "vae", "thin.safetensors"), func(t weights.Tensor) weights.Tensor {
		if t.Name == "decoder.conv_in.bias" {
			t.Shape, t.Data = []int{1}, t.Data[:2]
		}
		return t
	})
	if err := os.WriteFile(filepath.Join(dir, "vae", "cut.safetensors"), []byte("12345"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := Request{Width: 64, Height: 64}
	for name, want := range map[string]string{
		"absent": `vae: no VAE "absent"; known: `, "thin": "conv_in", "cut": "too short", "../vae/good": "no VAE",
		filepath.Join(dir, "vae", "good.safetensors"): "no VAE",
	} {
		r.VAE = name
		if _, err := p.Plan(r, 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
		if _, err := p.Begin(r); err == nil {
			t.Errorf("%s: a picture is begun", name)
		}
	}
	if _, err := p.Plan(Request{Width: 64, Height: 64, VAE: "absent"}, 1); !errors.Is(err, models.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	own, err := p.Plan(Request{Width: 64, Height: 64}, 1)
	if err != nil {
		t.Fatal(err)
	}
	other, err := p.Plan(Request{Width: 64, Height: 64, VAE: "good"}, 1)
	if err != nil || own.Total() != other.Total() {
		t.Errorf("a plan of %d bytes, with a decoder of the same size %d, %v", own.Total(), other.Total(), err)
	}
}
