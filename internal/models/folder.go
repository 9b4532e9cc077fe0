package models

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"waggle/internal/weights"
)

// The folders of the diffusers layout.
const (
	unetFolder  = "unet"
	vaeFolder   = "vae"
	textFolder  = "text_encoder"
	text2Folder = "text_encoder_2"
)

const (
	configLimit    = 1 << 20  // bytes of a configuration file; real ones have a few thousand
	tokenizerLimit = 16 << 20 // bytes of a vocabulary; CLIP's has 1 MB
)

// folder is a place to read a model from, on disk or embedded.
type folder struct {
	fsys fs.FS
	path string // on disk, to map weight files; empty when embedded
}

func diskFolder(path string) folder { return folder{fsys: os.DirFS(path), path: path} }

// read reads a small file whole; a file that is not there is nil without error.
func (f folder) read(name string, limit int64) ([]byte, error) {
	file, err := f.fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: is not a file", name)
	case info.Size() > limit:
		return nil, fmt.Errorf("%s: has %d bytes, the limit is %d", name, info.Size(), limit)
	}
	data, err := io.ReadAll(io.LimitReader(file, limit))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}

// readJSON reads a configuration file and checks that it is JSON.
func (f folder) readJSON(name string) ([]byte, error) {
	data, err := f.read(name, configLimit)
	if err == nil && data != nil && !json.Valid(data) {
		err = fmt.Errorf("%s: is not JSON; fetch it again", name)
	}
	return data, err
}

// exists reports whether there is a file or folder of that name.
func (f folder) exists(name string) bool {
	_, err := fs.Stat(f.fsys, name)
	return err == nil
}

// weights opens a weight file: mapped from disk, parsed in memory when embedded.
func (f folder) weights(name string) (*weights.File, error) {
	if f.path != "" {
		return weights.Open(filepath.Join(f.path, filepath.FromSlash(name)))
	}
	data, err := fs.ReadFile(f.fsys, name)
	if err != nil {
		return nil, err
	}
	return weights.Parse(name, data)
}

// openFolder opens a diffusers folder.
func (m *Model) openFolder(f folder) error {
	if err := m.readSettings(f); err != nil {
		return err
	}
	if err := m.checkLayout(f); err != nil {
		return err
	}
	for _, p := range []struct {
		name, stem string
		canonical  func(src weights.Source, config []byte) (*weights.Set, error)
		part       **Part
	}{
		{unetFolder, "diffusion_pytorch_model", canonicalUNet, &m.UNet},
		{vaeFolder, "diffusion_pytorch_model", canonicalVAE, &m.VAE},
		{textFolder, "model", canonicalText, &m.Text},
		{text2Folder, "model", canonicalText, &m.Text2},
	} {
		if p.name == text2Folder && !f.exists(text2Folder) {
			continue
		}
		part, err := m.openPart(f, p.name, p.stem)
		if err != nil {
			return err
		}
		if part.Tensors, err = p.canonical(part.Tensors, part.Config); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		*p.part = part
	}
	return nil
}

// openPart opens configuration and weights of one network, names untouched.
func (m *Model) openPart(f folder, name, stem string) (*Part, error) {
	if !f.exists(name) {
		return nil, fmt.Errorf("folder %s is missing; fetch the model whole", name)
	}
	config, err := f.readJSON(path.Join(name, "config.json"))
	if err != nil {
		return nil, err
	}
	if config == nil {
		return nil, fmt.Errorf("%s/config.json is missing; fetch the model whole", name)
	}
	tensors, err := m.openWeights(f, name, stem)
	return &Part{Config: config, Tensors: tensors}, err
}

// readSettings reads what is not a network: index, scheduler, tokenizers. All
// of it may be missing.
func (m *Model) readSettings(f folder) (err error) {
	if m.Index, err = f.readJSON("model_index.json"); err != nil {
		return err
	}
	if m.Scheduler, err = f.readJSON("scheduler/scheduler_config.json"); err != nil {
		return err
	}
	if m.Tokenizer, err = readTokenizer(f, "tokenizer"); err != nil {
		return err
	}
	m.Tokenizer2, err = readTokenizer(f, "tokenizer_2")
	return err
}

// readTokenizer reads a tokenizer's folder. Vocabulary and merges belong together.
func readTokenizer(f folder, name string) (t TokenizerFiles, err error) {
	if t.Vocab, err = f.read(name+"/vocab.json", tokenizerLimit); err != nil {
		return t, err
	}
	if t.Merges, err = f.read(name+"/merges.txt", tokenizerLimit); err != nil {
		return t, err
	}
	if t.Config, err = f.readJSON(name + "/tokenizer_config.json"); err != nil {
		return t, err
	}
	if (t.Vocab == nil) != (t.Merges == nil) {
		return t, fmt.Errorf("%s: needs both vocab.json and merges.txt; fetch the model whole", name)
	}
	return t, nil
}

// checkLayout says early, and with the pipeline's name, that a folder is of a
// kind we do not run, or that a part the index lists is missing.
func (m *Model) checkLayout(f folder) error {
	var index map[string]any
	if m.Index != nil {
		if err := json.Unmarshal(m.Index, &index); err != nil {
			return fmt.Errorf("model_index.json: must be an object: %w", err)
		}
	}
	class, ok := index["_class_name"].(string)
	if !ok {
		class = "a pipeline without a name"
	}
	if !f.exists(unetFolder) && f.exists("transformer") {
		return fmt.Errorf("is %s with a transformer in place of a UNet; Stable Diffusion 1, 2 and XL are run", clip(class))
	}
	second, ok := index[text2Folder].([]any)
	if ok && len(second) > 0 && second[0] != nil && !f.exists(text2Folder) {
		return fmt.Errorf("folder %s, which model_index.json lists, is missing; fetch the model whole", text2Folder)
	}
	return nil
}
