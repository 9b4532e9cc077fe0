// Package openapi has one table for what a server's routes do and for what is
// said of them: the mux that answers and the OpenAPI 3.1 document come from the
// same rows, so that they cannot disagree.
//
// Schemas come from the Go types that handlers write and read: their JSON
// names, and their comments, which comments.json keeps for the running program
// (go generate writes it). What an operation may have comes from job.MembersOf,
// that is from the parser and the validator themselves.
//
// Files: openapi.go is the table, document.go makes the document of it,
// answers.go has the answers that many routes give, schema.go and operation.go
// make schemas.
package openapi

import (
	"net/http"
	"slices"
	"strings"
)

//go:generate go test -run CommentsAreCurrent -update .

// Route is one row of a server's table.
type Route struct {
	Method  string
	Path    string // a pattern of http.ServeMux
	Handler http.HandlerFunc

	Name        string // of the operation, unique: clients that are generated call their functions so
	Tag         string // the group that the page shows it in
	Summary     string // one line, without a full stop
	Description string // what else a caller must know

	Params  []Param
	Body    any      // a value of the type that is read; Operations{} for an operation; nil: nothing is read
	Answers []Answer // those without errors, the first for success
	Errors  []int    // statuses explained in answers.go, besides those of every route
	Public  bool     // no token is asked for
}

// Param is what a route reads from its path, query or headers.
type Param struct {
	Name, In    string // In: path, query or header
	Description string
	Type        any // a value of its Go type
	Min, Max    int // of an integer, where they differ
	Pattern     string
	Required    bool // paths need all of theirs anyway
}

// Answer is one of a route's own answers.
type Answer struct {
	Status      int
	Description string
	// Body is a value of the type that is written as JSON, or nil.
	Body any
	// Type is the content type of what is no JSON; without it and a Body the answer is empty.
	Type string
	// Data is a value of the type that an event stream writes as its data, where it has one.
	Data any
}

// Either stands for values of one of several types.
type Either []any

// List stands for an object with one member, an array.
type List struct {
	Member, Text string
	Of           any
}

// Operations stands for a body that is one of the three image operations, or
// one of Others: their names, each with the texts that it must have.
type Operations struct{ Others map[string][]string }

// Table is all routes of a server.
type Table []Route

// Mux is what answers. A row without a handler is a mistake of ours and panics.
func (t Table) Mux() *http.ServeMux {
	m := http.NewServeMux()
	for _, r := range t {
		m.Handle(r.pattern(), r.Handler)
	}
	return m
}

// Public reports whether a request is for a route that asks for no token,
// whatever its method.
func (t Table) Public(request *http.Request) bool {
	return slices.ContainsFunc(t, func(r Route) bool { return r.Public && r.at(request.URL.Path) })
}

// at reports whether a path without variables is the route's.
func (r Route) at(path string) bool {
	own := strings.TrimSuffix(r.Path, "{$}")
	return path == own || own == r.Path && strings.HasSuffix(own, "/") && strings.HasPrefix(path, own)
}

func (r Route) pattern() string { return r.Method + " " + r.Path }

// path is the route's path as OpenAPI writes it. A folder is written as the one
// file that a caller asks for.
func (r Route) path() string {
	path := strings.TrimSuffix(r.Path, "{$}")
	if path != "/" && strings.HasSuffix(path, "/") {
		path += "{file}"
	}
	return path
}

// Alias is the route once more, at another path and with another name.
func (r Route) Alias(path, name string) Route {
	r.Path, r.Name = path, name
	return r
}

// In is the route in another group.
func (r Route) In(tag string) Route {
	r.Tag = tag
	return r
}

// Metrics is the route of measurements.
func Metrics(handler http.Handler, tag string) Route {
	return Route{
		Method: http.MethodGet, Path: "/metrics", Handler: handler.ServeHTTP, Name: "metrics", Tag: tag, Summary: "Measurements, for Prometheus",
		Answers: []Answer{{Status: http.StatusOK, Description: "As they are now.", Type: "text/plain"}},
	}
}

// WithDocument adds the routes of the document itself, and of its page, which
// page makes of it; nil: there is none.
func (t Table) WithDocument(info Info, tag string, page func(document []byte) http.Handler) Table {
	json, html := Route{
		Method: http.MethodGet, Path: "/openapi.json", Name: "openapi", Tag: tag, Summary: "This document", Public: true,
		Answers: []Answer{{Status: http.StatusOK, Description: "The document.", Body: map[string]any{}}},
	}, Route{
		Method: http.MethodGet, Path: "/docs", Name: "docs", Tag: tag, Summary: "This document, for people", Public: true,
		Answers: []Answer{{Status: http.StatusOK, Description: "The page.", Type: "text/html"}},
	}
	all := append(slices.Clone(t), json)
	if page != nil {
		all = append(all, html)
	}
	document := all.Document(info)
	all[len(t)].Handler = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-cache")
		w.Write(document)
	}
	if page != nil {
		all[len(t)+1].Handler = page(document).ServeHTTP
	}
	return all
}
