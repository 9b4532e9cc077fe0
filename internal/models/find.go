package models

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"waggle/internal/builtin"
)

// Kind is the form in which a model comes.
type Kind string

// The three forms.
const (
	Builtin    Kind = "builtin"
	Folder     Kind = "folder"
	SingleFile Kind = "file"
)

// Entry is a model that is there, unopened.
type Entry struct {
	Name  string
	Path  string // empty for the built-in model
	Kind  Kind
	Bytes int64 // of its weight files
}

const (
	extension   = ".safetensors"
	nameLimit   = 200    // bytes of a model's name
	suggestions = 5      // names in a NotFoundError
	entryLimit  = 10_000 // files looked at in one folder
)

// Find looks a name up: the built-in model, then each folder of dirs in turn,
// where NAME is a diffusers folder or NAME.safetensors a file. A name is a
// name, never a path: it may have one slash between owner and model, but cannot
// lead out of dirs. A well-known model is found by any of its names (v1-5,
// runwayml/stable-diffusion-v1-5), and the entry has the one it lies under. The
// error is a NotFoundError.
func Find(name string, dirs ...string) (Entry, error) {
	if name == builtin.Name {
		return builtinEntry(), nil
	}
	for _, name := range append([]string{name}, otherNames(name)...) {
		for _, dir := range dirs {
			if e, ok := lookUp(dir, name); ok {
				return e, nil
			}
		}
	}
	return Entry{}, &NotFoundError{Name: clip(name), Suggestions: nearest(name, List(dirs...))}
}

// ValidName reports whether a string can be the name of a model: one or two
// components separated by "/", each beginning with a letter, digit or "_",
// without control characters, backslashes and colons.
func ValidName(name string) bool {
	parts := strings.Split(name, "/")
	if len(name) > nameLimit || len(parts) > 2 || !utf8.ValidString(name) {
		return false
	}
	for _, part := range parts {
		first, _ := utf8.DecodeRuneInString(part)
		if first != '_' && !unicode.IsLetter(first) && !unicode.IsDigit(first) {
			return false
		}
		if strings.ContainsFunc(part, func(r rune) bool { return unicode.IsControl(r) || r == '\\' || r == ':' }) {
			return false
		}
	}
	return true
}

// lookUp finds a name in one folder: as a diffusers folder, as a file without
// its extension, as a file with it.
func lookUp(dir, name string) (Entry, bool) {
	if !ValidName(name) {
		return Entry{}, false
	}
	path := filepath.Join(dir, filepath.FromSlash(name))
	if e, ok := folderEntry(name, path); ok {
		return e, true
	}
	for _, path := range []string{path + extension, path} {
		if e, ok := fileEntry(name, path); ok {
			return e, true
		}
	}
	return Entry{}, false
}

// fileEntry describes a single-file model, if path is one.
func fileEntry(name, path string) (Entry, bool) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || !strings.EqualFold(filepath.Ext(path), extension) {
		return Entry{}, false
	}
	return Entry{Name: name, Path: path, Kind: SingleFile, Bytes: info.Size()}, true
}

// folderEntry describes a diffusers folder, if path is one: it has a UNet with
// weights. A folder with configuration alone belongs to the file beside it.
func folderEntry(name, path string) (Entry, bool) {
	unet := weightBytes(filepath.Join(path, unetFolder))
	if unet == 0 {
		return Entry{}, false
	}
	total := unet
	for _, part := range []string{vaeFolder, textFolder, text2Folder} {
		total += weightBytes(filepath.Join(path, part))
	}
	return Entry{Name: name, Path: path, Kind: Folder, Bytes: total}, true
}

// weightBytes adds up the weight files in a part's folder, whatever their kind.
func weightBytes(path string) (total int64) {
	for _, e := range children(path) {
		switch strings.ToLower(filepath.Ext(e.Name())) {
		case extension, ".bin":
			if info, err := os.Stat(filepath.Join(path, e.Name())); err == nil && info.Mode().IsRegular() {
				total += info.Size()
			}
		}
	}
	return total
}

// children lists a folder, up to a limit; nothing when it cannot be read.
func children(path string) []fs.DirEntry {
	d, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer d.Close()
	entries, _ := d.ReadDir(entryLimit) // what could be read counts
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return entries
}

// List lists the models that Find can find, the built-in one first, the others
// by name. Of two with one name only the one that Find prefers is listed.
func List(dirs ...string) []Entry {
	found := []Entry{builtinEntry()}
	seen := map[string]bool{builtin.Name: true}
	for _, dir := range dirs {
		for _, e := range listFolder(dir, "") {
			if !seen[e.Name] {
				seen[e.Name] = true
				found = append(found, e)
			}
		}
	}
	slices.SortFunc(found[1:], func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	return found
}

// listFolder lists one folder and, one step down, the folders that are no
// models themselves (OWNER/MODEL).
func listFolder(dir, owner string) (found []Entry) {
	for _, c := range children(filepath.Join(dir, filepath.FromSlash(owner))) {
		name := owner + c.Name()
		if !ValidName(name) {
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		if e, ok := fileEntry(name, path); ok {
			found = append(found, shortened(dir, e))
		} else if e, ok := folderEntry(name, path); ok {
			found = append(found, e)
		} else if owner == "" {
			found = append(found, listFolder(dir, name+"/")...)
		}
	}
	return found
}

// shortened gives a file's entry the name without extension, unless that name
// belongs to a folder.
func shortened(dir string, e Entry) Entry {
	short := withoutExtension(e.Name)
	if first, ok := lookUp(dir, short); ok && first.Path == e.Path {
		e.Name = short
	}
	return e
}

func withoutExtension(name string) string { return strings.TrimSuffix(name, filepath.Ext(name)) }

// builtinEntry describes the embedded model.
func builtinEntry() Entry {
	e := Entry{Name: builtin.Name, Kind: Builtin}
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

// nearest orders names by how many letters must change to make them out of name.
func nearest(name string, entries []Entry) []string {
	name = strings.ToLower(clip(name))
	type candidate struct {
		name     string
		distance int
	}
	var all []candidate
	for _, e := range entries {
		other := strings.ToLower(e.Name)
		distance := editDistance(name, other)
		if strings.Contains(other, name) && name != "" {
			distance = 1 // the beginning of a name, or its middle, is meant to find it
		}
		all = append(all, candidate{e.Name, distance})
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(a.distance, b.distance) })
	var out []string
	for _, c := range all[:min(len(all), suggestions)] {
		out = append(out, c.name)
	}
	return out
}

// editDistance is the Levenshtein distance of two short strings, in bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// clip keeps a name of any length fit for an error.
func clip(name string) string {
	if len(name) <= nameLimit {
		return name
	}
	return strings.ToValidUTF8(name[:nameLimit], "") + "…"
}
