package web

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Docs serves an OpenAPI 3.1 document as a page for people, which needs no
// script. It loads what the server's own page also loads from /static/. A
// document that cannot be read is a mistake of the program, and panics.
func Docs(document []byte) http.Handler {
	h, err := newDocs(document, embedded)
	if err != nil {
		panic("web: " + err.Error())
	}
	return h
}

func newDocs(document []byte, source fs.FS) (http.Handler, error) {
	files, err := loadAssets(source)
	if err != nil {
		return nil, fmt.Errorf("load the page's files: %w", err)
	}
	data := docsData{Style: files.url("app.css"), Own: files.url("docs.css"), Icon: files.url("icon.svg")}
	if err := json.Unmarshal(document, &data.docsDocument); err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	var html bytes.Buffer
	if err := docsPage(data).Render(context.Background(), &html); err != nil {
		return nil, fmt.Errorf("render the page: %w", err)
	}
	sum := sha256.Sum256(html.Bytes())
	file := asset{kind: "text/html; charset=utf-8", etag: `"` + hex.EncodeToString(sum[:8]) + `"`, forms: map[string][]byte{"": html.Bytes()}}
	return strict(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { file.serve(w, r, "docs.html", revalidate) })), nil
}

// docsData is what the page is made of.
type docsData struct {
	docsDocument
	Style, Own, Icon string // addresses
}

// docsDocument is what the page shows of a document.
type docsDocument struct {
	Info struct{ Title, Version, Description string }
	Tags []struct{ Name, Description string }
	// Paths are operations by path and method in small letters.
	Paths      map[string]map[string]docsOperation
	Components struct {
		Schemas   map[string]docsSchema
		Responses map[string]docsAnswer
	}
}

// docsOperation is what can be asked at a path. The document does not say the
// first two here.
type docsOperation struct {
	Method, Path string `json:"-"`

	Tags                              []string
	Summary, Description, OperationID string
	Security                          []map[string][]string
	Parameters                        []docsParameter
	RequestBody                       struct{ Content map[string]docsContent }
	Responses                         map[string]docsAnswer
}

type docsParameter struct {
	Name, In, Description string
	Required              bool
	Schema                docsSchema
}

// docsAnswer is an answer, or the name of one of those that many operations give.
type docsAnswer struct {
	Ref         string `json:"$ref"`
	Description string
	Content     map[string]docsContent
}

type docsContent struct {
	Schema   docsSchema
	Data     *docsSchema `json:"x-event-data"`
	Examples map[string]struct {
		Summary string
		Value   json.RawMessage
	}
}

// operations are those of a tag, by path; of one path the reading ones first.
func (d docsDocument) operations(tag string) (list []docsOperation) {
	for path, item := range d.Paths {
		for method, o := range item {
			if slices.Contains(o.Tags, tag) {
				o.Method, o.Path = strings.ToUpper(method), path
				list = append(list, o)
			}
		}
	}
	slices.SortFunc(list, func(a, b docsOperation) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), -strings.Compare(a.Method, b.Method))
	})
	return list
}

const docsShared = "#/components/responses/"

// answers are an operation's own, by status.
func (o docsOperation) answers() (list []docsRow) {
	for _, status := range slices.Sorted(maps.Keys(o.Responses)) {
		if a := o.Responses[status]; a.Ref == "" {
			list = append(list, a.row(status))
		}
	}
	return list
}

// errors are the statuses of the answers that many operations give.
func (o docsOperation) errors() (list []string) {
	for _, status := range slices.Sorted(maps.Keys(o.Responses)) {
		if o.Responses[status].Ref != "" {
			list = append(list, status)
		}
	}
	return list
}

// errors are the answers that many operations give, by status.
func (d docsDocument) errors() (list []docsRow) {
	statuses := map[string]string{}
	for _, item := range d.Paths {
		for _, o := range item {
			for _, status := range o.errors() {
				statuses[status] = strings.TrimPrefix(o.Responses[status].Ref, docsShared)
			}
		}
	}
	for _, status := range slices.Sorted(maps.Keys(statuses)) {
		list = append(list, d.Components.Responses[statuses[status]].row(status))
	}
	return list
}

func (a docsAnswer) row(status string) docsRow {
	row := docsRow{Name: status, Text: a.Description}
	for kind, content := range a.Content {
		row.Kind, row.Type = kind, content.Schema.kind()
		if content.Data != nil {
			row.Type = content.Data.kind()
		}
	}
	return row
}

// docsRow is a line of a table: a parameter, a member or an answer.
type docsRow struct {
	Name     string
	Required bool
	Kind     string // where it is, or a content type
	Type     docsType
	Bounds   string
	Text     string
}

func (o docsOperation) rows() (list []docsRow) {
	for _, p := range o.Parameters {
		list = append(list, docsRow{Name: p.Name, Required: p.Required, Kind: p.In, Type: p.Schema.kind(), Bounds: p.Schema.bounds(), Text: p.Description})
	}
	return list
}

// keyed reports whether the operation may want a token.
func (o docsOperation) keyed() bool { return o.Security == nil }

// phrase is a text, cut where code begins and ends.
type phrase struct {
	Text string
	Code bool
}

// phrases cuts a text at its backticks.
func phrases(text string) (list []phrase) {
	code := false
	for part := range strings.SplitSeq(text, "`") {
		if part != "" {
			list = append(list, phrase{part, code})
		}
		code = !code
	}
	return list
}

// indented is JSON for people.
func indented(raw json.RawMessage) string {
	var out bytes.Buffer
	if json.Indent(&out, raw, "", "  ") != nil {
		return string(raw)
	}
	return out.String()
}

// anchor is the name of a place on the page.
func anchor(name string) string { return strings.ReplaceAll(strings.ToLower(name), " ", "-") }

func typeAnchor(name string) string { return "type-" + name }
