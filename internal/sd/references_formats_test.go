package sd

import (
	"os"
	"path/filepath"
	"testing"

	"waggle/internal/goldens"
	"waggle/internal/models"
	"waggle/internal/nn"
)

// TestGoldenFormats runs one UNet from every form in which diffusers and torch save it: pickles, zipped and old, files in
// pieces, variants, and weights of narrower types.
func TestGoldenFormats(t *testing.T) {
	var index struct {
		Cases map[string]struct {
			forwardCase
			Forms []string
		}
	}
	goldens.JSON(t, goldens.Reference(t, "formats/index.json"), &index)
	gpu := testGPU(t, testDevice(t), nn.Options{})
	for name, c := range index.Cases {
		for _, form := range c.Forms {
			t.Run(form, func(t *testing.T) {
				m, err := models.Open(savedAs(t, c.Model, form))
				if err != nil {
					t.Fatal(err)
				}
				defer m.Close()
				n, _, err := readNetworks(m)
				if err != nil {
					t.Fatal(err)
				}
				f := &forward{T: t, with: gpu, c: c.forwardCase, name: name, networks: n}
				f.in = goldens.Tensors(t, goldens.Reference(t, "formats/"+c.File))
				f.unet()
			})
		}
	}
}

// savedAs is the folder of a reference model whose UNet is saved in another form.
func savedAs(t *testing.T, model, form string) string {
	t.Helper()
	folder := goldens.ReferenceFolder(t, model)
	unet := filepath.Join(folder, "unet")
	if err := os.Remove(filepath.Join(unet, "diffusion_pytorch_model.safetensors")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(unet, os.DirFS(goldens.Reference(t, "formats/"+form))); err != nil {
		t.Fatal(err)
	}
	return folder
}
