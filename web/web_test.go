package web

import (
	"bytes"
	"context"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata/expected.html")

// The page as HTML: what a component changes shows as a difference here.
func TestPageHTML(t *testing.T) {
	var html bytes.Buffer
	data := pageData{
		Options: Options{Examples: []string{"a red circle", `"><script>alert(1)</script>`}, Version: "v0"},
		Style:   "/static/0/app.css", Script: "/static/0/main.js", Icon: "/static/0/icon.svg",
		Wasm: "/static/0/waggle.wasm", Loader: "/static/0/wasm_exec.js",
	}
	if err := page(data).Render(context.Background(), &html); err != nil {
		t.Fatal(err)
	}
	got := strings.ReplaceAll(html.String(), "><", ">\n<") + "\n"
	const name = "testdata/expected.html"
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the page changed; if that is wanted: go test ./web -run PageHTML -update\n%s", diff)
	}
}

// The policy forbids inline code, so the page must not need any.
func TestPageHasNothingInline(t *testing.T) {
	body := get(t, Handler(Options{}), "/", "").body
	for _, pattern := range []string{`<style`, ` style=`, ` on[a-z]+=`, `<script[^>]*>[^<]`, `https?://`} {
		if found := regexp.MustCompile(pattern).FindString(body); found != "" {
			t.Errorf("the page contains %q", found)
		}
	}
}

type answer struct {
	*http.Response
	body string
}

func get(t *testing.T, h http.Handler, path, encoding string, header ...string) answer {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept-Encoding", encoding)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{w.Result(), string(body)}
}

// Every address the page names is served, for good, with the right type.
func TestPageLinks(t *testing.T) {
	h := Handler(Options{})
	links := regexp.MustCompile(`(?:href|src|data-wasm|data-loader)="(/static/[^"]+)"`).FindAllStringSubmatch(get(t, h, "/", "").body, -1)
	if len(links) < 3 {
		t.Fatalf("found links %v", links)
	}
	for _, link := range links {
		a := get(t, h, link[1], "")
		if a.StatusCode != http.StatusOK || a.Header.Get("Cache-Control") != foreverDays {
			t.Errorf("%s: %s, cache %q", link[1], a.Status, a.Header.Get("Cache-Control"))
		}
	}
}

// Every name a script imports or a style refers to is embedded.
func TestFilesReferToEachOther(t *testing.T) {
	files, err := loadAssets(embedded)
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range files.files {
		if name == loaderName {
			continue
		}
		for _, link := range regexp.MustCompile(`(?:from '\./|url\(")([^'"]+)`).FindAllSubmatch(file.forms[""], -1) {
			if files.url(string(link[1])) == "" {
				t.Errorf("%s refers to %q, which is not there", name, link[1])
			}
		}
	}
}

func TestHandlerAnswers(t *testing.T) {
	h := Handler(Options{})
	for path, want := range map[string]int{
		"/": 200, "/static/app.css": 200, "/static/nothing.css": 404, "/static/": 404,
		"/static/000000000000/app.css": 404, "/favicon.ico": 302, "/other": 404, "/index.html": 404,
	} {
		if got := get(t, h, path, "").StatusCode; got != want {
			t.Errorf("GET %s: %d, want %d", path, got, want)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST /: %d", w.Code)
	}
	if got := w.Header().Get("Content-Security-Policy"); !strings.Contains(got, "default-src 'self'") || strings.Contains(got, "unsafe-inline") {
		t.Errorf("policy is %q", got)
	}
}

func TestAssetsRevalidate(t *testing.T) {
	h := Handler(Options{})
	first := get(t, h, "/static/app.css", "")
	if first.Header.Get("Cache-Control") != revalidate || first.Header.Get("Content-Type") != "text/css; charset=utf-8" {
		t.Errorf("headers %v", first.Header)
	}
	again := get(t, h, "/static/app.css", "", "If-None-Match", first.Header.Get("ETag"))
	if again.StatusCode != http.StatusNotModified || again.body != "" {
		t.Errorf("with its tag: %s", again.Status)
	}
	page := get(t, h, "/", "")
	if again := get(t, h, "/", "", "If-None-Match", page.Header.Get("ETag")); again.StatusCode != http.StatusNotModified {
		t.Errorf("the page with its tag: %s", again.Status)
	}
}

func TestAssetsInTheBestForm(t *testing.T) {
	source := fstest.MapFS{
		"static/waggle.wasm": {Data: []byte("plain")}, "static/waggle.wasm.br": {Data: []byte("br")}, "static/waggle.wasm.gz": {Data: []byte("gz")},
		"static/only.css": {Data: []byte("css")}, "static/alone.gz": {Data: []byte("a file of its own")},
	}
	files, err := loadAssets(source)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ accept, encoding, body string }{
		{"", "", "plain"}, {"gzip, deflate, br", "br", "br"}, {"gzip", "gzip", "gz"}, {"br;q=0, gzip;q=0.5", "gzip", "gz"},
		{"br; q=0.0", "", "plain"}, {"BR", "br", "br"}, {"identity", "", "plain"}, {"zstd, br;q=0.1", "br", "br"},
	} {
		a := get(t, files, "/static/waggle.wasm", row.accept)
		if a.Header.Get("Content-Encoding") != row.encoding || a.body != row.body || a.Header.Get("Content-Type") != "application/wasm" || a.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("Accept-Encoding %q: encoding %q, body %q, headers %v", row.accept, a.Header.Get("Content-Encoding"), a.body, a.Header)
		}
	}
	if a, b := get(t, files, "/static/waggle.wasm", "br").Header.Get("ETag"), get(t, files, "/static/waggle.wasm", "").Header.Get("ETag"); a == b {
		t.Errorf("two forms share the tag %s", a)
	}
	if a := get(t, files, "/static/only.css", "br"); a.body != "css" || a.Header.Get("Content-Encoding") != "" {
		t.Errorf("only.css: %q, %v", a.body, a.Header)
	}
	for path, want := range map[string]int{"/static/alone.gz": 200, "/static/waggle.wasm.br": 404} {
		if got := get(t, files, path, "").StatusCode; got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
}

// A build without the program serves a page that does not ask for it; another file changes all addresses.
func TestBuildWithoutTheProgram(t *testing.T) {
	source := fstest.MapFS{"static/app.css": {Data: []byte("a")}, "static/main.js": {}, "static/icon.svg": {}}
	h, err := newHandler(Options{}, source)
	if err != nil {
		t.Fatal(err)
	}
	if body := get(t, h, "/", "").body; !strings.Contains(body, `data-wasm=""`) {
		t.Errorf("the page names a program that is not there:\n%s", body)
	}
	before, _ := loadAssets(source)
	source["static/app.css"] = &fstest.MapFile{Data: []byte("b")}
	after, _ := loadAssets(source)
	if before.version == after.version {
		t.Error("the version did not change with a file")
	}
}
