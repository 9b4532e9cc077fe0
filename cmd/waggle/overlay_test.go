//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// buildWith builds the program with some source files replaced or added, and returns its path: what tests need to see or to
// move inside it has no place in the program that people run. Names without a folder are files of this package.
func buildWith(t *testing.T, files map[string]string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	out, replace := t.TempDir(), map[string]string{}
	write := func(name, text string) string {
		file := filepath.Join(out, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for name, text := range files {
		original := name
		if !filepath.IsAbs(name) {
			original = filepath.Join(dir, name)
		}
		replace[original] = write(fmt.Sprint(len(replace), ".go"), text)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(out, "waggle")
	c := exec.CommandContext(t.Context(), "go", "build", "-overlay", write("overlay.json", string(overlay)), "-o", program, ".")
	if text, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, text)
	}
	return program
}
