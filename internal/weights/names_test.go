package weights

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sd1 is the topology of Stable Diffusion 1.
var sd1 = UNetTopology{
	Layers:        []int{2, 2, 2, 2},
	DownAttention: []bool{true, true, true, false},
	UpAttention:   []bool{false, true, true, true},
}

// sdxl has no attention at the finest level.
var sdxl = UNetTopology{
	Layers:        []int{2, 2, 2},
	DownAttention: []bool{false, true, true},
	UpAttention:   []bool{true, true, false},
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		name      string
		names     *Names
		diffusers string
		canonical string
	}{
		{"first convolution", UNetNames(sd1), "conv_in.weight", "input_blocks.0.0.weight"},
		{"last convolution", UNetNames(sd1), "conv_out.bias", "out.2.bias"},
		{"time", UNetNames(sd1), "time_embedding.linear_2.weight", "time_embed.2.weight"},
		{"added conditions", UNetNames(sdxl), "add_embedding.linear_1.weight", "label_emb.0.0.weight"},
		{"second layer", UNetNames(sd1), "down_blocks.0.resnets.1.conv1.weight", "input_blocks.2.0.in_layers.2.weight"},
		{"downsampler", UNetNames(sd1), "down_blocks.0.downsamplers.0.conv.weight", "input_blocks.3.0.op.weight"},
		{"attention", UNetNames(sd1), "down_blocks.2.attentions.0.transformer_blocks.0.attn2.to_out.0.bias", "input_blocks.7.1.transformer_blocks.0.attn2.to_out.0.bias"},
		{"deepest level", UNetNames(sd1), "down_blocks.3.resnets.1.time_emb_proj.bias", "input_blocks.11.0.emb_layers.1.bias"},
		{"middle", UNetNames(sd1), "mid_block.resnets.1.norm2.weight", "middle_block.2.out_layers.0.weight"},
		{"upsampler without attention", UNetNames(sd1), "up_blocks.0.upsamplers.0.conv.weight", "output_blocks.2.1.conv.weight"},
		{"upsampler after attention", UNetNames(sd1), "up_blocks.1.upsamplers.0.conv.weight", "output_blocks.5.2.conv.weight"},
		{"last block", UNetNames(sd1), "up_blocks.3.resnets.2.conv_shortcut.weight", "output_blocks.11.0.skip_connection.weight"},
		{"deep transformer", UNetNames(sdxl), "down_blocks.2.attentions.1.transformer_blocks.9.ff.net.0.proj.weight", "input_blocks.8.1.transformer_blocks.9.ff.net.0.proj.weight"},
		{"encoder", VAENames(4, 2), "encoder.down_blocks.1.resnets.1.conv2.weight", "encoder.down.1.block.1.conv2.weight"},
		{"decoder counts from the finest", VAENames(4, 2), "decoder.up_blocks.0.resnets.2.norm1.bias", "decoder.up.3.block.2.norm1.bias"},
		{"decoder shortcut", VAENames(4, 2), "decoder.up_blocks.2.resnets.0.conv_shortcut.weight", "decoder.up.1.block.0.nin_shortcut.weight"},
		{"decoder upsampler", VAENames(3, 1), "decoder.up_blocks.1.upsamplers.0.conv.bias", "decoder.up.1.upsample.conv.bias"},
		{"last norm", VAENames(4, 2), "decoder.conv_norm_out.weight", "decoder.norm_out.weight"},
		{"quant", VAENames(4, 2), "post_quant_conv.weight", "post_quant_conv.weight"},
	} {
		if got, ok := c.names.Canonical(c.diffusers); !ok || got != c.canonical {
			t.Errorf("%s: canonical of %s is %q, want %q", c.name, c.diffusers, got, c.canonical)
		}
		if got, ok := c.names.Canonical(c.canonical); !ok || got != c.canonical {
			t.Errorf("%s: %q is canonical, became %q", c.name, c.canonical, got)
		}
		if got := c.names.Diffusers(c.canonical); len(got) != 1 || got[0] != c.diffusers {
			t.Errorf("%s: diffusers spelling of %s is %q, want %q", c.name, c.canonical, got, c.diffusers)
		}
	}
}

func TestNamesOfVAEAttention(t *testing.T) {
	names := VAENames(4, 2)
	for canonical, parts := range map[string][]string{
		"q.weight":      {"to_q.weight", "query.weight"},
		"k.bias":        {"to_k.bias", "key.bias"},
		"v.weight":      {"to_v.weight", "value.weight"},
		"proj_out.bias": {"to_out.0.bias", "proj_attn.bias"},
		"norm.weight":   {"group_norm.weight"},
	} {
		want := "decoder.mid.attn_1." + canonical
		var spellings []string
		for _, part := range parts {
			spellings = append(spellings, "decoder.mid_block.attentions.0."+part)
			// Files with LDM's modules and diffusers' parts exist as well.
			for _, name := range []string{"decoder.mid_block.attentions.0." + part, "decoder.mid.attn_1." + part} {
				if got, _ := names.Canonical(name); got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
		}
		if diff := cmp.Diff(spellings, names.Diffusers(want)); diff != "" {
			t.Errorf("%s: %s", want, diff)
		}
	}
}

func TestNamesUnknown(t *testing.T) {
	names := UNetNames(sd1)
	for _, name := range []string{"", "weight", "conv_in", "down_blocks.3.attentions.0.norm.weight", "input_blocks.12.0.in_layers.0.weight"} {
		if got, ok := names.Canonical(name); ok {
			t.Errorf("%q became %q", name, got)
		}
		if got := names.Diffusers(name); got != nil {
			t.Errorf("%q became %q", name, got)
		}
	}
	set, err := Canonical(mustSet(t, f32("strange.weight", []int{1}, 1)), names)
	if err != nil || !slices.Equal(set.Names(), []string{"strange.weight"}) {
		t.Errorf("unknown tensor: %v %v", set.Names(), err)
	}
}

// Every canonical module of a topology has a name of its own in diffusers.
func TestNamesAreOneToOne(t *testing.T) {
	for _, n := range []*Names{UNetNames(sd1), UNetNames(sdxl), VAENames(4, 2)} {
		if len(n.canonical) != len(n.diffusers) {
			t.Errorf("%d canonical modules, %d diffusers modules", len(n.canonical), len(n.diffusers))
		}
		for _, prefix := range slices.Sorted(maps.Keys(n.canonical)) {
			back, ok := n.Canonical(n.canonical[prefix].diffusers + ".weight")
			if !ok || back != prefix+".weight" {
				t.Errorf("%s: back %q", prefix, back)
			}
		}
	}
}

func mustSet(t *testing.T, tensors ...Tensor) *Set {
	t.Helper()
	s, err := NewSet(tensors)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCanonicalRefusesTwoSpellings(t *testing.T) {
	set := mustSet(t, f32("decoder.mid_block.attentions.0.query.bias", []int{1}, 1), f32("decoder.mid.attn_1.q.bias", []int{1}, 2))
	_, err := Canonical(set, VAENames(4, 2))
	if err == nil || !strings.Contains(err.Error(), "decoder.mid.attn_1.q.bias") {
		t.Errorf("error %v must name the tensor", err)
	}
}

func TestCanonicalTextOfOpenCLIP(t *testing.T) {
	in := mustSet(t,
		f32("transformer.resblocks.3.attn.in_proj_weight", []int{3, 2}, 1, 2, 3, 4, 5, 6),
		f32("transformer.resblocks.3.attn.in_proj_bias", []int{3}, 7, 8, 9),
		f32("transformer.resblocks.3.attn.out_proj.weight", []int{1}, 10),
		f32("transformer.resblocks.3.ln_1.bias", []int{1}, 11),
		f32("transformer.resblocks.3.ln_2.weight", []int{1}, 12),
		f32("transformer.resblocks.3.mlp.c_fc.weight", []int{1}, 13),
		f32("transformer.resblocks.3.mlp.c_proj.bias", []int{1}, 14),
		f32("text_projection", []int{2, 3}, 1, 2, 3, 4, 5, 6),
		f32("positional_embedding", []int{1}, 15),
		f32("token_embedding.weight", []int{1}, 16),
		f32("ln_final.weight", []int{1}, 17),
		f32("logit_scale", []int{}, 18),
	)
	const layer = "text_model.encoder.layers.3."
	want := map[string][]float32{
		layer + "self_attn.q_proj.weight":                 {1, 2},
		layer + "self_attn.k_proj.weight":                 {3, 4},
		layer + "self_attn.v_proj.weight":                 {5, 6},
		layer + "self_attn.q_proj.bias":                   {7},
		layer + "self_attn.k_proj.bias":                   {8},
		layer + "self_attn.v_proj.bias":                   {9},
		layer + "self_attn.out_proj.weight":               {10},
		layer + "layer_norm1.bias":                        {11},
		layer + "layer_norm2.weight":                      {12},
		layer + "mlp.fc1.weight":                          {13},
		layer + "mlp.fc2.bias":                            {14},
		"text_projection.weight":                          {1, 4, 2, 5, 3, 6},
		"text_model.embeddings.position_embedding.weight": {15},
		"text_model.embeddings.token_embedding.weight":    {16},
		"text_model.final_layer_norm.weight":              {17},
	}
	got, err := CanonicalText(in)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, floatsOf(t, got)); diff != "" {
		t.Error(diff)
	}
	projection, _ := got.Tensor("text_projection.weight")
	if !slices.Equal(projection.Shape, []int{3, 2}) {
		t.Errorf("text_projection.weight has shape %v, want [3 2]", projection.Shape)
	}
}

func floatsOf(t *testing.T, s Source) map[string][]float32 {
	t.Helper()
	out := map[string][]float32{}
	for _, name := range s.Names() {
		tensor, _ := s.Tensor(name)
		values, err := tensor.Float32s()
		if err != nil {
			t.Fatal(err)
		}
		out[name] = values
	}
	return out
}

func TestCanonicalTextOfTransformers(t *testing.T) {
	for _, prefix := range []string{"", "text_model."} {
		in := mustSet(t,
			f32(prefix+"embeddings.token_embedding.weight", []int{1}, 1),
			f32(prefix+"embeddings.position_ids", []int{1}, 0),
			f32(prefix+"encoder.layers.0.mlp.fc1.weight", []int{1}, 2),
			f32(prefix+"final_layer_norm.bias", []int{1}, 3),
			f32("text_projection.weight", []int{1, 1}, 4),
			f32("vision_model.embeddings.class_embedding", []int{1}, 5),
		)
		got, err := CanonicalText(in)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"text_model.embeddings.token_embedding.weight", "text_model.encoder.layers.0.mlp.fc1.weight",
			"text_model.final_layer_norm.bias", "text_projection.weight"}
		if diff := cmp.Diff(want, got.Names()); diff != "" {
			t.Errorf("prefix %q: %s", prefix, diff)
		}
	}
}

func TestCanonicalTextRefuses(t *testing.T) {
	for _, tensor := range []Tensor{
		f32("transformer.resblocks.0.attn.in_proj_weight", []int{4, 1}, 1, 2, 3, 4),
		f32("transformer.resblocks.0.attn.in_proj_bias", []int{}, 1),
		f32("transformer.resblocks.x.ln_1.bias", []int{1}, 1),
		f32("text_projection", []int{2}, 1, 2),
	} {
		if _, err := CanonicalText(mustSet(t, tensor)); err == nil || !strings.Contains(err.Error(), tensor.Name) {
			t.Errorf("%s: error %v must name the tensor", tensor.Name, err)
		}
	}
}

func TestUnder(t *testing.T) {
	set := Under(mustSet(t, f32("a.x", []int{1}, 1), f32("a.y", []int{1}, 2), f32("b.x", []int{1}, 3)), "a.")
	if diff := cmp.Diff(map[string][]float32{"x": {1}, "y": {2}}, floatsOf(t, set)); diff != "" {
		t.Error(diff)
	}
}
