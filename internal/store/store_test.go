package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"waggle/internal/job"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, root string) *Folder {
	t.Helper()
	f, err := Open(root, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func put(t *testing.T, s Store, id job.ID, index int, data string) {
	t.Helper()
	if err := s.Put(t.Context(), id, index, []byte(data)); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, s Store, id job.ID, index int, data string) {
	t.Helper()
	got, err := s.Get(t.Context(), id, index)
	if err != nil || !bytes.Equal(got, []byte(data)) {
		t.Errorf("%s/%d: got %q, %v, want %q", id, index, got, err, data)
	}
}

func absent(t *testing.T, s Store, id job.ID, index int) {
	t.Helper()
	if _, err := s.Get(t.Context(), id, index); !errors.Is(err, ErrNotFound) {
		t.Errorf("%s/%d: %v, want ErrNotFound", id, index, err)
	}
}

func TestFolder(t *testing.T) {
	root := filepath.Join(t.TempDir(), "data", "pictures")
	s := open(t, root)
	put(t, s, "a", 0, "first")
	put(t, s, "a", 1, "second")
	put(t, s, "b", 0, "other")
	put(t, s, "a", 0, "replaced")
	again := open(t, root)
	want(t, again, "a", 0, "replaced")
	want(t, again, "a", 1, "second")
	absent(t, s, "a", 2)
	if err := s.Remove(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	absent(t, again, "a", 1)
	want(t, again, "b", 0, "other")
	if left, _ := filepath.Glob(filepath.Join(root, "*", ".part-*")); len(left) != 0 {
		t.Errorf("parts left behind: %v", left)
	}
}

func TestHostileNames(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "x")
	root := filepath.Join(outside, "pictures")
	s := open(t, root)
	if err := os.WriteFile(filepath.Join(outside, "0.png"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, id := range []job.ID{"..", "", ".", "a/../..", "/etc"} {
		absent(t, s, id, 0)
		if err := s.Put(t.Context(), id, 0, nil); err == nil {
			t.Errorf("stored under %q", id)
		}
		if err := s.Remove(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	absent(t, s, "a", -1)
	if _, err := os.Stat(filepath.Join(outside, "0.png")); err != nil {
		t.Errorf("a file outside the store is gone: %v", err)
	}
}

func TestWriteFails(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	// A file where the job's folder should be: the picture cannot be written.
	if err := os.WriteFile(filepath.Join(root, "a"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "a", 0, []byte("x")); err == nil {
		t.Error("no error for a picture that was not written")
	}
}

func TestExpiry(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	put(t, s, "old", 0, "x")
	put(t, s, "young", 0, "y")
	past := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(filepath.Join(root, "old"), past, past); err != nil {
		t.Fatal(err)
	}
	s.expire(time.Now())
	absent(t, s, "old", 0)
	want(t, s, "young", 0, "y")
}

func TestTemporary(t *testing.T) {
	s := open(t, "")
	put(t, s, "a", 0, "x")
	want(t, s, "a", 0, "x")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary folder stays: %v", err)
	}
}
