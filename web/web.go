// Package web serves the page: templ components for its HTML, and the
// embedded styles, scripts and WebAssembly program it loads.
//
// The page is a client of the public API like any other. It gets no data from
// this package beyond a few words (Options) and talks to /v1 on the same origin.
package web

import (
	"fmt"
	"io/fs"
	"net/http"
)

//go:generate go tool templ generate

// policy lets the page use what this server sends and nothing else. The
// 'self' of connect-src covers the WebSocket of the same host and port.
const policy = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob: data:; connect-src 'self'; " +
	"object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

const examplesShown = 3

// Options are the words of the page that depend on the server.
type Options struct {
	// Examples are prompts to click on, of which three are shown. The first is
	// made at once when someone opens the page for the first time, unless the
	// model names an example of its own. Empty: prompts for the built-in model.
	Examples []string
	// Version is shown at the foot of the page.
	Version string
}

// builtinExamples are prompts that the built-in model draws well.
func builtinExamples() []string {
	return []string{
		"a red circle on a blue background",
		"a large yellow star on black",
		"a green triangle to the left of a purple square on a white background",
	}
}

// Handler serves GET / and GET /static/…; everything else is 404, and other methods are 405.
func Handler(options Options) http.Handler {
	h, err := newHandler(options, embedded)
	if err != nil {
		panic("web: " + err.Error()) // the files are part of the program
	}
	return h
}

// newHandler is Handler for files from anywhere.
func newHandler(options Options, source fs.FS) (http.Handler, error) {
	files, err := loadAssets(source)
	if err != nil {
		return nil, fmt.Errorf("load the page's files: %w", err)
	}
	if len(options.Examples) == 0 {
		options.Examples = builtinExamples()
	}
	options.Examples = options.Examples[:min(len(options.Examples), examplesShown)]
	page, err := renderPage(options, files)
	if err != nil {
		return nil, fmt.Errorf("render the page: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", page)
	mux.Handle("GET /static/", files)
	mux.Handle("GET /favicon.ico", http.RedirectHandler(files.url("icon.svg"), http.StatusFound)) // asked for beside files that are no pages
	return strict(mux), nil
}

// strict sends the page's policy; the other headers that keep browsers strict
// are the server's, for every answer.
func strict(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		next.ServeHTTP(w, r)
	})
}
