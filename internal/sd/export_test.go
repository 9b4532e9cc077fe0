package sd

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"waggle/internal/builtin"
	"waggle/internal/models"
)

// The configuration made of a UNet's shape means that shape.
func TestExportedUNetConfig(t *testing.T) {
	for name, config := range map[string]string{
		"SD 1.5": sd15UNet, "SD 2.1": sd21UNet, "SDXL": sdxlUNet, "inpainting": inpaintUNet, "distilled": tinyUNet,
		"depth by block": strings.Replace(sdxlUNet, `[1,2,10]`, `[0,[2,2],[4,4]],"reverse_transformer_layers_per_block":[[4,4,10],[2,1,1],0],"mid_block_type":"UNetMidBlock2D"`, 1),
		"guided":         `{"cross_attention_dim":768,"time_cond_proj_dim":256,"time_embedding_dim":640}`,
	} {
		t.Run(name, func(t *testing.T) {
			want, err := parseUNet([]byte(config))
			if err != nil {
				t.Fatal(err)
			}
			p := &Pipeline{usual: Request{Width: want.SampleSize * 8}}
			p.networks.unet = network[UNetConfig]{want, declared{}}
			p.networks.vae.config.Widths = make([]int, 4) // a latent cell is 8 pixels wide
			data, err := json.Marshal(p.unetJSON())
			if err != nil {
				t.Fatal(err)
			}
			got, err := parseUNet(data)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%v %s\n%s", err, data, diff)
			}
		})
	}
}

// What is made for a model without configuration means what the model was taken for.
func TestGoldenExportMeansTheSame(t *testing.T) {
	for _, name := range []string{"sd1", "sd2", "sdxl", "sd1-inpaint", "sd1-pix2pix"} {
		t.Run(name, func(t *testing.T) {
			m := openGolden(t, name, "file")
			for _, part := range []*models.Part{m.UNet, m.VAE, m.Text, m.Text2} {
				if part != nil {
					part.Config = nil
				}
			}
			if name != "sd1" { // narrower than the groups that published models have
				m.UNet.Config, m.VAE.Config = openGolden(t, name, "file").UNet.Config, openGolden(t, name, "file").VAE.Config
			}
			m.Scheduler = nil
			p, err := newPipeline(nil, m)
			if err != nil {
				t.Fatal(err)
			}
			e, err := ExportOf(m)
			if err != nil {
				t.Fatal(err)
			}
			m.UNet.Config, m.VAE.Config, m.Scheduler = e.Files["unet/config.json"], e.Files["vae/config.json"], e.Files["scheduler/scheduler_config.json"]
			for i, part := range []*models.Part{m.Text, m.Text2} {
				if part != nil {
					part.Config = e.Files["text_encoder"+[]string{"", "_2"}[i]+"/config.json"]
				}
			}
			got, err := newPipeline(nil, m)
			if err != nil {
				t.Fatal(err)
			}
			want, have := p.networks, got.networks
			want.unet.config.SampleSize, have.unet.config.SampleSize = 0, 0
			if diff := cmp.Diff(want.unet.config, have.unet.config) + cmp.Diff(want.vae.config, have.vae.config); diff != "" {
				t.Error(diff)
			}
			for i := range want.text {
				if diff := cmp.Diff(want.text[i].config, have.text[i].config); diff != "" {
					t.Errorf("text encoder %d: %s", i, diff)
				}
			}
			for i, f := range p.facts {
				if f.Name == "prediction" && got.facts[i].Value != f.Value {
					t.Errorf("predicts %s, was %s", got.facts[i].Value, f.Value)
				}
			}
		})
	}
}

// A published model needs no folder beside its file; the built-in one has a vocabulary of its own.
func TestExportAlone(t *testing.T) {
	m, err := models.Open(builtin.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	e, err := ExportOf(m)
	if err != nil || e.Alone {
		t.Errorf("%v, alone %v, want false", err, e.Alone)
	}
	if string(e.Files["unet/config.json"]) != string(m.UNet.Config) {
		t.Error("the model's own configuration was not kept")
	}
}

func TestGoldenExportAlone(t *testing.T) {
	m := openGolden(t, "sd1", "file")
	m.Text.Config, m.UNet.Config, m.VAE.Config = nil, nil, nil
	e, err := ExportOf(m)
	if err != nil || !e.Alone || e.Metadata["modelspec.prediction_type"] != "epsilon" {
		t.Errorf("%v, alone %v, metadata %v", err, e.Alone, e.Metadata)
	}
	if e, err := ExportOf(openGolden(t, "sdxl", "file")); err != nil || e.Alone {
		t.Errorf("%v: a narrow SDXL needs its configuration: alone %v", err, e.Alone)
	}
}

// What the owner says of a model is in its configuration from then on, and nothing else of that changes.
func TestExportTold(t *testing.T) {
	m, err := models.Open(builtin.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	m.Said = models.Said{Prediction: "v", ZeroSNR: new(true)}
	e, err := ExportOf(m)
	if err != nil {
		t.Fatal(err)
	}
	var before, after map[string]any
	for into, data := range map[*map[string]any][]byte{&before: m.Scheduler, &after: e.Files["scheduler/scheduler_config.json"]} {
		if err := json.Unmarshal(data, into); err != nil {
			t.Fatal(err)
		}
	}
	before["prediction_type"], before["rescale_betas_zero_snr"], before["timestep_spacing"] = "v_prediction", true, "trailing"
	if diff := cmp.Diff(before, after); diff != "" {
		t.Error(diff)
	}
	m.Said, m.Scheduler = models.Said{}, e.Files["scheduler/scheduler_config.json"]
	p, err := newPipeline(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	if c := p.model.Config(); c.Prediction != "v_prediction" && c.Prediction != "v" || !c.ZeroSNR {
		t.Errorf("%+v", c)
	}
	m.Scheduler, m.Said = []byte("[]"), models.Said{Prediction: "v"}
	if _, err := ExportOf(m); err == nil {
		t.Error("a configuration that is none was taken")
	}
}
