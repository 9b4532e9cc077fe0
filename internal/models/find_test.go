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
		"../outside.safetensors",
	} {
		write(t, filepath.Join(dir, name), "12345")
	}
	return dir
}

func TestFind(t *testing.T) {
	dir := store(t)
	for _, c := range []struct {
		name string
		path string // below dir; empty for the built-in model
		kind Kind
	}{
		{builtin.Name, "", Builtin},
		{"v1-5", "v1-5.safetensors", SingleFile},
		{"v1-5.safetensors", "v1-5.safetensors", SingleFile},
		{"both", "both", Folder},
		{"both.safetensors", "both.safetensors", SingleFile},
		{"owner/net", "owner/net", Folder},
		{"configured", "configured.safetensors", SingleFile},
	} {
		e, err := Find(c.name, filepath.Join(dir, "absent"), dir)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		want := ""
		if c.path != "" {
			want = filepath.Join(dir, filepath.FromSlash(c.path))
		}
		if e.Name != c.name || e.Path != want || e.Kind != c.kind {
			t.Errorf("%s: got %+v, want %s at %s", c.name, e, c.kind, want)
		}
	}
}

// A name from a stranger cannot lead out of the store.
func TestFindRefusesPaths(t *testing.T) {
	dir := store(t)
	absolute := filepath.Join(filepath.Dir(dir), "outside.safetensors")
	if _, err := os.Stat(absolute); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"", ".", "..", "/", "../outside", "../outside.safetensors", "owner/../v1-5", "owner/../../outside", absolute,
		`..\outside`, `c:v1-5`, "./v1-5", ".hidden", "v1-5\x00", "a/b/c", "notes.txt", "\xff", strings.Repeat("a", 1<<20),
	} {
		e, err := Find(name, dir)
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
	for _, e := range List(dir, filepath.Join(dir, "absent")) {
		names = append(names, e.Name)
		if e.Name == "owner/net" && e.Bytes != 10 {
			t.Errorf("owner/net has %d bytes, want 10", e.Bytes)
		}
	}
	want := []string{builtin.Name, "both", "both.safetensors", "configured", "owner/net", "v1-5"}
	if !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
	if got := List(); len(got) != 1 || got[0].Kind != Builtin || got[0].Bytes < 9_000_000 {
		t.Errorf("without folders: %+v", got)
	}
}

func TestNotFoundSuggests(t *testing.T) {
	dir := store(t)
	for name, want := range map[string]string{"tiny-shape": builtin.Name, "V1.6": "v1-5", "net": "owner/net", "configurd": "configured"} {
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
