package models

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"waggle/internal/weights"
)

// renamed gives tensors other names.
func renamed(tensors []weights.Tensor, pairs ...string) []weights.Tensor {
	replace := strings.NewReplacer(pairs...)
	tensors = slices.Clone(tensors)
	for i := range tensors {
		tensors[i].Name = replace.Replace(tensors[i].Name)
	}
	return tensors
}

// openTensors opens a file of these tensors, with others.
func openTensors(t *testing.T, tensors []weights.Tensor, with With) (*Model, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "one.safetensors")
	writeTensors(t, path, tensors)
	m, err := Entry{Name: "one", Path: path, Form: SingleFile}.OpenWith(with)
	if err == nil {
		t.Cleanup(func() { m.Close() })
	}
	return m, err
}

// A network is found under any prefix.
func TestPrefixes(t *testing.T) {
	for name, pairs := range map[string][]string{
		"original":     nil,
		"state dict":   {"model.diffusion_model.", "state_dict.model.diffusion_model.", "first_stage", "state_dict.first_stage", "cond_stage", "state_dict.cond_stage"},
		"nested":       {"model.diffusion_model.", "model.model.diffusion_model."},
		"SDXL's":       {"cond_stage_model.", "conditioner.embedders.0."},
		"diffusers'":   {"model.diffusion_model.", "unet.", "first_stage_model.", "vae.", "cond_stage_model.transformer.", "text_encoder.text_model."},
		"no prefix":    {"model.diffusion_model.", ""},
		"average only": {"model.diffusion_model.", "model_ema.diffusion_model."},
		"flat average": {"model.diffusion_model.input_blocks.0.0.weight", "model_ema.diffusion_modelinput_blocks00weight",
			"model.diffusion_model.middle_block.0.in_layers.2.weight", "model_ema.diffusion_modelmiddle_block0in_layers2weight",
			"model.diffusion_model.out.2.weight", "model_ema.diffusion_modelout2weight",
			"model.diffusion_model.time_embed.0.weight", "model_ema.diffusion_modeltime_embed0weight"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := openTensors(t, renamed(singleFile(), pairs...), With{})
			if err != nil {
				t.Fatal(err)
			}
			want := []string{"input_blocks.0.0.weight", "middle_block.0.in_layers.2.weight", "out.2.weight", "time_embed.0.weight"}
			if got := m.UNet.Tensors.Names(); !slices.Equal(got, want) {
				t.Errorf("unet has %v", got)
			}
			if got := m.VAE.Tensors.Names(); len(got) != 3 {
				t.Errorf("vae has %v", got)
			}
			if got := m.Text.Tensors.Names(); !slices.Equal(got, landmarks[textFolder]) {
				t.Errorf("text encoder has %v", got)
			}
			if m.Rest.Ignored != 1 || m.Rest.Unexpected != nil {
				t.Errorf("beside the networks %+v", m.Rest)
			}
		})
	}
}

// What is no network is told apart: marks, what no picture needs, and what is not known.
func TestRest(t *testing.T) {
	tensors := append(singleFile(), small("v_pred", 0), small("ztsnr", 0), small("betas"), small("model_ema.diffusion_modelout2weight"),
		small("model_ema.diffusion_model.input_blocks.0.0.weight"), small("model_ema.diffusion_model.time_embed.0.weight"),
		small("cond_stage_model.transformer.text_model.embeddings.position_ids", 1, 77), small("denoiser.sigmas"),
		small("control_model.input_blocks.0.0.weight"), small("control_model.time_embed.0.weight"), small("control_model.zero_convs.0.0.weight"),
		small("cond_stage_model.projection.weight"))
	m, err := openTensors(t, tensors, With{})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"v_pred", "ztsnr"}; !slices.Equal(m.Rest.Marks, want) {
		t.Errorf("marks %v, want %v", m.Rest.Marks, want)
	}
	if m.Rest.Ignored != 7 {
		t.Errorf("%d ignored, want 7", m.Rest.Ignored)
	}
	want := []string{"cond_stage_model.projection.weight", "control_model.input_blocks.0.0.weight", "control_model.time_embed.0.weight", "control_model.zero_convs.0.0.weight"}
	if !slices.Equal(m.Rest.Unexpected, want) {
		t.Errorf("unexpected %v, want %v", m.Rest.Unexpected, want)
	}
}

// More networks than a model has are refused, however many names say so.
func TestTooManyNetworks(t *testing.T) {
	for prefixes, want := range map[string]string{"a": "two networks of the kind unet", "abcdefgh": "networks"} {
		tensors := singleFile()
		for _, p := range prefixes {
			tensors = append(tensors, small(string(p)+".input_blocks.0.0.weight"), small(string(p)+".time_embed.0.weight"))
		}
		if _, err := openTensors(t, tensors, With{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v must contain %q", prefixes, err, want)
		}
	}
}

// A UNet, an autoencoder and text encoders of files of their own make one model, the encoders in either order.
func TestJoin(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, tensors ...weights.Tensor) string {
		path := filepath.Join(dir, name)
		writeTensors(t, path, tensors)
		return path
	}
	only := func(prefix string) []weights.Tensor {
		var out []weights.Tensor
		for _, tensor := range singleFile() {
			if rest, ok := strings.CutPrefix(tensor.Name, prefix); ok {
				tensor.Name = rest
				out = append(out, tensor)
			}
		}
		return out
	}
	unet := append(only("model.diffusion_model."), small("label_emb.0.0.weight", 1, 1))
	vae := file("vae.safetensors", only("first_stage_model.")...)
	write(t, filepath.Join(dir, "vae.json"), `{"block_out_channels":[1]}`)
	narrow := file("l.safetensors", small("text_model.embeddings.token_embedding.weight", 9, 1), small("text_model.final_layer_norm.weight", 1))
	wide := file("g.safetensors", small("token_embedding.weight", 9, 2), small("ln_final.weight", 2), small("text_projection", 2, 2))
	for _, clips := range [][]string{{narrow, wide}, {wide, narrow}} {
		m, err := openTensors(t, unet, With{VAE: vae, Clips: clips})
		if err != nil {
			t.Fatal(err)
		}
		if m.VAE.Config == nil || extent(m.Text.Tensors, landmarks[textFolder][0], 1) != 1 || extent(m.Text2.Tensors, landmarks[textFolder][0], 1) != 2 {
			t.Errorf("configuration %q, encoders %v, %v", m.VAE.Config, m.Text.Tensors.Names(), m.Text2.Tensors.Names())
		}
	}
	for _, c := range []struct {
		with With
		want string
	}{
		{With{}, "--vae FILE"}, {With{VAE: vae}, "--clip FILE"}, {With{VAE: narrow}, "l.safetensors: holds no VAE"},
		{With{VAE: vae, Clips: []string{vae}}, "holds no text encoder"}, {With{VAE: filepath.Join(dir, "none")}, "no such file"},
		{With{VAE: dir}, "folder without weights"}, {With{VAE: vae, Clips: []string{narrow, wide, wide}}, "3 text encoders"},
	} {
		if _, err := openTensors(t, unet, c.with); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v must contain %q", c.with, err, c.want)
		}
	}
}

// Names without dots are taken apart as the original program had them.
func TestFlatNames(t *testing.T) {
	for _, name := range []string{
		"input_blocks.0.0.weight", "input_blocks.10.0.in_layers.2.bias", "output_blocks.11.1.transformer_blocks.0.attn1.to_q.weight",
		"middle_block.1.transformer_blocks.10.attn2.to_out.0.bias", "middle_block.1.proj_in.weight", "output_blocks.2.1.conv.weight",
		"input_blocks.3.0.op.weight", "time_embed.2.bias", "label_emb.0.2.weight", "out.0.weight", "output_blocks.8.0.skip_connection.weight",
		"input_blocks.4.1.transformer_blocks.0.ff.net.0.proj.weight", "input_blocks.4.1.transformer_blocks.9.norm3.weight",
	} {
		if got, ok := withDots(strings.ReplaceAll(name, ".", "")); got != name || !ok {
			t.Errorf("%s: got %s, %v", name, got, ok)
		}
	}
	if got, ok := withDots("somethingelse"); ok {
		t.Errorf("got %s", got)
	}
}

// NAME.yaml beside a file says how it predicts.
func TestParameterization(t *testing.T) {
	dir := t.TempDir()
	for content, want := range map[string]string{
		"model:\n  params:\n    parameterization: \"v\"\n": "v", "    parameterization: eps # noise\n": "eps", "parameterization: x0\n": "", "# parameterization: v\n": "",
	} {
		path := filepath.Join(dir, "m.yaml")
		write(t, path, content)
		if got := parameterization(path); got != want {
			t.Errorf("%q: got %q, want %q", content, got, want)
		}
	}
	if got := parameterization(filepath.Join(dir, "none.yaml")); got != "" {
		t.Errorf("no file: got %q", got)
	}
}

// FuzzSplit: whatever tensors are called, what a file holds is found without a panic, and no tensor is lost.
func FuzzSplit(f *testing.F) {
	var names []string
	for _, t := range singleFile() {
		names = append(names, t.Name)
	}
	f.Add(strings.Join(names, "\n"))
	f.Add("a.token_embedding.weight\na.ln_final.weight\na.transformer.resblocks.x.ln_1.weight\nmodel_ema.diffusion_modelinput_blocks00weight")
	f.Add("input_blocks.0.0.weight\ntime_embed.0.weight\nvae.decoder.conv_in.weight\nvae.decoder.conv_out.weight\nv_pred\nbetas")
	f.Fuzz(func(t *testing.T, list string) {
		var tensors []weights.Tensor
		seen := map[string]bool{}
		for _, name := range strings.Split(list, "\n") {
			if !seen[name] && utf8.ValidString(name) && name != "__metadata__" {
				seen[name] = true
				tensors = append(tensors, small(name, 3, 1))
			}
		}
		var file bytes.Buffer
		if err := weights.Write(&file, tensors, nil); err != nil {
			t.Skip(err)
		}
		parsed, err := weights.Parse("fuzzed", file.Bytes())
		if err != nil {
			t.Skip(err)
		}
		p, err := split(parsed)
		if err != nil {
			return
		}
		if err := new(Model).assemble(p); err != nil {
			return
		}
		if count := len(p.rest.Marks) + len(p.rest.Unexpected) + p.rest.Ignored; p.unet == nil && p.vae == nil && p.texts == nil && count != len(parsed.Names()) {
			t.Errorf("%d tensors, of which %d were told", len(parsed.Names()), count)
		}
	})
}
