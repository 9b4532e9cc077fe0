package models

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"waggle/internal/builtin"
)

// Form is how a model or another thing comes.
type Form string

// The three forms.
const (
	Builtin    Form = "builtin"
	Folder     Form = "folder" // a diffusers folder
	SingleFile Form = "file"
)

// Entry is a model, or a thing of another kind, that is there, unopened.
type Entry struct {
	Name  string `json:"name"`
	Kind  Kind   `json:"kind"`
	Form  Form   `json:"form"`
	Path  string `json:"path,omitempty"` // empty for the built-in model
	Bytes int64  `json:"bytes"`          // of its weight files

	Dir  string `json:"-"` // of the shelf's folders, the one it is in; empty for the built-in model
	file string // its name with the file's extension
}

const extension = ".safetensors"

// Shelf knows what lies in some folders. Files can come and go: it looks there when it is asked, but no more often than once a
// second for what it has found. Its methods may be used concurrently, those of nil as well: nothing but the built-in model is
// on that one.
type Shelf struct {
	dirs []string
	tell teller

	mu    sync.Mutex
	seen  []Entry   // at the last look, sorted; not to be changed
	since time.Time // when that was
}

// looksAfter is how long a shelf goes by what it saw. With thousands of files a look takes longer than reading a prompt.
const looksAfter = time.Second

// NewShelf makes a shelf of folders, of which the first comes first. Those that are not there are as if they were empty.
func NewShelf(dirs ...string) *Shelf { return &Shelf{dirs: slices.Clone(dirs)} }

// List lists what there is of a kind, by name; of all kinds where kind is empty. The built-in model comes first. Of two of
// one kind and name, in two folders, only the first folder's is there.
func (s *Shelf) List(kind Kind) (list []Entry) { return ofKind(s.look(looksAfter), kind) }

func ofKind(all []Entry, kind Kind) (list []Entry) {
	if kind == "" || kind == Checkpoint {
		list = append(list, builtinEntry())
	}
	for _, e := range all {
		if kind == "" || kind == e.Kind {
			list = append(list, e)
		}
	}
	return list
}

// look is what lies in the folders, by kind and name, as it was at most that long ago.
func (s *Shelf) look(age time.Duration) []Entry {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.since.IsZero() || now.Sub(s.since) >= age {
		s.seen, s.since = s.survey(), now
		slices.SortFunc(s.seen, func(a, b Entry) int {
			return cmp.Or(cmp.Compare(slices.Index(Kinds(), a.Kind), slices.Index(Kinds(), b.Kind)), cmp.Compare(a.Name, b.Name))
		})
	}
	return s.seen
}

// survey looks into all folders.
func (s *Shelf) survey() (found []Entry) {
	names := namer{Checkpoint: {builtin.Name: true}}
	for _, dir := range s.dirs {
		w := walker{tell: &s.tell}
		w.survey(dir)
		for _, e := range names.name(w.finds) {
			e.Dir = dir
			found = append(found, e)
		}
	}
	return found
}

// Find looks up what there is of a kind under a name: as it is listed, or with its file's extension; without the folders
// before it, where no other has the same; then likewise whatever the case of its letters. A name is a name, never a path:
// nothing is found that is not listed. A well-known model is found by any of its names (v1-5,
// runwayml/stable-diffusion-v1-5), and the entry has the one it lies under.
//
// The error is a NotFoundError, or an AmbiguousError where several are as near. Before a name is said to be unknown, the
// folders are looked into anew.
func (s *Shelf) Find(kind Kind, name string) (Entry, error) {
	if kind == Checkpoint && name == builtin.Name {
		return builtinEntry(), nil
	}
	e, err := among(ofKind(s.look(looksAfter), kind), kind, name)
	if err != nil || !e.there() {
		e, err = among(ofKind(s.look(0), kind), kind, name)
	}
	return e, err
}

// there reports whether what was seen has not gone since.
func (e Entry) there() bool {
	_, err := os.Lstat(e.Path)
	return e.Form == Builtin || err == nil
}

// among all that there is of a kind, what goes by a name.
func among(all []Entry, kind Kind, name string) (Entry, error) {
	for _, fits := range readings(kind, name) {
		var found []Entry
		for _, e := range all {
			if fits(e) {
				found = append(found, e)
			}
		}
		switch {
		case len(found) == 1:
			return found[0], nil
		case len(found) > 1:
			return Entry{}, &AmbiguousError{Kind: kind, Name: clip(name), Candidates: namesOf(found)}
		}
	}
	return Entry{}, &NotFoundError{Kind: kind, Name: clip(name), Suggestions: nearest(name, all)}
}

// FindVAE finds what decodes latents: a VAE of the name, else a TAESD. The error is that of the VAE.
func (s *Shelf) FindVAE(name string) (Entry, error) {
	e, err := s.Find(VAE, name)
	var missing *NotFoundError
	if errors.As(err, &missing) {
		if small, other := s.Find(TAESD, name); other == nil {
			return small, nil
		}
	}
	return e, err
}

// readings are the ways to read a name, the most exact first.
func readings(kind Kind, name string) (ways []func(Entry) bool) {
	if !ValidName(name) {
		return nil
	}
	exact := []string{name}
	if kind == Checkpoint {
		exact = append(exact, otherNames(name)...)
	}
	for _, exact := range exact {
		ways = append(ways,
			func(e Entry) bool { return e.Name == exact },
			func(e Entry) bool { return e.file == exact })
	}
	return append(ways,
		func(e Entry) bool { return bare(e.Name) == name || bare(e.file) == name },
		func(e Entry) bool { return strings.EqualFold(e.Name, name) || strings.EqualFold(e.file, name) },
		func(e Entry) bool {
			return strings.EqualFold(bare(e.Name), name) || strings.EqualFold(bare(e.file), name)
		})
}

// bare is a name without the folders before it.
func bare(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

func namesOf(entries []Entry) (names []string) {
	for _, e := range entries {
		names = append(names, e.Name)
	}
	return names
}

// nameLimit is the most bytes that a name may have.
const nameLimit = 400

// ValidName reports whether a string can be the name of a model or of another file: some components separated by "/", none
// of which is empty or begins with "." or "~", without control characters, backslashes and colons.
func ValidName(name string) bool {
	if len(name) > nameLimit || !utf8.ValidString(name) {
		return false
	}
	if strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || r == '\\' || r == ':' }) {
		return false
	}
	parts := strings.Split(name, "/")
	return len(parts) <= depthLimit+1 && !slices.ContainsFunc(parts, func(part string) bool {
		return part == "" || part[0] == '.' || part[0] == '~'
	})
}

// modelBytes is the size of a diffusers folder's weights; 0 if it is none: it has a UNet with weights. A folder with
// configuration alone belongs to the file beside it.
func modelBytes(path string) int64 {
	total := weightBytes(filepath.Join(path, unetFolder))
	if total == 0 {
		return 0
	}
	for _, part := range []string{vaeFolder, textFolder, text2Folder} {
		total += weightBytes(filepath.Join(path, part))
	}
	return total
}

// weightBytes adds up the weight files in a part's folder, whatever their kind.
func weightBytes(path string) (total int64) {
	for _, e := range children(path, entryLimit) {
		switch strings.ToLower(filepath.Ext(e.Name())) {
		case extension, ".bin":
			if info, err := os.Stat(filepath.Join(path, e.Name())); err == nil && info.Mode().IsRegular() {
				total += info.Size()
			}
		}
	}
	return total
}

func withoutExtension(name string) string { return strings.TrimSuffix(name, filepath.Ext(name)) }

// builtinEntry describes the embedded model.
func builtinEntry() Entry {
	e := Entry{Name: builtin.Name, Kind: Checkpoint, Form: Builtin, file: builtin.Name}
	files, err := fs.Glob(builtin.Files(), "*/*"+extension)
	if err != nil {
		return e
	}
	for _, name := range files {
		if info, err := fs.Stat(builtin.Files(), name); err == nil {
			e.Bytes += info.Size()
		}
	}
	return e
}
