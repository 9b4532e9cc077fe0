package models

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"waggle/internal/weights"
)

// With names files that hold networks of a model: in place of its own, or where it has none.
type With struct {
	VAE   string   // path of a file, or of a diffusers folder of the network; empty for the model's own
	Clips []string // likewise of its text encoders, in any order; empty for the model's own

	Partial bool // networks may be missing: to look into a file, not to draw
}

// OpenWith opens a model, which may be a UNet alone, with networks of other files. All are named by name or by path.
func (s *Shelf) OpenWith(nameOrPath string, with With) (*Model, error) {
	kinds := []Kind{Checkpoint, UNet}
	if with.Partial {
		kinds = append(kinds, VAE, TextEncoder)
	}
	entry, err := s.locateAny(nameOrPath, kinds...)
	if err != nil {
		return nil, err
	}
	if with.VAE != "" {
		e, err := s.locateAny(with.VAE, VAE, TAESD, Checkpoint)
		if err != nil {
			return nil, err
		}
		with.VAE = e.Path
	}
	with.Clips = slices.Clone(with.Clips)
	for i, name := range with.Clips {
		e, err := s.locateAny(name, TextEncoder, Checkpoint)
		if err != nil {
			return nil, err
		}
		with.Clips[i] = e.Path
	}
	return entry.OpenWith(with)
}

// locateAny locates what is of one of some kinds; the error is the first kind's.
func (s *Shelf) locateAny(nameOrPath string, kinds ...Kind) (Entry, error) {
	var first error
	for _, kind := range kinds {
		e, err := s.Locate(kind, nameOrPath)
		if err == nil {
			return e, nil
		}
		first = cmp.Or(first, err)
	}
	return Entry{}, first
}

// openSingle opens a checkpoint that is one file, with the configuration files in the folder of the same name beside it,
// where there is one.
func (m *Model) openSingle(path string) error {
	p, err := m.openPieces(path)
	if err != nil {
		return err
	}
	if err := m.assemble(p); err != nil {
		return err
	}
	return m.readBeside(path)
}

// openPieces opens a file and finds the networks in it.
func (m *Model) openPieces(path string) (pieces, error) {
	file, err := weights.Open(path)
	if err != nil {
		return pieces{}, err
	}
	m.files = append(m.files, file)
	p, err := split(file)
	if err != nil {
		return p, err
	}
	return p, p.configure(path)
}

// configure reads the configuration of a network that has a file to itself: NAME.json, or config.json where the file is named
// as in a diffusers folder.
func (p *pieces) configure(path string) error {
	var parts []*Part
	for _, part := range append([]*Part{p.unet, p.vae}, p.textParts()...) {
		if part != nil {
			parts = append(parts, part)
		}
	}
	if len(parts) != 1 {
		return nil
	}
	dir, stem := filepath.Dir(path), withoutExtension(filepath.Base(path))
	names := []string{stem + ".json"}
	if strings.HasPrefix(stem, "diffusion_pytorch_model") || strings.HasPrefix(stem, "model") || strings.HasPrefix(stem, "pytorch_model") {
		names = append(names, "config.json")
	}
	for _, name := range names {
		// Other programs keep notes of their own in files of such names.
		config, err := diskFolder(dir).readJSON(name)
		if err == nil && (bytes.Contains(config, []byte(`"block_out_channels"`)) || bytes.Contains(config, []byte(`"hidden_size"`))) {
			parts[0].Config = config
			return nil
		}
	}
	return nil
}

func (p *pieces) textParts() (parts []*Part) {
	for _, t := range p.texts {
		parts = append(parts, t.Part)
	}
	return parts
}

// readBeside reads what lies beside a single file: the folder of its name, and NAME.yaml as of the original program.
func (m *Model) readBeside(path string) error {
	m.Parameterization = parameterization(withoutExtension(path) + ".yaml")
	beside := diskFolder(withoutExtension(path))
	if !beside.exists(".") || beside.path == path {
		return nil
	}
	if err := m.readConfigs(beside); err != nil {
		return fmt.Errorf("folder %s beside the file: %w", filepath.Base(beside.path), err)
	}
	return nil
}

// parameterizationLine is what a configuration of the original program says of the prediction.
var parameterizationLine = regexp.MustCompile(`(?m)^\s*parameterization:\s*["']?(v|eps)["']?\s*(#.*)?$`)

// parameterization in a YAML file, "" if it says nothing.
func parameterization(path string) string {
	data, err := diskFolder(filepath.Dir(path)).read(filepath.Base(path), configLimit)
	if err != nil {
		return ""
	}
	if found := parameterizationLine.FindSubmatch(data); found != nil {
		return string(found[1])
	}
	return ""
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
		if config != nil {
			p.Config = config
		}
	}
	return nil
}

// OpenVAE opens a VAE that lies by itself: the model has nothing else.
func (e Entry) OpenVAE() (*Model, error) {
	m := &Model{Name: e.Name, Path: e.Path}
	if err := m.join(With{VAE: e.Path}); err != nil {
		return nil, errors.Join(&InvalidError{Model: e.Name, Err: err}, m.Close())
	}
	return m, nil
}

// join puts networks from other files in the places of the model's own.
func (m *Model) join(with With) error {
	if with.VAE != "" {
		p, err := m.openOther(with.VAE)
		if err == nil && p.vae == nil {
			err = errors.New("holds no VAE")
		}
		if err != nil {
			return fmt.Errorf("VAE %s: %w", filepath.Base(with.VAE), err)
		}
		m.VAE = p.vae
	}
	if len(with.Clips) == 0 {
		return nil
	}
	all := pieces{unet: m.UNet, vae: m.VAE, rest: m.Rest, metadata: m.Metadata}
	for _, path := range with.Clips {
		p, err := m.openOther(path)
		if err == nil && len(p.texts) == 0 {
			err = errors.New("holds no text encoder")
		}
		if err != nil {
			return fmt.Errorf("text encoder %s: %w", filepath.Base(path), err)
		}
		all.texts = append(all.texts, p.texts...)
	}
	m.Text, m.Text2, m.Tokenizer, m.Tokenizer2 = nil, nil, TokenizerFiles{}, TokenizerFiles{}
	return m.assemble(all)
}

// openOther opens a file with a network, or the folder that diffusers keeps one in.
func (m *Model) openOther(path string) (pieces, error) {
	if path == "" {
		return pieces{}, errors.New("is built in: name a file")
	}
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return m.openPieces(path)
	}
	for _, stem := range []string{"diffusion_pytorch_model", "model"} {
		if name, err := weightsName(diskFolder(path), ".", stem); err == nil && !strings.HasSuffix(name, ".json") {
			return m.openPieces(filepath.Join(path, name))
		}
	}
	return pieces{}, errors.New("is a folder without weights; name a file")
}
