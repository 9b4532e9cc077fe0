package models

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"waggle/internal/builtin"
)

// store makes a folder with empty files that look like models from outside.
func store(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	for _, name := range []string{
		"v1-5.safetensors", "both.safetensors", "both/unet/diffusion_pytorch_model.safetensors",
		"owner/net/unet/diffusion_pytorch_model.fp16.safetensors", "owner/net/vae/diffusion_pytorch_model.safetensors",
		"configured.safetensors", "configured/unet/config.json", "notes.txt", ".hidden.safetensors",
		"old/two.ckpt", "old/two.safetensors", "a/same.safetensors", "b/Same.safetensors",
		"../outside.safetensors",
	} {
		write(t, filepath.Join(dir, name), "12345")
	}
	return dir
}

func TestFind(t *testing.T) {
	dir := store(t)
	shelf := NewShelf(filepath.Join(dir, "absent"), dir)
	for _, c := range []struct {
		name  string
		found string // the entry's name, where it is another
		path  string // below dir; empty for the built-in model
		form  Form
	}{
		{builtin.Name, "", "", Builtin},
		{"v1-5", "", "v1-5.safetensors", SingleFile},
		{"v1-5.safetensors", "v1-5", "v1-5.safetensors", SingleFile},
		{"V1-5", "v1-5", "v1-5.safetensors", SingleFile},
		{"both", "", "both", Folder},
		{"both.safetensors", "", "both.safetensors", SingleFile},
		{"owner/net", "", "owner/net", Folder},
		{"net", "owner/net", "owner/net", Folder},
		{"NET", "owner/net", "owner/net", Folder},
		{"configured", "", "configured.safetensors", SingleFile},
		{"old/two", "", "old/two.safetensors", SingleFile},
		{"two", "old/two", "old/two.safetensors", SingleFile},
		{"two.ckpt", "old/two.ckpt", "old/two.ckpt", SingleFile},
		{"same", "a/same", "a/same.safetensors", SingleFile}, // the case of letters tells them apart
	} {
		e, err := shelf.Find(Checkpoint, c.name)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		want := Entry{Name: c.found, Form: c.form}
		if want.Name == "" {
			want.Name = c.name
		}
		if c.path != "" {
			want.Path = filepath.Join(dir, filepath.FromSlash(c.path))
		}
		if e.Name != want.Name || e.Path != want.Path || e.Form != want.Form {
			t.Errorf("%s: got %+v, want %+v", c.name, e, want)
		}
	}
}

func TestFindAmbiguous(t *testing.T) {
	shelf := NewShelf(store(t))
	_, err := shelf.Find(Checkpoint, "SAME")
	var several *AmbiguousError
	if !errors.As(err, &several) || !errors.Is(err, ErrNotFound) {
		t.Fatalf("got %v", err)
	}
	if want := []string{"a/same", "b/Same"}; !slices.Equal(several.Candidates, want) || !strings.Contains(err.Error(), "a/same, b/Same") {
		t.Errorf("got %v, want %v", err, want)
	}
}

// A name from a stranger cannot lead out of the store.
func TestFindRefusesPaths(t *testing.T) {
	dir := store(t)
	shelf := NewShelf(dir)
	absolute := filepath.Join(filepath.Dir(dir), "outside.safetensors")
	if _, err := os.Stat(absolute); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"", ".", "..", "/", "../outside", "../outside.safetensors", "owner/../v1-5", "owner/../../outside", absolute,
		`..\outside`, `c:v1-5`, "./v1-5", ".hidden", "v1-5\x00", "a/b/c", "notes.txt", "notes", "\xff", strings.Repeat("a", 1<<20),
		"v1-5/", "/v1-5", "old", "~/v1-5",
	} {
		e, err := shelf.Find(Checkpoint, name)
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%.40q: found %+v, %v", name, e, err)
		}
		if err != nil && len(err.Error()) > 800 {
			t.Errorf("%.40q: error of %d bytes", name, len(err.Error()))
		}
	}
}

func TestList(t *testing.T) {
	dir := store(t)
	var names []string
	for _, e := range NewShelf(dir, filepath.Join(dir, "absent")).List(Checkpoint) {
		names = append(names, e.Name)
		if e.Name == "owner/net" && e.Bytes != 10 {
			t.Errorf("owner/net has %d bytes, want 10", e.Bytes)
		}
	}
	want := []string{builtin.Name, "a/same", "b/Same", "both", "both.safetensors", "configured", "old/two", "old/two.ckpt", "owner/net", "v1-5"}
	if !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
	for _, shelf := range []*Shelf{nil, NewShelf()} {
		if got := shelf.List(""); len(got) != 1 || got[0].Form != Builtin || got[0].Bytes < 9_000_000 {
			t.Errorf("without folders: %+v", got)
		}
	}
}

// Of two folders the first comes first.
func TestListTwoFolders(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	write(t, filepath.Join(first, "one.ckpt"), "1")
	write(t, filepath.Join(second, "one.ckpt"), "22")
	write(t, filepath.Join(second, "one.safetensors"), "333")
	shelf := NewShelf(first, second)
	for name, want := range map[string]int64{"one": 1, "one.ckpt": 1, "one.safetensors": 3} {
		if e, err := shelf.Find(Checkpoint, name); err != nil || e.Bytes != want {
			t.Errorf("%s: got %+v, %v, want the one of %d bytes", name, e, err, want)
		}
	}
}

func TestNotFoundSuggests(t *testing.T) {
	dir := store(t)
	for name, want := range map[string]string{"tiny-shape": builtin.Name, "V1.6": "v1-5", "owner/nets": "owner/net", "configurd": "configured"} {
		_, err := Open(name, dir)
		var missing *NotFoundError
		if !errors.As(err, &missing) || !errors.Is(err, ErrNotFound) {
			t.Fatalf("%s: %v", name, err)
		}
		if len(missing.Suggestions) == 0 || missing.Suggestions[0] != want {
			t.Errorf("%s: suggested %v, want %s first", name, missing.Suggestions, want)
		}
		if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := NewShelf(dir).Find(LoRA, "ink")
	if want := `no LoRA "ink"; known: none`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// A valid name, joined to a folder, stays inside it.
func FuzzValidName(f *testing.F) {
	for _, s := range []string{"a", "a/b", "../a", "a/..", `a\b`, "/a", "ä", ".a", "a/./b", "C:a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if !ValidName(name) {
			return
		}
		root := filepath.FromSlash("/store")
		path := filepath.Join(root, filepath.FromSlash(name))
		inside, err := filepath.Rel(root, path)
		if err != nil || filepath.ToSlash(inside) != name {
			t.Fatalf("%q leads to %q", name, path)
		}
	})
}
