package sd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waggle/internal/goldens"
	"waggle/internal/weights"
)

type prefixed struct {
	src    weights.Source
	prefix string
}

func (p prefixed) Names() []string { return nil }
func (p prefixed) Tensor(name string) (weights.Tensor, bool) {
	return p.src.Tensor(p.prefix + name)
}

func goldenNetworks(t *testing.T, model, layout string) Networks {
	if layout == "folder" {
		t.Skip()
	}
	path := goldens.Path(t, "models/"+model+".safetensors")
	file, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	read := func(part string) []byte {
		data, err := os.ReadFile(filepath.Join(strings.TrimSuffix(path, ".safetensors"), part, "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	var n Networks
	n.unet.tensors = prefixed{file, "model.diffusion_model."}
	n.vae.tensors = prefixed{file, "first_stage_model."}
	if n.unet.config, err = parseUNet(read("unet")); err != nil {
		t.Fatal(err)
	}
	if n.vae.config, err = parseVAE(read("vae")); err != nil {
		t.Fatal(err)
	}
	c, err := parseText(read("text_encoder"))
	if err != nil {
		t.Fatal(err)
	}
	p := "cond_stage_model.transformer."
	if model == "sdxl" {
		p = "conditioner.embedders.0.transformer."
	}
	n.text = []network[TextConfig]{{c, prefixed{file, p}}, {c, prefixed{file, p}}}
	return n
}
