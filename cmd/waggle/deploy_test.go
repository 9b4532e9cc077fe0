package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestServiceUnit tries docs/waggle.service, as far as that can be done without starting it.
func TestServiceUnit(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/waggle.service")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\nExecStart=/usr/local/bin/waggle ")
	line, _, _ := strings.Cut(rest, "\n")
	if !found {
		t.Fatal("no ExecStart=/usr/local/bin/waggle")
	}
	parser, err := newParser(t.Context(), new(verbs))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(strings.Fields(line)); err != nil {
		t.Errorf("waggle %s: %v", line, err)
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze here to look at the rest")
	}
	unit := filepath.Join(t.TempDir(), "waggle.service")
	if err := os.WriteFile(unit, []byte(strings.Replace(string(text), "/usr/local/bin/waggle", program, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyze, "verify", unit).CombinedOutput()
	if err != nil || strings.Contains(string(out), "waggle.service") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
