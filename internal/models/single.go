package models

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"waggle/internal/weights"
)

// The prefixes of the parts in a single file. What has none of them (the
// averaged copy model_ema, the schedule's tables) is not used.
const (
	unetPrefix = "model.diffusion_model."
	vaePrefix  = "first_stage_model."
)

// textForm is a place where a single file may hold a text encoder.
type textForm struct {
	prefix string
	second bool // the second encoder of SDXL
	// penultimate: the network is conditioned on the output of the last but one
	// layer. The last layer is left out here, as it is in diffusers folders of
	// such models, so that both forms have one meaning: last layer, final norm.
	penultimate bool
}

// textForms: Stable Diffusion 1 (CLIP), 2 (OpenCLIP), XL (both).
var textForms = []textForm{
	{prefix: "cond_stage_model.transformer."},
	{prefix: "cond_stage_model.model.", penultimate: true},
	{prefix: "conditioner.embedders.0.transformer."},
	{prefix: "conditioner.embedders.1.model.", second: true},
}

// openSingle opens a checkpoint that is one file, with the configuration files
// in the folder of the same name beside it, where there is one.
func (m *Model) openSingle(path string) error {
	file, err := weights.Open(path)
	if err != nil {
		return err
	}
	m.files = append(m.files, file)
	if err := m.splitParts(file); err != nil {
		return err
	}
	beside := diskFolder(withoutExtension(path))
	if !beside.exists(".") || beside.path == path {
		return nil
	}
	if err := m.readConfigs(beside); err != nil {
		return fmt.Errorf("folder %s beside the file: %w", filepath.Base(beside.path), err)
	}
	return nil
}

// splitParts finds the networks in the file.
func (m *Model) splitParts(file *weights.File) error {
	unet, vae := weights.Under(file, unetPrefix), weights.Under(file, vaePrefix)
	switch {
	case len(unet.Names()) == 0:
		return fmt.Errorf("holds no UNet: no tensor begins with %s; it has %s", unetPrefix, sample(file.Names()))
	case len(vae.Names()) == 0:
		return fmt.Errorf("holds no VAE: no tensor begins with %s; use a file that is whole", vaePrefix)
	}
	// Levels and layers matter to diffusers names only; attention's old
	// spellings occur here too.
	vae, err := weights.Canonical(vae, weights.VAENames(0, 0))
	if err != nil {
		return fmt.Errorf("%s%w", vaePrefix, err)
	}
	m.UNet, m.VAE = &Part{Tensors: unet}, &Part{Tensors: vae}
	for _, form := range textForms {
		if err := m.addText(file, form); err != nil {
			return err
		}
	}
	if m.Text == nil {
		return fmt.Errorf("holds no text encoder that is known (CLIP, OpenCLIP); use a file that is whole")
	}
	return nil
}

// addText takes the text encoder of one form, if the file has it.
func (m *Model) addText(file *weights.File, form textForm) error {
	stored := weights.Under(file, form.prefix)
	if len(stored.Names()) == 0 {
		return nil
	}
	tensors, err := weights.CanonicalText(stored)
	if err != nil {
		return fmt.Errorf("%s: %w", form.prefix, err)
	}
	if form.penultimate {
		if tensors, err = withoutLastLayer(tensors); err != nil {
			return fmt.Errorf("%s: %w", form.prefix, err)
		}
	}
	place := &m.Text
	if form.second {
		place = &m.Text2
	}
	if *place != nil {
		return fmt.Errorf("%s: a second text encoder for the same place", form.prefix)
	}
	*place = &Part{Tensors: tensors}
	return nil
}

// withoutLastLayer leaves out the last layer of a text encoder and the
// projection behind it, which only that layer feeds.
func withoutLastLayer(src *weights.Set) (*weights.Set, error) {
	last := -1
	for _, name := range src.Names() {
		last = max(last, layerOf(name))
	}
	return weights.Rename(src, func(name string) (string, bool) {
		return name, name != "text_projection.weight" && (last < 1 || layerOf(name) != last)
	})
}

// layerOf is the number of the layer a text tensor belongs to, -1 for none.
func layerOf(name string) int {
	rest, ok := strings.CutPrefix(name, "text_model.encoder.layers.")
	if !ok {
		return -1
	}
	number, _, _ := strings.Cut(rest, ".")
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return -1
	}
	return int(n)
}

// readConfigs reads everything of a diffusers folder but the weights.
func (m *Model) readConfigs(f folder) error {
	if err := m.readSettings(f); err != nil {
		return err
	}
	for _, p := range m.parts() {
		config, err := f.readJSON(p.name + "/config.json")
		if err != nil {
			return err
		}
		p.Config = config
	}
	return nil
}

// sample shows what a file holds when it is not what was expected.
func sample(names []string) string {
	if len(names) == 0 {
		return "no tensors at all"
	}
	shown := slices.Clone(names[:min(len(names), 3)])
	for i := range shown {
		shown[i] = strconv.Quote(clip(shown[i]))
	}
	return fmt.Sprintf("%d tensors, such as %s", len(names), strings.Join(shown, ", "))
}
