package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLogFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "waggle.log")
	if err := os.WriteFile(path, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := openLogFile(path)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(l, nil))
	log.Info("first")
	moved := filepath.Join(dir, "waggle.log.1")
	if err := os.Rename(path, moved); err != nil {
		t.Fatal(err)
	}
	log.Info("second")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	log.Info("third")
	for file, want := range map[string][]string{moved: {"before", "first"}, path: {"third"}} {
		text := string(readFile(t, file))
		for _, word := range want {
			if !strings.Contains(text, word) || strings.Count(text, "\n") != len(want) {
				t.Errorf("%s: %q, want %q", file, text, want)
			}
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	log.Info("fourth") // is lost in peace
}

// A folder that is gone does not stop anything: the old file goes on.
func TestLogFileWithoutItsFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := openLogFile(filepath.Join(dir, "waggle.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.RemoveAll(dir); err != nil {
		t.Skip(err) // where open files cannot be removed
	}
	if n, err := l.Write([]byte("a line\n")); n != 7 || err != nil {
		t.Errorf("wrote %d, %v", n, err)
	}
	if _, err := openLogFile(filepath.Join(dir, "waggle.log")); err == nil {
		t.Error("a log in a folder that is not there")
	}
}
