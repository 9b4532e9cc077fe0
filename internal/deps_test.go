// Package internal_test holds the project to its import table.
package internal_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "waggle"

// everything lets a package import any other.
const everything = "*"

// mayImport is the table: a package and those below it may import these of ours, and packages below
// itself. ARCHITECTURE.md shows the same table to people. A new arrow needs a changed row, and the
// commit says why.
var mayImport = map[string][]string{
	"shaders":            nil,
	"gpu":                nil,
	"internal/job":       nil,
	"internal/sampler":   nil,
	"internal/noise":     nil,
	"internal/tokenizer": nil,
	"internal/prompt":    nil,
	"internal/pickle":    nil,
	"internal/weights":   {"internal/pickle"},
	"internal/picture":   nil,
	"internal/builtin":   nil,
	"internal/reference": nil,
	"internal/goldens":   nil,
	"internal/hub":       nil,
	"internal/bus":       nil,
	"internal/certs":     nil,
	"internal/natstest":  nil,
	"internal/sse":       nil,
	"internal/door":      nil,

	"internal/lora":   {"internal/weights"},
	"internal/models": {"internal/weights", "internal/builtin"},
	"internal/nn":     {"gpu", "shaders", "internal/weights", "internal/reference"},
	"internal/sd": {"gpu", "internal/nn", "internal/weights", "internal/sampler", "internal/noise",
		"internal/tokenizer", "internal/prompt", "internal/models", "internal/lora"},

	"internal/queue":   {"internal/job", "internal/bus"},
	"internal/events":  {"internal/job", "internal/bus"},
	"internal/store":   {"internal/job", "internal/bus"},
	"internal/beacon":  {"internal/job", "internal/certs"},
	"internal/client":  {"internal/job", "internal/certs", "internal/sse"},
	"internal/metrics": {"internal/job"},
	"internal/queen":   {"internal/job", "internal/openapi", "internal/certs", "internal/door", "internal/queue", "internal/stream", "internal/sse"},
	"internal/stream":  {"internal/job", "internal/queue", "internal/events", "internal/store", "internal/picture", "internal/sse"},
	"internal/webhook": {"internal/job", "internal/queue"},
	"web":              {"internal/job"},
	"internal/openapi": {"internal/job"},
	"internal/api": {"internal/job", "internal/openapi", "internal/door", "internal/queue", "internal/events", "internal/store",
		"internal/picture", "internal/sse", "internal/stream", "web"},

	"internal/engine": {"internal/job", "internal/queue", "internal/events", "internal/store", "internal/sd", "gpu",
		"internal/picture", "internal/sampler"},
	"wasm": {"internal/job"},
	"cmd":  {everything},
}

// onlyTests may be imported by test files alone.
var onlyTests = []string{"internal/goldens", "internal/natstest", "internal/openapi/openapitest"}

// Every import of ours in the code that ships is an arrow of the table, whatever system a file is for.
func TestImports(t *testing.T) {
	seen := map[string]bool{}
	for file, imports := range sources(t) {
		row, found := rowOf(path.Dir(file))
		if !found {
			t.Errorf("%s: package %s is not in the import table of internal/deps_test.go", file, path.Dir(file))
			continue
		}
		seen[row] = true
		for _, name := range imports {
			if !allowed(row, name) {
				t.Errorf("%s: %s may not import %s; it may import %q", file, row, name, mayImport[row])
			}
			if slices.Contains(onlyTests, name) {
				t.Errorf("%s: %s is for tests alone", file, name)
			}
		}
	}
	for row := range mayImport {
		if !seen[row] {
			t.Errorf("the import table has a row for %s, which has no code", row)
		}
	}
}

// ARCHITECTURE.md shows people the table that is executed here.
func TestTableInArchitecture(t *testing.T) {
	page, err := os.ReadFile("../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(page), "| --- | --- |\n")
	if !found {
		t.Fatal("ARCHITECTURE.md has no import table")
	}
	want := map[string][]string{}
	for name, may := range mayImport {
		want[path.Base(name)] = short(may)
	}
	if diff := cmp.Diff(want, rowsOf(table)); diff != "" {
		t.Errorf("the table in ARCHITECTURE.md (+) is not the one of internal/deps_test.go (-):\n%s", diff)
	}
}

// rowsOf reads rows of the form "| a, b | c, d |".
func rowsOf(table string) map[string][]string {
	rows := map[string][]string{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 4 {
			continue
		}
		may := strings.Split(strings.TrimSpace(cells[2]), ", ")
		slices.Sort(may)
		for name := range strings.SplitSeq(strings.TrimSpace(cells[1]), ", ") {
			rows[name] = may
		}
	}
	return rows
}

// short names packages as people do: without folders, sorted.
func short(packages []string) []string {
	switch {
	case len(packages) == 0:
		return []string{"nothing"}
	case packages[0] == everything:
		return []string{"everything"}
	}
	var names []string
	for _, name := range packages {
		names = append(names, path.Base(name))
	}
	slices.Sort(names)
	return names
}

// rowOf finds the table's row for a package: its own or that of a folder above.
func rowOf(name string) (row string, found bool) {
	for row = name; row != "."; row = path.Dir(row) {
		if _, found = mayImport[row]; found {
			return row, true
		}
	}
	return "", false
}

// allowed reports whether a package of row may import the package called name.
func allowed(row, name string) bool {
	if below(name, row) {
		return true
	}
	return slices.ContainsFunc(mayImport[row], func(to string) bool { return to == everything || below(name, to) })
}

// below reports whether name is the package top or in a folder of it.
func below(name, top string) bool { return name == top || strings.HasPrefix(name, top+"/") }

// sources maps each file of code, tests apart, to the packages of ours that it imports. Names are relative to the module.
func sources(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	root := os.DirFS("..")
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && ignored(entry.Name()):
			return fs.SkipDir
		case !entry.IsDir() && strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go"):
			found[name] = ours(t, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// ignored are folders in which the go command finds no packages either, and those for built and downloaded things.
func ignored(folder string) bool {
	return folder != "." && (folder[0] == '.' || folder[0] == '_' || folder == "testdata" || folder == "bin" || folder == "build" || folder == "out")
}

// ours lists the imports of one file that are this module's, without the module's name.
func ours(t *testing.T, name string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", name), nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, spec := range file.Imports {
		full, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if rest, ok := strings.CutPrefix(full, module+"/"); ok {
			found = append(found, rest)
		}
	}
	return found
}

// The rules themselves: what they let through and what they catch.
func TestRules(t *testing.T) {
	for _, row := range []struct {
		from, to string
		want     bool
	}{
		{"internal/sd", "internal/nn", true},
		{"internal/sd", "internal/job", false},
		{"internal/api", "internal/engine", false},
		{"internal/engine", "internal/api", false},
		{"cmd/waggle", "internal/api", true},
		{"wasm", "wasm/preview", true},
		{"wasm/preview", "internal/job", true},
		{"gpu", "gpuless", false},
	} {
		from, found := rowOf(row.from)
		if got := found && allowed(from, row.to); got != row.want {
			t.Errorf("%s imports %s: allowed %v, want %v", row.from, row.to, got, row.want)
		}
	}
	if row, found := rowOf("internal/unheard"); found {
		t.Errorf("package internal/unheard has row %s, want none", row)
	}
}
