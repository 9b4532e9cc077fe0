package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"maps"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

// embedded holds what lies in static when the binary is built. The WebAssembly
// program and its loader are built by make; a build without them serves a page
// that does without.
//
//go:embed all:static
var embedded embed.FS

const (
	wasmName    = "waggle.wasm"
	loaderName  = "wasm_exec.js"
	foreverDays = "public, max-age=31536000, immutable"
	revalidate  = "no-cache"
)

// asset is one file with its precompressed forms.
type asset struct {
	kind  string            // content type
	etag  string            // quoted
	forms map[string][]byte // by content encoding; "" is the plain file
}

// assets serves the embedded files, each under two addresses: /static/NAME,
// which browsers revalidate, and /static/VERSION/NAME, which never changes.
// VERSION is a hash of all files, so that scripts find each other by relative names.
type assets struct {
	version string
	files   map[string]asset
}

// loadAssets reads everything below static.
func loadAssets(source fs.FS) (*assets, error) {
	raw := map[string][]byte{}
	err := fs.WalkDir(source, "static", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(source, name)
		raw[strings.TrimPrefix(name, "static/")] = data
		return err
	})
	if err != nil {
		return nil, err
	}
	return newAssets(raw), nil
}

// newAssets sorts precompressed forms to their files and computes the hashes.
func newAssets(raw map[string][]byte) *assets {
	all := sha256.New()
	files := map[string]asset{}
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		base, encoding := splitEncoding(name)
		if _, isForm := raw[base]; encoding != "" && isForm {
			continue
		}
		sum := sha256.Sum256(raw[name])
		all.Write([]byte(name))
		all.Write(sum[:])
		files[name] = asset{kind: contentType(name), etag: `"` + hex.EncodeToString(sum[:8]) + `"`, forms: formsOf(raw, name)}
	}
	return &assets{version: hex.EncodeToString(all.Sum(nil)[:6]), files: files}
}

// splitEncoding reports which file a precompressed one stands for.
func splitEncoding(name string) (base, encoding string) {
	switch path.Ext(name) {
	case ".br":
		return strings.TrimSuffix(name, ".br"), "br"
	case ".gz":
		return strings.TrimSuffix(name, ".gz"), "gzip"
	}
	return name, ""
}

// formsOf collects the plain file and its compressed neighbours.
func formsOf(raw map[string][]byte, name string) map[string][]byte {
	forms := map[string][]byte{"": raw[name]}
	if br, ok := raw[name+".br"]; ok {
		forms["br"] = br
	}
	if gz, ok := raw[name+".gz"]; ok {
		forms["gzip"] = gz
	}
	return forms
}

// contentType does not depend on the machine's own table for the types we serve.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".wasm":
		return "application/wasm" // required by WebAssembly.instantiateStreaming
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	if kind := mime.TypeByExtension(path.Ext(name)); kind != "" {
		return kind
	}
	return "application/octet-stream"
}

// url is the unchanging address of a file, or "" when this build lacks it.
func (a *assets) url(name string) string {
	if _, ok := a.files[name]; !ok {
		return ""
	}
	return "/static/" + a.version + "/" + name
}

// ServeHTTP answers with the best form the client takes.
func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, cache := strings.TrimPrefix(r.URL.Path, "/static/"), revalidate
	if rest, ok := strings.CutPrefix(name, a.version+"/"); ok {
		name, cache = rest, foreverDays
	}
	file, ok := a.files[name]
	if !ok {
		http.Error(w, "no such file", http.StatusNotFound)
		return
	}
	file.serve(w, r, name, cache)
}

// serve writes one file. The validator names the encoding too, as each form has its own bytes.
func (f asset) serve(w http.ResponseWriter, r *http.Request, name, cache string) {
	encoding := f.choose(r.Header.Get("Accept-Encoding"))
	h, etag := w.Header(), f.etag
	if encoding != "" {
		h.Set("Content-Encoding", encoding)
		etag = strings.TrimSuffix(etag, `"`) + "-" + encoding + `"`
	}
	h.Set("Content-Type", f.kind)
	h.Set("Cache-Control", cache)
	h.Set("ETag", etag)
	h.Add("Vary", "Accept-Encoding")
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(f.forms[encoding]))
}

// choose picks brotli, then gzip, then the plain file.
func (f asset) choose(accept string) string {
	for _, encoding := range []string{"br", "gzip"} {
		if _, ok := f.forms[encoding]; ok && accepts(accept, encoding) {
			return encoding
		}
	}
	return ""
}

// accepts reads an Accept-Encoding header: a name without q=0.
func accepts(header, encoding string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(name), encoding) {
			q := strings.TrimLeft(strings.ReplaceAll(weight, " ", ""), "q=")
			return strings.Trim(q, "0.") != "" || weight == ""
		}
	}
	return false
}

// renderPage makes the page once: it is the same for everyone.
func renderPage(options Options, files *assets) (http.Handler, error) {
	var html bytes.Buffer
	data := pageData{Options: options, Style: files.url("app.css"), Script: files.url("main.js"), Icon: files.url("icon.svg")}
	if files.url(loaderName) != "" {
		data.Wasm, data.Loader = files.url(wasmName), files.url(loaderName)
	}
	if err := page(data).Render(context.Background(), &html); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(html.Bytes())
	file := asset{kind: "text/html; charset=utf-8", etag: `"` + hex.EncodeToString(sum[:8]) + `"`, forms: map[string][]byte{"": html.Bytes()}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { file.serve(w, r, "index.html", revalidate) }), nil
}
