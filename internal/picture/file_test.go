package picture

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out.png")
	for _, data := range []string{"first", "second, longer", ""} {
		if err := WriteFile(path, []byte(data)); err != nil {
			t.Fatal(err)
		}
		if got := content(t, path); got != data {
			t.Errorf("got %q, want %q", got, data)
		}
	}
	if got := names(t, dir); got != "out.png" {
		t.Errorf("folder holds %q", got)
	}
}

func TestWriteFileThatFailsLeavesAllAsItWas(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out.png")
	if err := WriteFile(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	want := errors.New("no more")
	err := writeFile(path, func(w io.Writer) error {
		if _, err := w.Write([]byte("half of")); err != nil {
			t.Fatal(err)
		}
		return want
	})
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
	if got := content(t, path); got != "old" {
		t.Errorf("got %q, want the old content", got)
	}
	if got := names(t, dir); got != "out.png" {
		t.Errorf("folder holds %q", got)
	}
}

func TestWriteFileSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		"":                             "the file has no name",
		dir:                            "it is a folder: name a file in it",
		filepath.Join(dir, "no", "a"):  "folder " + filepath.Join(dir, "no") + " does not exist: make it first",
		filepath.Join(dir, "a\x00.go"): "invalid argument",
	} {
		err := WriteFile(path, nil)
		if err == nil || !strings.HasPrefix(err.Error(), "write "+path+": ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", path, err, want)
		} else if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), ".part") {
			t.Errorf("%q: %q is more than one line, or names the file beside", path, err)
		}
	}
	if got := names(t, dir); got != "" {
		t.Errorf("folder holds %q", got)
	}
}

func TestWriteFileReplacesTheFileBehindALink(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	if err := os.WriteFile(real, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", link); err != nil {
		t.Skip(err)
	}
	if err := WriteFile(link, []byte("new")); err != nil {
		t.Fatal(err)
	}
	if got := content(t, real); got != "new" {
		t.Errorf("got %q", got)
	}
	if got, err := os.Readlink(link); got != "real" {
		t.Errorf("the link is gone: %q, %v", got, err)
	}
}
