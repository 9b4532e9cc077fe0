package openapi

import (
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write comments.json anew")

// described are the packages whose types the documents show.
var described = []string{"job", "api", "queen", "openapi"}

// What the document says of types and members is what their source says.
func TestCommentsAreCurrent(t *testing.T) {
	got := map[string]string{}
	for _, name := range described {
		commentsOf(t, name, got)
	}
	if *update {
		b, err := json.MarshalIndent(got, "", " ")
		if err == nil {
			err = os.WriteFile("comments.json", append(b, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	var have map[string]string
	if err := json.Unmarshal(commentsJSON, &have); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(have, got); diff != "" {
		t.Errorf("comments changed; make generate writes comments.json anew\n%s", diff)
	}
}

// commentsOf collects the comments of a package's structs with JSON names, and of their fields.
func commentsOf(t *testing.T, name string, into map[string]string) {
	t.Helper()
	files, err := filepath.Glob("../" + name + "/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("package %s: %d files, %v", name, len(files), err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			if types, ok := decl.(*ast.GenDecl); ok && types.Tok == token.TYPE {
				typeComments(types, name, into)
			}
		}
	}
}

func typeComments(decl *ast.GenDecl, name string, into map[string]string) {
	for _, spec := range decl.Specs {
		one := spec.(*ast.TypeSpec)
		s, ok := one.Type.(*ast.StructType)
		if !ok {
			continue
		}
		full, wired := name+"."+one.Name.Name, false
		for _, f := range s.Fields.List {
			if f.Tag == nil || !strings.Contains(f.Tag.Value, `json:"`) {
				continue
			}
			wired = true
			for _, n := range f.Names {
				note(into, full+"."+n.Name, f.Doc, f.Comment)
			}
		}
		if wired {
			note(into, full, decl.Doc, one.Doc)
		}
	}
}

// note keeps the comments above and behind a declaration as one line.
func note(into map[string]string, name string, groups ...*ast.CommentGroup) {
	var words []string
	for _, g := range groups {
		words = append(words, strings.Fields(g.Text())...)
	}
	if len(words) > 0 {
		into[name] = strings.Join(words, " ")
	}
}
