package sd

import (
	"strings"
	"testing"

	"waggle/internal/models"
	"waggle/internal/weights"
)

// changed is a part's tensors with some taken away, some of another shape and some more.
func changed(t *testing.T, p *models.Part, without, misshapen, more string) *models.Part {
	t.Helper()
	var tensors []weights.Tensor
	for _, name := range p.Tensors.Names() {
		tensor, _ := p.Tensors.Tensor(name)
		if name == misshapen {
			tensor.Shape = append([]int{1}, tensor.Shape...)
		}
		if name != without {
			tensors = append(tensors, tensor)
		}
	}
	if more != "" {
		tensors = append(tensors, weights.Tensor{Name: more, DType: weights.F16, Shape: []int{0}})
	}
	set, err := weights.NewSet(tensors)
	if err != nil {
		t.Fatal(err)
	}
	return &models.Part{Config: p.Config, Tensors: set}
}

// TestInspectDamaged: of each part is told by name what is missing, of another shape, or not known; what cannot be run has a
// problem, and what can has none.
func TestInspectDamaged(t *testing.T) {
	const unetConv, unetBias, vaeOut, vaeEncoder = "out.2.weight", "input_blocks.0.0.bias", "decoder.conv_out.bias", "encoder.conv_out.weight"
	const embedding, norm = "text_model.embeddings.token_embedding.weight", "text_model.final_layer_norm.bias"
	for _, c := range []struct {
		name, part, without, misshapen, more string
		problem                              string
	}{
		{name: "whole", part: "unet"},
		{name: "missing", part: "unet", without: unetConv, problem: unetConv},
		{name: "misshapen", part: "unet", misshapen: unetBias, problem: unetBias},
		{name: "unexpected", part: "unet", more: "input_blocks.0.0.lora_up.weight"},
		{name: "vae", part: "vae", without: vaeOut, problem: vaeOut},
		{name: "vae that only draws", part: "vae", without: vaeEncoder},
		{name: "text encoder", part: "text_encoder", misshapen: norm, problem: norm},
		{name: "vocabulary", part: "text_encoder", without: embedding, problem: embedding},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := models.Open("tiny-shapes")
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			place := map[string]**models.Part{"unet": &m.UNet, "vae": &m.VAE, "text_encoder": &m.Text}[c.part]
			*place = changed(t, *place, c.without, c.misshapen, c.more)
			i := Inspect(m)
			if (i.Problem == "") != (c.problem == "") || !strings.Contains(i.Problem, c.problem) {
				t.Errorf("problem %q, want it to name %q", i.Problem, c.problem)
			}
			for _, part := range i.Parts {
				for what, n := range map[string]struct {
					got  Names
					want string
				}{"missing": {part.Missing, c.without}, "misshapen": {part.Misshapen, c.misshapen}, "unexpected": {part.Unexpected, c.more}} {
					if n.want == vaeEncoder || part.Name != c.part {
						n.want = ""
					}
					if n.want == "" && n.got.Count == 0 || n.got.Count == 1 && n.want != "" && strings.HasPrefix(n.got.First[0], n.want) {
						continue
					}
					t.Errorf("%s: %s %+v, want %q", part.Name, what, n.got, n.want)
				}
			}
		})
	}
}

// TestInspectBounds: what is foreign and long is cut.
func TestInspectBounds(t *testing.T) {
	m, err := models.Open("tiny-shapes")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for range 100 {
		m.Rest.Unexpected = append(m.Rest.Unexpected, strings.Repeat("x", 1000))
	}
	m.Metadata = map[string]string{"modelspec.title": strings.Repeat("é", 1000), "modelspec.license": "MIT", "thumbnail": "…"}
	i := Inspect(m)
	if i.Unexpected.Count != 100 || len(i.Unexpected.First) != namesShown || len(i.Unexpected.First[0]) > nameShown+4 {
		t.Errorf("%d names, %d shown, the first of %d bytes", i.Unexpected.Count, len(i.Unexpected.First), len(i.Unexpected.First[0]))
	}
	if len(i.Metadata) != 2 || i.OtherMetadata != 1 || len(i.Metadata["title"]) > nameShown+4 || i.Metadata["license"] != "MIT" {
		t.Errorf("metadata %+v and %d more", i.Metadata, i.OtherMetadata)
	}
}

// FuzzInspect: no configuration of a part and no set of names may panic.
func FuzzInspect(f *testing.F) {
	m, err := models.Open("tiny-shapes")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { m.Close() })
	f.Add(m.UNet.Config, "time_embed.cond_proj.weight", "512x512")
	f.Add([]byte(nil), "label_emb.0.0.weight", "99999999999999999999x1")
	f.Fuzz(func(t *testing.T, config []byte, more, resolution string) {
		if _, there := m.UNet.Tensors.Tensor(more); there {
			more = ""
		}
		changed := changed(t, m.UNet, "", "", more)
		changed.Config = config
		Inspect(&models.Model{Name: more, UNet: changed, VAE: m.VAE, Text: m.Text, Tokenizer: m.Tokenizer,
			Metadata: map[string]string{"modelspec.resolution": resolution, "modelspec.title": more}})
	})
}
