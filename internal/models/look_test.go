package models

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// A shelf goes by what it saw for a second; what is new is found by its name at once, and listed after that second.
func TestLooksOnceASecond(t *testing.T) {
	dir := t.TempDir()
	add := func(name string) {
		t.Helper()
		path := filepath.Join(dir, "embeddings", name+".safetensors")
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		shelf := NewShelf(dir)
		count := func(want int) {
			t.Helper()
			if got := shelf.List(Embedding); len(got) != want {
				t.Errorf("%v, want %d", got, want)
			}
		}
		add("one")
		count(1)
		add("two")
		count(1)
		time.Sleep(looksAfter)
		count(2)
		add("three")
		if e, err := shelf.Find(Embedding, "three"); err != nil || e.Name != "three" {
			t.Errorf("what is new: %v, %v", e, err)
		}
		count(3)
		if err := os.Remove(filepath.Join(dir, "embeddings", "one.safetensors")); err != nil {
			t.Fatal(err)
		}
		if e, err := shelf.Find(Embedding, "one"); err == nil {
			t.Errorf("what is gone: %v", e)
		}
		count(2)
	})
}
