package models

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"waggle/internal/builtin"
	"waggle/internal/weights"
)

// copyBuiltin writes the built-in model to a folder, to be damaged.
func copyBuiltin(t *testing.T, dir string) {
	t.Helper()
	if err := os.CopyFS(dir, builtin.Files()); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestOpenBuiltin(t *testing.T) {
	m, err := Open(builtin.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	parameters := int64(0)
	for _, part := range Count(m) {
		parameters += part.Parameters
	}
	if parameters != 4_605_659 {
		t.Errorf("%d parameters", parameters)
	}
	if m.Tokenizer.Vocab == nil || m.Tokenizer.Merges == nil || m.Scheduler == nil || m.Path != "" {
		t.Errorf("tokenizer or scheduler is missing, or there is a path %q", m.Path)
	}
	if err := m.CheckFinite(); err != nil {
		t.Error(err)
	}
}

func TestOpenByPathAndName(t *testing.T) {
	dir := t.TempDir()
	copyBuiltin(t, filepath.Join(dir, "mine"))
	for _, name := range []string{filepath.Join(dir, "mine"), "mine"} {
		m, err := Open(name, dir)
		if err != nil {
			t.Fatal(err)
		}
		if m.Name != "mine" || m.Path != filepath.Join(dir, "mine") {
			t.Errorf("%s: name %q, path %q", name, m.Name, m.Path)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Every damage is told by one line that names the place.
func TestOpenDamagedFolder(t *testing.T) {
	const (
		unetFile = "unet/diffusion_pytorch_model.safetensors"
		config   = `{"block_out_channels":[48,80,112],"layers_per_block":1,` +
			`"down_block_types":["CrossAttnDownBlock2D","CrossAttnDownBlock2D","DownBlock2D"],` +
			`"up_block_types":["UpBlock2D","CrossAttnUpBlock2D","CrossAttnUpBlock2D"]}`
	)
	remove := func(name string) func(string) {
		return func(dir string) {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	replace := func(name, content string) func(string) {
		return func(dir string) { write(t, filepath.Join(dir, name), content) }
	}
	rename := func(from, to string) func(string) {
		return func(dir string) {
			if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
				t.Fatal(err)
			}
		}
	}
	unet := func(old, new string) func(string) {
		return replace("unet/config.json", strings.Replace(config, old, new, 1))
	}
	for _, c := range []struct {
		name   string
		damage func(dir string)
		want   []string
	}{
		{"no vae", remove("vae"), []string{"vae", "missing"}},
		{"no config", remove("unet/config.json"), []string{"unet/config.json", "missing"}},
		{"no weights", remove(unetFile), []string{unetFile, "missing"}},
		{"hostile weights", func(dir string) {
			remove(unetFile)(dir)
			write(t, filepath.Join(dir, "unet/diffusion_pytorch_model.bin"), "\x80\x02cposix\nsystem\n(U\x04true\x85R.")
		}, []string{"unet/diffusion_pytorch_model.bin", "names posix.system"}},
		{"cut weights", replace(unetFile, "cut"), []string{unetFile, "too short"}},
		{"weights are a folder", func(dir string) { remove(unetFile)(dir); write(t, filepath.Join(dir, unetFile, "x"), "") }, []string{unetFile, "not a file"}},
		{"index no JSON", replace("model_index.json", "{"), []string{"model_index.json", "not JSON"}},
		{"index a list", replace("model_index.json", "[]"), []string{"model_index.json", "object"}},
		{"scheduler no JSON", replace("scheduler/scheduler_config.json", "x"), []string{"scheduler_config.json", "not JSON"}},
		{"huge config", replace("vae/config.json", strings.Repeat(" ", configLimit+1)), []string{"vae/config.json", "limit"}},
		{"no merges", remove("tokenizer/merges.txt"), []string{"tokenizer", "merges.txt"}},
		{"second encoder promised", replace("model_index.json", `{"text_encoder_2":["transformers","CLIPTextModelWithProjection"]}`), []string{"text_encoder_2", "missing"}},
		{"transformer pipeline", func(dir string) {
			rename("unet", "transformer")(dir)
			replace("model_index.json", `{"_class_name":"FluxPipeline"}`)(dir)
		}, []string{"FluxPipeline", "transformer"}},
		{"no levels", unet("[48,80,112]", "[]"), []string{"block_out_channels"}},
		{"too many levels", unet("[48,80,112]", "[1"+strings.Repeat(",1", levelLimit)+"]"), []string{"block_out_channels"}},
		{"levels of another kind", unet("[48,80,112]", `"x"`), []string{"unet", "config.json"}},
		{"layers negative", unet(":1,", ":-1,"), []string{"layers_per_block"}},
		{"layers huge", unet(":1,", ":1000000000,"), []string{"layers_per_block"}},
		{"layers too few", unet(":1,", ":[1,1],"), []string{"layers_per_block", "2 numbers for 3 levels"}},
		{"block types too few", unet(`"UpBlock2D",`, ""), []string{"up_block_types"}},
		{"unknown block", unet(`"DownBlock2D"`, `"AttnDownBlock2D"`), []string{"down_block_types", "AttnDownBlock2D"}},
		{"vae is another network", func(dir string) {
			writeTensors(t, filepath.Join(dir, "vae/diffusion_pytorch_model.safetensors"), singleFile())
		}, []string{"vae", "decoder.conv_in.weight"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "broken")
			copyBuiltin(t, dir)
			c.damage(dir)
			m, err := Open(dir)
			if err == nil {
				t.Fatalf("opened %s", m.Name)
			}
			if !errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 500 {
				t.Errorf("error is not one line of ErrInvalid: %v", err)
			}
			for _, want := range append(c.want, `"broken"`) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q must contain %q", err, want)
				}
			}
		})
	}
}

// unetTensors are the UNet's tensors as stored in the built-in folder.
func unetTensors(t *testing.T) []weights.Tensor {
	t.Helper()
	data, err := fs.ReadFile(builtin.Files(), "unet/diffusion_pytorch_model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	f, err := weights.Parse("unet", data)
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

func writeTensors(t *testing.T, path string, tensors []weights.Tensor) {
	t.Helper()
	var file bytes.Buffer
	if err := weights.Write(&file, tensors, nil); err != nil {
		t.Fatal(err)
	}
	write(t, path, file.String())
}

// weightMap is an index of shards that puts each tensor where place says.
func weightMap(tensors []weights.Tensor, place func(i int) string) string {
	var members []string
	for i, tensor := range tensors {
		members = append(members, `"`+tensor.Name+`":"`+place(i)+`"`)
	}
	return `{"metadata":{"total_size":1},"weight_map":{` + strings.Join(members, ",") + `}}`
}

func TestOpenWeightFiles(t *testing.T) {
	const stem = "unet/diffusion_pytorch_model"
	tensors := unetTensors(t)
	half := len(tensors) / 2
	twoShards := func(i int) string {
		if i < half {
			return "a.safetensors"
		}
		return "b.safetensors"
	}
	shards := func(t *testing.T, dir, index string) {
		writeTensors(t, filepath.Join(dir, "unet/a.safetensors"), tensors[:half])
		writeTensors(t, filepath.Join(dir, "unet/b.safetensors"), tensors[half:])
		write(t, filepath.Join(dir, stem+".safetensors.index.json"), index)
	}
	for _, c := range []struct {
		name  string
		files func(t *testing.T, dir string)
		want  string // of the error; empty when it opens
	}{
		{"fp16 variant", func(t *testing.T, dir string) { writeTensors(t, filepath.Join(dir, stem+".fp16.safetensors"), tensors) }, ""},
		{"another variant", func(t *testing.T, dir string) { writeTensors(t, filepath.Join(dir, stem+".bf16.safetensors"), tensors) }, ""},
		{"torch checkpoint", func(t *testing.T, dir string) { writeTensors(t, filepath.Join(dir, stem+".bin"), tensors) }, ""},
		{"fp16 torch checkpoint", func(t *testing.T, dir string) { writeTensors(t, filepath.Join(dir, stem+".fp16.bin"), tensors) }, ""},
		{"safetensors before torch", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, stem+".bin"), "not looked at")
			writeTensors(t, filepath.Join(dir, stem+".fp16.safetensors"), tensors)
		}, ""},
		{"torch shards", func(t *testing.T, dir string) {
			name := func(i int) string { return strings.Replace(twoShards(i), ".safetensors", ".bin", 1) }
			writeTensors(t, filepath.Join(dir, "unet/a.bin"), tensors[:half])
			writeTensors(t, filepath.Join(dir, "unet/b.bin"), tensors[half:])
			write(t, filepath.Join(dir, stem+".bin.index.json"), weightMap(tensors, name))
		}, ""},
		{"two other variants", func(t *testing.T, dir string) {
			writeTensors(t, filepath.Join(dir, stem+".x.safetensors"), tensors)
			writeTensors(t, filepath.Join(dir, stem+".y.safetensors"), tensors)
		}, "several variants"},
		{"shards", func(t *testing.T, dir string) { shards(t, dir, weightMap(tensors, twoShards)) }, ""},
		{"shard with a path", func(t *testing.T, dir string) {
			shards(t, dir, weightMap(tensors, func(int) string { return "../vae/diffusion_pytorch_model.safetensors" }))
		}, "not the name of a weight file"},
		{"shard absent", func(t *testing.T, dir string) {
			shards(t, dir, weightMap(tensors, func(int) string { return "c.safetensors" }))
		}, "unet/c.safetensors is missing"},
		{"tensor in the other shard", func(t *testing.T, dir string) {
			shards(t, dir, weightMap(tensors, func(i int) string { return twoShards(len(tensors) - 1 - i) }))
		}, "holds no tensor"},
		{"empty index", func(t *testing.T, dir string) { shards(t, dir, `{}`) }, "names 0 files"},
		{"index no JSON", func(t *testing.T, dir string) { shards(t, dir, `{"weight_map":[]}`) }, "index.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			copyBuiltin(t, dir)
			if err := os.Remove(filepath.Join(dir, stem+".safetensors")); err != nil {
				t.Fatal(err)
			}
			c.files(t, dir)
			m, err := Open(dir)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v must contain %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if got := len(m.UNet.Tensors.Names()); got != len(tensors) {
				t.Errorf("%d tensors, want %d", got, len(tensors))
			}
		})
	}
}

// A text encoder's checkpoint has another stem than its safetensors file.
func TestOpenTextCheckpoint(t *testing.T) {
	dir := t.TempDir()
	copyBuiltin(t, dir)
	if err := os.Rename(filepath.Join(dir, "text_encoder/model.safetensors"), filepath.Join(dir, "text_encoder/pytorch_model.bin")); err != nil {
		t.Fatal(err)
	}
	m, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
}

// small is a tensor of one number.
func small(name string, shape ...int) weights.Tensor {
	t := weights.Tensor{Name: name, DType: weights.F16, Shape: shape}
	t.Data = make([]byte, 2*t.Elements())
	return t
}

// singleFile lists the fewest tensors that make a single-file model.
func singleFile() []weights.Tensor {
	return []weights.Tensor{
		small("model.diffusion_model.input_blocks.0.0.weight", 1, 4, 1, 1),
		small("model.diffusion_model.middle_block.0.in_layers.2.weight"),
		small("model.diffusion_model.out.2.weight"),
		small("model.diffusion_model.time_embed.0.weight"),
		small("first_stage_model.decoder.conv_in.weight"),
		small("first_stage_model.decoder.conv_out.weight"),
		small("first_stage_model.decoder.mid.attn_1.to_q.weight"),
		small("cond_stage_model.transformer.embeddings.token_embedding.weight"),
		small("cond_stage_model.transformer.final_layer_norm.weight"),
		small("model_ema.decay"),
	}
}

func TestOpenSingleFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "one.safetensors")
	writeTensors(t, path, singleFile())
	m, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Name != "one" || m.UNet.Config != nil || m.Text2 != nil {
		t.Errorf("name %q, config %q", m.Name, m.UNet.Config)
	}
	if got := m.VAE.Tensors.Names(); !slices.Contains(got, "decoder.mid.attn_1.q.weight") {
		t.Errorf("attention's newer spelling is not taken: %v", got)
	}
	if got := m.Text.Tensors.Names(); !slices.Equal(got, landmarks[textFolder]) {
		t.Errorf("text encoder has %v", got)
	}
}

func TestOpenSingleFileLacking(t *testing.T) {
	for _, c := range []struct{ without, want string }{
		{"model.diffusion_model.", "holds no UNet"},
		{"first_stage_model.", "holds no VAE"},
		{"cond_stage_model.", "holds no text encoder"},
		{"model.diffusion_model.out.2.weight", "out.2.weight is missing"},
		{"", ""},
	} {
		path := filepath.Join(t.TempDir(), "one.safetensors")
		tensors := slices.DeleteFunc(singleFile(), func(t weights.Tensor) bool {
			return c.without != "" && strings.HasPrefix(t.Name, c.without)
		})
		writeTensors(t, path, tensors)
		m, err := Open(path)
		if c.want == "" {
			if err != nil {
				t.Error(err)
				continue
			}
			m.Close()
			continue
		}
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("without %s: error %v must contain %q", c.without, err, c.want)
		}
	}
}

// Of an OpenCLIP encoder that conditions by its last but one layer, the last
// and the projection are left out.
func TestSingleFileOfSD2LosesLastLayer(t *testing.T) {
	tensors := slices.DeleteFunc(singleFile(), func(t weights.Tensor) bool { return strings.HasPrefix(t.Name, "cond_stage") })
	const prefix = "cond_stage_model.model."
	tensors = append(tensors, small(prefix+"token_embedding.weight"), small(prefix+"ln_final.weight"), small(prefix+"text_projection", 2, 2),
		small(prefix+"transformer.resblocks.9.ln_1.weight"), small(prefix+"transformer.resblocks.10.ln_1.weight"))
	path := filepath.Join(t.TempDir(), "two.safetensors")
	writeTensors(t, path, tensors)
	m, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	want := []string{"text_model.embeddings.token_embedding.weight", "text_model.encoder.layers.9.layer_norm1.weight", "text_model.final_layer_norm.weight"}
	if got := m.Text.Tensors.Names(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCheckFinite(t *testing.T) {
	tensors := singleFile()
	tensors[4].Data = []byte{0, 0x7e} // NaN
	path := filepath.Join(t.TempDir(), "one.safetensors")
	writeTensors(t, path, tensors)
	m, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.CheckFinite(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "vae") || !strings.Contains(err.Error(), "decoder.conv_in.weight") {
		t.Errorf("error %v must name part and tensor", err)
	}
}
