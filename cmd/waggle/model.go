package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"waggle/gpu"
	"waggle/internal/models"
	"waggle/internal/nn"
	"waggle/internal/sd"
)

// modelFlags choose the model and the adapter it runs on.
type modelFlags struct {
	Model       string `default:"tiny-shapes" env:"WAGGLE_MODEL" help:"Model: a name, a diffusers folder or a single file."`
	folderFlags `embed:""`
	partFlags   `embed:""`
	GPU         string `name:"gpu" env:"WAGGLE_GPU" help:"Adapter, by index or a part of its name (waggle doctor lists them); serve takes several with commas, or all."`
	Kernels     string `env:"WAGGLE_KERNELS" enum:",subgroup,tiled,plain" default:"" help:"Force a kernel family: subgroup, tiled or plain."`

	MaxVRAM byteSize `name:"max-vram" aliases:"memory" env:"WAGGLE_MAX_VRAM" placeholder:"SIZE" help:"Most memory of each adapter for models, such as 6GiB or 900MB; a number alone is MiB. Kept to by slower ways to draw the same picture; models not in use are given back first (default: three quarters of what the adapter reports as free, else no limit)."`

	loras map[string]string // files of LoRAs that the flags name, by the names that requests use

	path string // of the model, where it is not to be found by its name
}

// loaded is a model on a device.
type loaded struct {
	*sd.Pipeline
	device *gpu.Device
	model  *models.Model
}

// load opens the adapter and the model. Close what it returns.
func (f modelFlags) load() (*loaded, error) {
	m, err := f.open()
	if err != nil {
		return nil, err
	}
	device, err := gpu.Open(f.GPU)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	budget := cmp.Or(int64(f.MaxVRAM), budgetOf(device, 1))
	p, err := sd.Load(device, m, sd.LoadOptions{Runtime: nn.Options{Family: nn.Family(f.Kernels)}, Budget: budget, Shelf: f.shelf(), LoRAFiles: f.loras})
	if err != nil {
		return nil, errors.Join(err, device.Close(), m.Close())
	}
	return &loaded{p, device, m}, nil
}

func (f modelFlags) open() (*models.Model, error) {
	if shape, ok := strings.CutPrefix(cmp.Or(f.path, f.Model), models.RandomPrefix); ok {
		return models.Random(shape)
	}
	return f.partFlags.open(f.shelf(), cmp.Or(f.path, f.Model), models.With{})
}

// partFlags say what a model does not say itself, or against what it says.
type partFlags struct {
	VAE  string   `name:"vae" placeholder:"FILE" help:"Autoencoder in place of the model's own: a file or a name; with --server, a name there."`
	Clip []string `name:"clip" sep:"none" placeholder:"FILE" help:"Text encoder in place of the model's own: a file or a name; twice for SDXL, in either order."`

	saidFlags `embed:""`
}

// saidFlags are what a model's owner says of it.
type saidFlags struct {
	Prediction string `enum:",epsilon,v" default:"" help:"What the model predicts, against what it says: epsilon or v."`
	ZSNR       *bool  `name:"zsnr" negatable:"" help:"The model's noise schedule ends in pure noise (zero terminal SNR), or does not."`
}

func (f saidFlags) said() models.Said { return models.Said{Prediction: f.Prediction, ZeroSNR: f.ZSNR} }

// open opens a model with what these flags say.
func (f partFlags) open(shelf *models.Shelf, nameOrPath string, with models.With) (*models.Model, error) {
	with.VAE, with.Clips = f.VAE, f.Clip
	m, err := shelf.OpenWith(nameOrPath, with)
	if err == nil {
		m.Said = f.said()
	}
	return m, err
}

// changesModel reports whether a flag is there that says what a job cannot.
func (f partFlags) changesModel() bool {
	return len(f.Clip) > 0 || f.Prediction != "" || f.ZSNR != nil
}

// Close gives everything back.
func (l *loaded) Close() {
	l.Pipeline.Close()
	l.device.Close()
	l.model.Close()
}

// adapterNote says which adapter is used, and that it is a software one where it is.
func adapterNote(a gpu.Adapter) string {
	if a.Kind == gpu.Software {
		return fmt.Sprintf("%s (a software adapter: no GPU was found)", a.Name)
	}
	return a.Name
}
