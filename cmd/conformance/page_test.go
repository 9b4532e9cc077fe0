package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestPage: docs/conformance.md shows the checks as they are.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../waggle/check_*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	from := map[string]string{"rbee": "S", "ours": "O", "both": "S/O"}
	begins := regexp.MustCompile(`(?m)^func TestCheck(\d\d)\w+\(t \*testing\.T\) \{\n\tcheck\(t, (\w+), "(.*)"\)$`)
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, check := range begins.FindAllStringSubmatch(string(text), -1) {
			found++
			row := fmt.Sprintf("\n%2s  %-3s  %s  ", strings.TrimPrefix(check[1], "0"), from[check[2]], check[3])
			if !strings.Contains(string(page), row) {
				t.Errorf("docs/conformance.md lacks %q", row)
			}
		}
	}
	if found != checks {
		t.Errorf("%d checks found in %q, want %d", found, files, checks)
	}
}
