// Package models knows where models are and what belongs to one: it finds them
// by name, opens them in whichever form they come, and hands out their parts
// under canonical tensor names (package weights), with the configuration files
// beside them unread.
//
// A model is the one built into the program, a diffusers folder, or a single
// file: safetensors or a torch checkpoint. A single file NAME.safetensors carries no head counts and
// no tokenizer; where a folder NAME with the files of the diffusers layout lies
// beside it, those are used, otherwise the reader works from tensor shapes.
package models

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"waggle/internal/builtin"
	"waggle/internal/weights"
)

// Part is one network of a model.
type Part struct {
	Config  []byte         // the part's config.json; nil when there is none
	Tensors weights.Source // canonical names, without a prefix for the part
}

// TokenizerFiles are the files of a CLIP tokenizer. All are nil when a model
// brings none: it then uses CLIP's own vocabulary.
type TokenizerFiles struct {
	Vocab  []byte // vocab.json
	Merges []byte // merges.txt
	Config []byte // tokenizer_config.json; may be nil beside the other two
}

// Model is an open model. Text2 and Tokenizer2 are there in SDXL only. Tensors
// may not be used after Close.
type Model struct {
	Name string // as it is asked for: without folder and extension
	Path string // folder or file; empty for the built-in model

	UNet, VAE, Text, Text2 *Part
	Tokenizer, Tokenizer2  TokenizerFiles

	Scheduler []byte // scheduler_config.json or nil
	Index     []byte // model_index.json or nil

	Metadata         map[string]string // of a single file, foreign and of any length
	Parameterization string            // "v" or "eps" where NAME.yaml beside a single file says so
	Rest             Rest              // of a single file
	Said             Said

	files []*weights.File
}

// Said is what the owner of a model says of it, against all that it says of itself. Zero values say nothing.
type Said struct {
	Prediction string // of the UNet: "epsilon" or "v"
	ZeroSNR    *bool  // the schedule ends in pure noise
}

// Open opens a model by name (the built-in one or one in dirs) or by path: see [Shelf.Open].
func Open(nameOrPath string, dirs ...string) (*Model, error) {
	return NewShelf(dirs...).Open(nameOrPath)
}

// Open opens a model by name or by the path of a folder or file. The error is ErrNotFound or ErrInvalid.
//
// Nothing is read but headers and configuration: [Model.CheckFinite] looks at
// the weights themselves.
func (s *Shelf) Open(nameOrPath string) (*Model, error) {
	entry, err := s.Locate(Checkpoint, nameOrPath)
	if err != nil {
		return nil, err
	}
	return entry.Open()
}

// Locate finds what the operator names, by name or by path; what callers of a server name goes through [Shelf.Find]. The
// error is ErrNotFound, or ErrInvalid for a path that may not be looked at.
func (s *Shelf) Locate(kind Kind, nameOrPath string) (Entry, error) {
	entry, err := s.Find(kind, nameOrPath)
	if err == nil {
		return entry, nil
	}
	info, statErr := os.Stat(nameOrPath)
	switch {
	case errors.Is(statErr, fs.ErrPermission):
		return Entry{}, &InvalidError{Model: clip(nameOrPath), Err: statErr}
	case statErr != nil:
		return Entry{}, err
	case info.IsDir():
		return Entry{Name: base(nameOrPath), Kind: kind, Path: nameOrPath, Form: Folder}, nil
	}
	return Entry{Name: withoutExtension(base(nameOrPath)), Kind: kind, Path: nameOrPath, Form: SingleFile, Bytes: info.Size()}, nil
}

// base is the last component of a path, of "." as well.
func base(path string) string {
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	return filepath.Base(path)
}

// Open opens what the entry stands for.
func (e Entry) Open() (*Model, error) { return e.OpenWith(With{}) }

// OpenWith opens what the entry stands for, with networks of other files in it.
func (e Entry) OpenWith(with With) (*Model, error) {
	m := &Model{Name: e.Name, Path: e.Path}
	var err error
	switch e.Form {
	case Builtin:
		err = m.openFolder(folder{fsys: builtin.Files()})
	case Folder:
		err = m.openFolder(diskFolder(e.Path))
	default:
		err = m.openSingle(e.Path)
	}
	if err == nil {
		err = m.join(with)
	}
	if err == nil && !(with.Partial && len(m.parts()) > 0) {
		err = m.Complete()
	}
	if err != nil {
		return nil, errors.Join(&InvalidError{Model: e.Name, Err: err}, m.Close())
	}
	return m, nil
}

// Close gives the files back. A second call does nothing.
func (m *Model) Close() error {
	var errs []error
	for _, f := range m.files {
		errs = append(errs, f.Close())
	}
	m.files = nil
	return errors.Join(errs...)
}

// parts lists the networks there are, by the names of their folders.
func (m *Model) parts() []namedPart {
	var out []namedPart
	for _, p := range []namedPart{{unetFolder, m.UNet}, {vaeFolder, m.VAE}, {textFolder, m.Text}, {text2Folder, m.Text2}} {
		if p.Part != nil {
			out = append(out, p)
		}
	}
	return out
}

type namedPart struct {
	name string
	*Part
}

// landmarks are tensors without which a part cannot be what it is taken for.
// The networks themselves check the rest, with shapes.
var landmarks = map[string][]string{
	unetFolder:  {"input_blocks.0.0.weight", "out.2.weight", "time_embed.0.weight"},
	vaeFolder:   {"decoder.conv_in.weight", "decoder.conv_out.weight"},
	textFolder:  {"text_model.embeddings.token_embedding.weight", "text_model.final_layer_norm.weight"},
	text2Folder: {"text_model.embeddings.token_embedding.weight", "text_model.final_layer_norm.weight", "text_projection.weight"},
}

// landmarks of the part; a TAESD, which is told by its first block, has its own.
func (p namedPart) landmarks() []string {
	if p.name == vaeFolder && has(p.Tensors, "decoder.3.conv.0.weight") {
		return []string{"decoder.1.weight"}
	}
	return landmarks[p.name]
}

// Complete reports what a model lacks before anyone builds a network on it.
func (m *Model) Complete() error {
	switch {
	case m.UNet == nil:
		return m.withoutUNet()
	case m.VAE == nil:
		return errors.New("holds no VAE; name a file with one (--vae FILE)")
	case m.Text == nil:
		return errors.New("holds no text encoder that is known (CLIP, OpenCLIP); name a file with one (--clip FILE)")
	}
	for _, p := range m.parts() {
		for _, name := range p.landmarks() {
			if _, ok := p.Tensors.Tensor(name); !ok {
				return fmt.Errorf("%s: tensor %s is missing; the file is of another kind or not whole", p.name, name)
			}
		}
	}
	return nil
}

// CheckFinite reads every weight and refuses NaN and infinity.
func (m *Model) CheckFinite() error {
	for _, p := range m.parts() {
		if err := weights.CheckFinite(p.Tensors); err != nil {
			return &InvalidError{Model: m.Name, Err: fmt.Errorf("%s: %w", p.name, err)}
		}
	}
	return nil
}
