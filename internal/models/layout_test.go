package models

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"waggle/internal/builtin"
	"waggle/internal/weights"
)

// listed is what a shelf of one folder holds besides the built-in model, as "kind name".
func listed(dir string) (all []string) {
	for _, e := range NewShelf(dir).List("") {
		if e.Name != builtin.Name {
			all = append(all, fmt.Sprint(e.Kind, " ", e.Name))
		}
	}
	slices.Sort(all)
	return all
}

// Folders as people have them.
func TestLayouts(t *testing.T) {
	for _, c := range []struct {
		name  string
		below string // the part of it that --models names
		files string
		want  []string
	}{
		{"a1111", "", `models/Stable-diffusion/sd.safetensors models/Stable-diffusion/anime/x.ckpt models/Stable-diffusion/sd.vae.pt
			models/Lora/ink.safetensors models/Lora/style/pen.pt models/LyCORIS/cube.safetensors models/VAE/mse.ckpt models/VAE-approx/model.pt
			models/ControlNet/canny.pth models/ESRGAN/4x.pth models/RealESRGAN/r.pth models/text_encoder/t.safetensors models/Codeformer/c.safetensors
			embeddings/bad.pt embeddings/more/good.safetensors extensions/sd-webui-controlnet/models/depth.safetensors
			extensions/other/x.safetensors venv/lib/y.safetensors top.safetensors`, []string{
			"checkpoint anime/x", "checkpoint sd", "checkpoint top", "clip t", "controlnet canny", "controlnet depth", "embedding bad",
			"embedding more/good", "lora cube", "lora ink", "lora style/pen", "taesd model", "upscaler 4x", "upscaler r", "vae mse", "vae sd"}},
		{"the models folder of a1111", "models", `models/Stable-diffusion/sd.safetensors models/Lora/ink.safetensors models/Codeformer/c.safetensors`,
			[]string{"checkpoint sd", "lora ink"}},
		{"comfyui", "", `models/checkpoints/sd.safetensors models/loras/a/b/ink.safetensors models/vae/v.safetensors models/embeddings/e.pt
			models/unet/u.safetensors models/diffusion_models/d.safetensors models/clip/c.safetensors models/text_encoders/t.safetensors
			models/controlnet/n.safetensors models/upscale_models/4x.pth models/vae_approx/taesd_decoder.pth models/gligen/g.safetensors
			models/diffusers/whole/unet/diffusion_pytorch_model.bin custom_nodes/n/x.safetensors models/loras/put_loras_here`, []string{
			"checkpoint sd", "checkpoint whole", "clip c", "clip t", "controlnet n", "embedding e", "lora a/b/ink", "taesd taesd_decoder",
			"unet d", "unet u", "upscaler 4x", "vae v"}},
		{"plain", "", `one.safetensors deep/er/two.safetensors loras/ink.safetensors Vae/v.safetensors embeddings/e.bin readme.txt pytorch.bin
			vae/other/diffusion_pytorch_model.safetensors loras/lcm/pytorch_lora_weights.safetensors`, []string{
			"checkpoint deep/er/two", "checkpoint one", "embedding e", "lora ink", "lora lcm", "vae other", "vae v"}},
		{"a diffusers folder", "net", `net/model_index.json net/unet/diffusion_pytorch_model.safetensors net/vae/diffusion_pytorch_model.safetensors`,
			[]string{"checkpoint net"}},
		{"hub", "", `hub/models--own--net/snapshots/aaa/unet/diffusion_pytorch_model.safetensors hub/models--own--net/refs/main=aaa
			hub/models--own--net/snapshots/bbb/unet/diffusion_pytorch_model.safetensors hub/models--old/snapshots/c/f.safetensors
			hub/models--own--empty/refs/main=gone hub/datasets--own--d/snapshots/c/f.txt hub/.locks/models--own--net/x.safetensors`, []string{
			"checkpoint old/f", "checkpoint own/net"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, file := range strings.Fields(c.files) {
				path, content, _ := strings.Cut(file, "=")
				write(t, filepath.Join(dir, filepath.FromSlash(path)), content+weightsText(path))
			}
			if got := listed(filepath.Join(dir, c.below)); !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// weightsText is what a file has in it that shall be taken for a weight file.
func weightsText(path string) string {
	if slices.Contains(extensions, filepath.Ext(path)) {
		return "12345"
	}
	return ""
}

// Of a cached repository the snapshot counts that its main branch is at.
func TestHubSnapshot(t *testing.T) {
	dir := t.TempDir()
	repository := filepath.Join(dir, "models--own--net")
	for commit, size := range map[string]string{"old": "1", "new": "22"} {
		write(t, filepath.Join(repository, "snapshots", commit, "unet/diffusion_pytorch_model.safetensors"), size)
	}
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(repository, "snapshots", "old"), past, past); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		main string
		want int64
	}{{"", 2}, {"old\n", 1}, {"../../..", 2}, {"gone", 2}} {
		write(t, filepath.Join(repository, "refs/main"), c.main)
		if e, err := NewShelf(dir).Find(Checkpoint, "own/net"); err != nil || e.Bytes != c.want {
			t.Errorf("main at %q: got %+v, %v, want %d bytes", c.main, e, err, c.want)
		}
	}
}

// Links are followed out of the folder, and not in circles.
func TestLinks(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	write(t, filepath.Join(elsewhere, "deep/far.safetensors"), "12345")
	write(t, filepath.Join(elsewhere, "net/unet/diffusion_pytorch_model.safetensors"), "12345")
	write(t, filepath.Join(dir, "near/one.safetensors"), "12345")
	for to, link := range map[string]string{
		filepath.Join(elsewhere, "deep"): "linked", filepath.Join(elsewhere, "net"): "net", dir: "near/circle",
		filepath.Join(elsewhere, "absent"): "broken", filepath.Join(elsewhere, "deep/far.safetensors"): "file.safetensors",
		"self": "self",
	} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"checkpoint file", "checkpoint linked/far", "checkpoint near/one", "checkpoint net"}
	if got := listed(dir); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// However deep folders are, the way into them ends.
func TestDepth(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, strings.Repeat("d/", depthLimit-1)+"in.safetensors"), "12345")
	write(t, filepath.Join(dir, strings.Repeat("d/", depthLimit)+"out.safetensors"), "12345")
	want := []string{"checkpoint " + strings.Repeat("d/", depthLimit-1) + "in"}
	if got := listed(dir); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// In a plain folder each file is told by its tensors' names.
func TestKindByTensors(t *testing.T) {
	dir := t.TempDir()
	for name, tensors := range map[string]string{
		"checkpoint/whole":     "model.diffusion_model.out.2.weight first_stage_model.decoder.conv_in.weight cond_stage_model.x",
		"checkpoint/other":     "double_blocks.0.img_attn.weight",
		"unet/prefixed":        "model.diffusion_model.out.2.weight",
		"unet/ldm":             "input_blocks.0.0.weight out.2.weight",
		"unet/diffusers":       "conv_in.weight time_embedding.linear_1.weight",
		"vae/ldm":              "decoder.conv_in.weight encoder.conv_in.weight",
		"vae/prefixed":         "first_stage_model.decoder.conv_in.weight",
		"clip/hf":              "text_model.encoder.layers.0.layer_norm1.weight",
		"clip/open":            "transformer.resblocks.0.ln_1.weight token_embedding.weight",
		"lora/kohya":           "lora_unet_down_blocks_0_x.lora_down.weight lora_te_text_model_x.alpha",
		"lora/diff":            "lora_unet_down_blocks_0_norm1.w_norm",
		"lora/peft":            "text_encoder.text_model.encoder.layers.0.q_proj.lora_A.weight unet.x.lora_B.weight",
		"lora/raw":             "base_model.model.down_blocks.0.to_k.lora_A.weight",
		"lora/old":             "unet.mid_block.to_q.lora.down.weight",
		"lora/older":           "down_blocks.0.attn1.processor.to_q_lora.down.weight",
		"lora/loha":            "x.hada_w1_a",
		"controlnet/ldm":       "control_model.input_blocks.0.0.weight",
		"controlnet/diffusers": "controlnet_cond_embedding.conv_in.weight time_embedding.linear_1.weight",
		"embedding/a1111":      "emb_params",
		"embedding/sdxl":       "clip_g clip_l",
		"embedding/diffusers":  "<ink>",
		"upscaler/new":         "conv_first.weight body.0.rdb1.conv1.weight",
		"taesd/diffusers":      "decoder.layers.0.weight",
		"taesd/original":       "1.weight 3.conv.0.weight",
	} {
		var file []weights.Tensor
		for _, tensor := range strings.Fields(tensors) {
			file = append(file, small(tensor, 1))
		}
		writeTensors(t, filepath.Join(dir, filepath.FromSlash("all/is-"+name+".safetensors")), file)
	}
	for _, e := range NewShelf(dir).List("") {
		want := strings.Split(e.Name, "/")
		if e.Form == Builtin || len(want) == 3 && want[1] == "is-"+string(e.Kind) {
			continue
		}
		t.Errorf("%s is taken for a %s", e.Name, e.Kind)
	}
	if got := len(NewShelf(dir).List("")); got != 25 {
		t.Errorf("%d entries, want 25", got)
	}
}

// A file that becomes another kind is told anew.
func TestKindIsToldAnew(t *testing.T) {
	dir := t.TempDir()
	path, shelf := filepath.Join(dir, "x.safetensors"), NewShelf(dir)
	for i, c := range []struct {
		tensor string
		kind   Kind
	}{{"lora_unet_a.alpha", LoRA}, {"decoder.conv_in.weight", VAE}} {
		writeTensors(t, path, []weights.Tensor{small(c.tensor, 1)})
		now := time.Now().Add(time.Duration(i) * time.Second)
		if err := os.Chtimes(path, now, now); err != nil {
			t.Fatal(err)
		}
		if e, err := shelf.Find(c.kind, "x"); err != nil {
			t.Errorf("%s: %+v, %v", c.kind, e, err)
		}
	}
}

// What is no JSON does no harm, and no more is made of it than is there.
func FuzzEachKey(f *testing.F) {
	for _, s := range []string{`{"a":{"dtype":"F16"},"b":[1,{"c":2}]}`, `{"a\"b":"x:y","__metadata__":{"k":"v"}}`, `{"a":`, `}}}:`, `{"\`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		total := 0
		eachKey(text, func(key string) { total += len(key) + 1 })
		if total > 3*len(text) { // what is no UTF-8 is told by three bytes
			t.Fatalf("keys of %d bytes in a text of %d", total, len(text))
		}
	})
}

// Listing thousands of files takes no longer than a glance.
func BenchmarkList(b *testing.B) {
	dir := b.TempDir()
	for i := range 5000 {
		path := filepath.Join(dir, fmt.Sprintf("%02d/%04d.safetensors", i%50, i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("\x02\x00\x00\x00\x00\x00\x00\x00{}"), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	shelf := NewShelf(dir)
	b.Run("5000 files", func(b *testing.B) {
		for b.Loop() {
			if got := len(shelf.look(0)); got != 5000 {
				b.Fatalf("%d entries", got)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/list")
	})
}
