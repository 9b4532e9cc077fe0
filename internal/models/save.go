package models

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"waggle/internal/weights"
)

// Save says how a model is written.
type Save struct {
	Files    map[string][]byte // configuration of a diffusers folder, by the paths in it
	Encoding weights.Encoding
	OpenCLIP bool // a file has the only text encoder under OpenCLIP's names, as those of Stable Diffusion 2 do
	Replace  bool // what is there already
}

// ErrExists is the error when something is in the way that may not be replaced.
var ErrExists = errors.New("is there already")

// SaveFile writes a model as one safetensors file with the original names, and the configuration in the folder of its name
// beside it where there is any to write. Nothing is at path before everything is written.
func (m *Model) SaveFile(path string, s Save) error {
	tensors, err := m.singleTensors(s.OpenCLIP)
	if err != nil {
		return err
	}
	beside := withoutExtension(path)
	if err := free(path, s.Replace); err != nil {
		return err
	}
	if len(s.Files) > 0 {
		if err := writeFolder(beside, s.Replace, func(dir string) error { return writeFiles(dir, s.Files) }); err != nil {
			return err
		}
	}
	return writeSafetensors(path, tensors, s.Encoding)
}

// SaveFolder writes a model as a diffusers folder. Nothing is at path before everything is written.
func (m *Model) SaveFolder(path string, s Save) error {
	return writeFolder(path, s.Replace, func(dir string) error {
		if err := writeFiles(dir, s.Files); err != nil {
			return err
		}
		for _, p := range m.parts() {
			tensors, err := diffusersTensors(p, s.Files[p.name+"/config.json"])
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			encoding := s.Encoding
			encoding.Metadata = map[string]string{"format": "pt"} // diffusers wants to be told
			if err := writeSafetensors(filepath.Join(dir, p.name, stems[p.name]+extension), tensors, encoding); err != nil {
				return err
			}
		}
		return nil
	})
}

// stems are the names of the parts' weight files in a diffusers folder.
var stems = map[string]string{
	unetFolder: "diffusion_pytorch_model", vaeFolder: "diffusion_pytorch_model", textFolder: "model", text2Folder: "model",
}

// Bytes is the size of the model's tensors when written.
func (m *Model) Bytes(e weights.Encoding) (total int64) {
	for _, p := range m.parts() {
		for _, name := range p.Tensors.Names() {
			if t, ok := p.Tensors.Tensor(name); ok {
				total += int64(t.Elements()) * int64(e.Of(t).Size())
			}
		}
	}
	return total
}

// free refuses a path where something is that may not be replaced.
func free(path string, replace bool) error {
	if _, err := os.Lstat(path); err == nil && !replace {
		return fmt.Errorf("%s %w; --force replaces it", path, ErrExists)
	}
	return nil
}

// writeSafetensors writes a file under another name and gives it its own when it is whole.
func writeSafetensors(path string, tensors []weights.Tensor, e weights.Encoding) error {
	return writeFile(path, func(w io.Writer) error { return weights.Encode(w, tensors, e) })
}

func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // does nothing once it has its own name
	err = cmp.Or(write(f), f.Chmod(0o644), f.Sync())
	if err := cmp.Or(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// writeFiles writes small files whole.
func writeFiles(dir string, files map[string][]byte) error {
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writeFolder fills a new folder beside its place and then puts it there. What it replaces goes only then.
func writeFolder(path string, replace bool, fill func(dir string) error) error {
	if err := free(path, replace); err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	if err := cmp.Or(os.Chmod(fresh, 0o755), fill(fresh)); err != nil {
		return err
	}
	old := fresh + ".old"
	if err := os.Rename(path, old); err == nil {
		defer os.RemoveAll(old)
	}
	return os.Rename(fresh, path)
}

// singleTensors are the tensors of all networks under the names of the original programs.
func (m *Model) singleTensors(openCLIP bool) ([]weights.Tensor, error) {
	out := prefixed("model.diffusion_model.", tensorsOf(m.UNet.Tensors))
	out = append(out, prefixed("first_stage_model.", reshaped(tensorsOf(m.VAE.Tensors), 4))...)
	if m.Text2 != nil {
		second, err := weights.OpenCLIPText(m.Text2.Tensors)
		if err != nil {
			return nil, err
		}
		out = append(out, prefixed("conditioner.embedders.0.transformer.", tensorsOf(m.Text.Tensors))...)
		return append(out, prefixed("conditioner.embedders.1.model.", second)...), nil
	}
	if !openCLIP {
		return append(out, prefixed("cond_stage_model.transformer.", tensorsOf(m.Text.Tensors))...), nil
	}
	whole, err := withUnusedLayer(m.Text.Tensors)
	if err != nil {
		return nil, err
	}
	text, err := weights.OpenCLIPText(whole)
	return append(out, prefixed("cond_stage_model.model.", text)...), err
}

// withUnusedLayer repeats the last layer of a text encoder: programs of the original layout leave out the output of the last
// (see withoutLastLayer), so it matters that there is one, not what it holds.
func withUnusedLayer(src weights.Source) (*weights.Set, error) {
	last := -1
	for _, name := range src.Names() {
		last = max(last, layerOf(name))
	}
	out := tensorsOf(src)
	for _, t := range slices.Clone(out) {
		if layerOf(t.Name) == last && last >= 0 {
			from, to := fmt.Sprintf(".layers.%d.", last), fmt.Sprintf(".layers.%d.", last+1)
			t.Name = strings.Replace(t.Name, from, to, 1)
			out = append(out, t)
		}
	}
	return weights.NewSet(out)
}

// diffusersTensors are a network's tensors under the names that diffusers gives them.
func diffusersTensors(p namedPart, config []byte) ([]weights.Tensor, error) {
	var names *weights.Names
	var err error
	switch p.name {
	case unetFolder:
		names, err = unetNames(config)
	case vaeFolder:
		names, err = vaeNames(config)
	default:
		return tensorsOf(p.Tensors), nil
	}
	if err != nil {
		return nil, err
	}
	tensors := tensorsOf(p.Tensors)
	if p.name == vaeFolder {
		tensors = reshaped(tensors, 2)
	}
	for i := range tensors {
		spellings := names.Diffusers(tensors[i].Name)
		if len(spellings) == 0 {
			return nil, fmt.Errorf("tensor %q has no place in a diffusers folder", tensors[i].Name)
		}
		tensors[i].Name = spellings[0]
	}
	return tensors, nil
}

func tensorsOf(src weights.Source) (out []weights.Tensor) {
	for _, name := range src.Names() {
		if t, ok := src.Tensor(name); ok {
			out = append(out, t)
		}
	}
	return out
}

func prefixed(prefix string, tensors []weights.Tensor) []weights.Tensor {
	for i := range tensors {
		tensors[i].Name = prefix + tensors[i].Name
	}
	return tensors
}

// reshaped gives the matrices of an autoencoder's attention the rank of the layout: 1×1 convolutions in the original, linear
// layers in diffusers.
func reshaped(tensors []weights.Tensor, rank int) []weights.Tensor {
	for i, t := range tensors {
		if !strings.Contains(t.Name, ".mid.attn_1.") || !strings.HasSuffix(t.Name, ".weight") || len(t.Shape) < 2 {
			continue
		}
		shape := slices.Clone(t.Shape[:2])
		for len(shape) < rank {
			shape = append(shape, 1)
		}
		tensors[i].Shape = shape
	}
	return tensors
}
