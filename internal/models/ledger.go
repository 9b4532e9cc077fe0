package models

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// Record says where a file came from, and what it was then.
type Record struct {
	Source string    `json:"source"` // an address or a path
	SHA256 string    `json:"sha256"`
	Bytes  int64     `json:"bytes"`
	Time   time.Time `json:"time"`
	Link   bool      `json:"link,omitempty"` // the file lies elsewhere
}

// Ledger is what was put into a folder of models, by path below it, with slashes.
type Ledger map[string]Record

// NotesFolder is where a folder of models has the ledger, and what is on its way.
const NotesFolder = ".waggle"

const (
	ledgerName  = "files.json"
	ledgerLimit = 64 << 20 // bytes
)

// ReadLedger reads a folder's ledger; one that is not there is empty.
func ReadLedger(dir string) (Ledger, error) {
	l := Ledger{}
	name := NotesFolder + "/" + ledgerName
	data, err := diskFolder(dir).read(name, ledgerLimit)
	if err != nil || data == nil {
		return l, err
	}
	if err := json.Unmarshal(data, &l); err != nil {
		return l, fmt.Errorf("%s is damaged: %w; without it nothing is known of where files came from", filepath.Join(dir, name), err)
	}
	return l, nil
}

// ChangeLedger changes a folder's ledger; other processes that do wait meanwhile.
func ChangeLedger(ctx context.Context, dir string, change func(Ledger)) error {
	notes := filepath.Join(dir, NotesFolder)
	if err := os.MkdirAll(notes, 0o755); err != nil {
		return err
	}
	lock := flock.New(filepath.Join(notes, "lock"))
	if _, err := lock.TryLockContext(ctx, 50*time.Millisecond); err != nil {
		return fmt.Errorf("lock %s: %w", notes, err)
	}
	defer lock.Unlock()
	l, err := ReadLedger(dir)
	if err != nil {
		return err
	}
	change(l)
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	next := filepath.Join(notes, ledgerName+".new")
	if err := os.WriteFile(next, data, 0o644); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(notes, ledgerName))
}

// Of finds the record of a file below dir.
func (l Ledger) Of(dir, path string) (Record, bool) {
	below, err := filepath.Rel(dir, path)
	if err != nil {
		return Record{}, false
	}
	r, ok := l[filepath.ToSlash(below)]
	return r, ok
}

// Put writes a record for a file below dir.
func (l Ledger) Put(dir, path string, r Record) error {
	below, err := filepath.Rel(dir, path)
	if err == nil && !filepath.IsLocal(below) {
		err = fmt.Errorf("%s is not below %s", path, dir)
	}
	if err == nil {
		r.Time = time.Now().UTC()
		l[filepath.ToSlash(below)] = r
	}
	return err
}

// From lists the files, by path below the folder, that came from a source and are there in the size they had.
func (l Ledger) From(dir, source string) (paths []string) {
	for path, r := range l {
		info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(path)))
		if r.Source == source && err == nil && info.Size() == r.Bytes {
			paths = append(paths, path)
		}
	}
	return paths
}

// homes are the folders in which files of a kind are kept where there are none yet.
var homes = map[Kind]string{
	Checkpoint: "", UNet: "unet", VAE: "vae", TextEncoder: "clip", LoRA: "loras", Embedding: "embeddings",
	ControlNet: "controlnet", Upscaler: "upscale_models", TAESD: "vae_approx",
}

// HomeOf is the folder, below one given by --models, in which files of a kind belong: that of the installation, if it is one.
func HomeOf(dir string, kind Kind) string {
	for _, base := range []string{filepath.Join(dir, "models"), dir} {
		for _, c := range children(base, entryLimit) {
			if kindFolders[strings.ToLower(c.Name())] == kind {
				return filepath.Join(base, c.Name())
			}
		}
	}
	if kind != Checkpoint && len(kindsIn(filepath.Join(dir, "models"))) > 0 {
		dir = filepath.Join(dir, "models")
	}
	return filepath.Join(dir, homes[kind])
}

// KindOf tells a weight file's kind by its tensors' names, if they say.
func KindOf(path string) (Kind, bool) {
	kind := tellKind(path)
	return kind, kind != ""
}

// IsUsualStem reports whether a weight file's name says nothing: such a file goes by its folder's name.
func IsUsualStem(path string) bool {
	stem, _, _ := strings.Cut(filepath.Base(path), ".")
	return slices.Contains(usualStems, stem)
}

// IsWeights reports whether a file is a weight file by its name.
func IsWeights(path string) bool {
	return slices.Contains(extensions, strings.ToLower(filepath.Ext(path)))
}

// Files are the entry's weight files: itself, or those below a diffusers folder.
func (e Entry) Files() ([]string, error) {
	switch e.Form {
	case Builtin:
		return nil, nil
	case SingleFile:
		return []string{e.Path}, nil
	}
	return e.files(IsWeights)
}

// AllFiles are the entry's files: itself, or everything below a diffusers folder.
func (e Entry) AllFiles() ([]string, error) {
	if e.Form != Folder {
		return e.Files()
	}
	return e.files(func(string) bool { return true })
}

func (e Entry) files(wanted func(string) bool) (paths []string, err error) {
	real, err := filepath.EvalSymlinks(e.Path)
	if err != nil {
		return nil, err
	}
	left := entryLimit
	err = filepath.WalkDir(real, func(path string, d fs.DirEntry, err error) error {
		if left--; left < 0 {
			return errors.New("holds too many files")
		}
		if err == nil && !d.IsDir() && wanted(path) {
			paths = append(paths, e.Path+strings.TrimPrefix(path, real))
		}
		return err
	})
	return paths, err
}
