package sd

import (
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

// TestGoldenDetect compares what the tensors of single files tell with the configuration of the same models.
func TestGoldenDetect(t *testing.T) {
	for _, name := range []string{"sd1", "sd2", "sdxl", "sd1-inpaint", "sd1-pix2pix"} {
		t.Run(name, func(t *testing.T) {
			m := openGolden(t, name, "file")
			want, f, err := readNetworks(m)
			if err != nil {
				t.Fatal(err)
			}
			// Random models are narrower than those of their family: give what no tensor says.
			f.groups, f.vaeGroups = want.unet.config.Groups, want.vae.config.Groups
			f.heads, f.textHead = want.unet.config.Heads[0], want.text[0].config.Hidden/want.text[0].config.Heads
			got, err := detectUNet(m.UNet.Tensors, f)
			if err != nil && !strings.Contains(err.Error(), "addition_time_embed_dim") {
				t.Fatal(err)
			}
			got.SampleSize, got.Heads, got.AddedTime = want.unet.config.SampleSize, want.unet.config.Heads, want.unet.config.AddedTime
			if diff := cmp.Diff(want.unet.config, got); diff != "" {
				t.Errorf("unet, configured and detected:\n%s", diff)
			}
			vae, err := detectVAE(m.VAE.Tensors, f)
			if diff := cmp.Diff(want.vae.config, vae); diff != "" || err != nil {
				t.Errorf("vae, configured and detected (%v):\n%s", err, diff)
			}
			if name == "sd1" {
				text, err := detectText(m.Text.Tensors, f)
				if diff := cmp.Diff(want.text[0].config, text); diff != "" || err != nil {
					t.Errorf("text encoder, configured and detected (%v):\n%s", err, diff)
				}
			}
		})
	}
}

// TestGoldenDetectTinyShapes: the single file of the built-in model has no configuration beside it.
func TestGoldenDetectTinyShapes(t *testing.T) {
	m, err := models.Open(filepath.Join(goldens.Model(t, "tiny-shapes-ldm"), "tiny-shapes.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	got, _, err := readNetworks(m)
	if err != nil {
		t.Fatal(err)
	}
	want := tinyPipeline(t, plainGo{}).networks
	want.unet.config.SampleSize = 0
	if diff := cmp.Diff(want.unet.config, got.unet.config); diff != "" {
		t.Errorf("unet:\n%s", diff)
	}
	if diff := cmp.Diff(want.vae.config, got.vae.config); diff != "" {
		t.Errorf("vae:\n%s", diff)
	}
	if diff := cmp.Diff(want.text[0].config, got.text[0].config); diff != "" {
		t.Errorf("text encoder:\n%s", diff)
	}
}

// without is a source that lacks a tensor.
type without struct {
	weights.Source
	name string
}

func (w without) Tensor(name string) (weights.Tensor, bool) {
	if name == w.name {
		return weights.Tensor{}, false
	}
	return w.Source.Tensor(name)
}

// TestMissingTensors takes every tensor of the built-in model away in turn: the graph must name it, and nothing may panic.
func TestMissingTensors(t *testing.T) {
	n := tinyPipeline(t, plainGo{}).networks
	check := func(src weights.Source, build func(weights.Source) error) {
		for _, name := range src.Names() {
			err := build(without{src, name})
			optional := strings.HasPrefix(name, "post_quant_conv.weight") || strings.HasPrefix(name, "encoder") || strings.HasPrefix(name, "quant_conv")
			if !optional && (err == nil || !strings.Contains(err.Error(), name)) {
				t.Errorf("without %s: error %v", name, err)
			}
		}
	}
	check(n.unet.tensors, func(src weights.Source) error {
		return unetGraph(network[UNetConfig]{n.unet.config, src}, 1, 8, 8, 77).Err()
	})
	check(n.vae.tensors, func(src weights.Source) error {
		return decodeGraph(network[VAEConfig]{n.vae.config, src}, 8, 8).Err()
	})
	check(n.text[0].tensors, func(src weights.Source) error {
		return textGraph(network[TextConfig]{n.text[0].config, src}, 0).Err()
	})
}

// TestConfigErrors: each change of a good configuration must be refused with the name of the field.
func TestConfigErrors(t *testing.T) {
	for _, c := range []struct{ part, old, new, want string }{
		{"unet", `"norm_num_groups": 16`, `"norm_num_groups": 0`, "norm_num_groups"},
		{"unet", `"norm_num_groups": 16`, `"norm_num_groups": 7`, "norm_num_groups"},
		{"unet", `"attention_head_dim": 2`, `"attention_head_dim": 5`, "attention_head_dim"},
		{"unet", `"attention_head_dim": 2`, `"attention_head_dim": [2, 2]`, "attention_head_dim"},
		{"unet", `"attention_head_dim": 2`, `"attention_head_dim": "two"`, "attention_head_dim"},
		{"unet", `"in_channels": 4`, `"in_channels": -4`, "in_channels"},
		{"unet", `"layers_per_block": 1`, `"layers_per_block": 1000000000`, "layers_per_block"},
		{"unet", `"transformer_layers_per_block": 1`, `"transformer_layers_per_block": 1000000000`, "transformer"},
		{"unet", `"transformer_layers_per_block": 1`, `"transformer_layers_per_block": [1, [1, 2, 3], 1]`, "transformer_layers_per_block"},
		{"unet", `"UNetMidBlock2DCrossAttn"`, `"UNetMidBlock2DSimpleCrossAttn"`, "mid_block_type"},
		{"unet", `"UpBlock2D"`, `"UpBlock3D"`, "UpBlock3D"},
		{"unet", `"act_fn": "silu"`, `"act_fn": "mish"`, "act_fn"},
		{"unet", `"class_embed_type": null`, `"class_embed_type": "timestep"`, "class_embed_type"},
		{"unet", `"addition_embed_type": null`, `"addition_embed_type": "text_time"`, "projection_class_embeddings_input_dim"},
		{"unet", `{`, `[`, "config.json"},
		{"vae", `"scaling_factor": 0.18215`, `"scaling_factor": 0`, "scaling_factor"},
		{"vae", `"latent_channels": 4`, `"latent_channels": 400`, "latent_channels"},
		{"vae", `"in_channels": 3`, `"in_channels": 1`, "in_channels"},
		{"vae", `"norm_num_groups": 4`, `"norm_num_groups": 5`, "norm_num_groups"},
		{"text_encoder", `"hidden_act": "quick_gelu"`, `"hidden_act": "relu"`, "hidden_act"},
		{"text_encoder", `"num_attention_heads": 4`, `"num_attention_heads": 7`, "num_attention_heads"},
		{"text_encoder", `"hidden_size": 96`, `"hidden_size": 1e99`, "hidden_size"},
		{"text_encoder", `"num_hidden_layers": 3`, `"num_hidden_layers": 0`, "num_hidden_layers"},
	} {
		t.Run(c.part+" "+c.new, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(goldens.Root(t), "internal/builtin/tiny-shapes", c.part, "config.json"))
			if err != nil {
				t.Fatal(err)
			}
			changed := strings.Replace(string(data), c.old, c.new, 1)
			if changed == string(data) {
				t.Fatalf("%s is not in the file", c.old)
			}
			err = parsePart(c.part, []byte(changed))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want it to name %s", err, c.want)
			}
		})
	}
}

func parsePart(part string, data []byte) (err error) {
	switch part {
	case "unet":
		_, err = parseUNet(data)
	case "vae":
		_, err = parseVAE(data)
	default:
		_, err = parseText(data)
	}
	return err
}

// FuzzConfig: no configuration may panic or make a graph panic.
func FuzzConfig(f *testing.F) {
	m, err := models.Open("tiny-shapes")
	if err != nil {
		f.Fatal(err)
	}
	for _, part := range []*models.Part{m.UNet, m.VAE, m.Text} {
		f.Add(part.Config)
	}
	f.Add([]byte(`{"layers_per_block":[1,[2]],"attention_head_dim":[[]],"sample_size":[64,64]}`))
	f.Add([]byte(`{"conditioning_embedding_out_channels":[16,32],"down_block_types":["DownBlock2D","CrossAttnDownBlock2D"],"block_out_channels":[32,32]}`))
	f.Add([]byte(`{"adapter_type":"full_adapter","channels":[32,64],"num_res_blocks":2,"downscale_factor":8}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := parseControl(data); err == nil {
			_ = controlGraph(network[ControlConfig]{c, m.UNet.Tensors}, 1, 8, 8, 77).Err()
		}
		if c, err := parseAdapter(data); err == nil {
			_ = adapterGraph(network[AdapterConfig]{c, m.UNet.Tensors}, 1, 8, 8).Err()
		}
		if c, err := parseUNet(data); err == nil {
			_ = unetGraph(network[UNetConfig]{c, m.UNet.Tensors}, 1, 8, 8, 77).Err()
		}
		if c, err := parseVAE(data); err == nil {
			_ = decodeGraph(network[VAEConfig]{c, m.VAE.Tensors}, 8, 8).Err()
			_ = encodeGraph(network[VAEConfig]{c, m.VAE.Tensors}, 8, 8).Err()
		}
		if c, err := parseText(data); err == nil {
			_ = textGraph(network[TextConfig]{c, m.Text.Tensors}, 0).Err()
		}
	})
}

func TestDepthLists(t *testing.T) {
	var n numbers
	for text, want := range map[string][]int{`3`: {3, 3}, `[1,3]`: {3, 3}, `[1,[4,5]]`: {4, 5}, `[1]`: {1, 1}} {
		if err := n.UnmarshalJSON([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got := n.at(1, 2); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}
}
