package web

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"waggle/internal/api"
	"waggle/internal/queen"
)

// documents are those that the program has.
func documents(t *testing.T) map[string][]byte {
	t.Helper()
	q := queen.New(queen.Config{Version: "v0"})
	t.Cleanup(q.Close)
	worker := api.New(api.Config{Version: "v0", Tokenize: func(_, _ string) (api.Tokens, error) { return api.Tokens{}, nil }})
	all := map[string][]byte{}
	for name, h := range map[string]http.Handler{"worker": worker.Handler(), "queen": q.Handler()} {
		r := httptest.NewRequest(http.MethodGet, "http://localhost/openapi.json", nil)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			t.Fatalf("%s: /openapi.json: %d %.200s", name, w.Code, w.Body)
		}
		all[name] = w.Body.Bytes()
	}
	return all
}

// The page of each document: no place is missing that it leads to, and nothing in it that the policy forbids.
func TestDocs(t *testing.T) {
	for name, document := range documents(t) {
		a := get(t, Docs(document), "/docs", "")
		if got := a.Header.Get("Content-Security-Policy"); got != policy {
			t.Errorf("%s: policy %q", name, got)
		}
		for _, part := range []string{"/v1/jobs/{id}/stream", "image_generation", "guidance_scale", "0 to 20; 7.5 if it is absent", "a multiple of 8", "text/event-stream", "Waggle v0"} {
			if !strings.Contains(a.body, part) {
				t.Errorf("%s: the page lacks %q", name, part)
			}
		}
		for _, pattern := range []string{`<style`, ` style=`, ` on[a-z]+=`, `<script`, "`", `%!`, `map\[`} {
			if found := regexp.MustCompile(pattern).FindString(a.body); found != "" {
				t.Errorf("%s: the page contains %q", name, found)
			}
		}
		for _, link := range regexp.MustCompile(`href="#([^"]+)"`).FindAllStringSubmatch(a.body, -1) {
			if n := strings.Count(a.body, ` id="`+link[1]+`"`); n != 1 {
				t.Errorf("%s: %d places are called %q", name, n, link[1])
			}
		}
		for _, link := range regexp.MustCompile(`href="(/static/[^"]+)"`).FindAllStringSubmatch(a.body, -1) {
			if got := get(t, Handler(Options{}), link[1], ""); got.StatusCode != http.StatusOK {
				t.Errorf("%s: %s: %s", name, link[1], got.Status)
			}
		}
	}
}

// What is no document is found out when the program starts.
func TestDocsOfNothing(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a page was made of nothing")
		}
	}()
	Docs([]byte("{"))
}

// In a browser: readable in both schemes and on a phone, where nothing is wider than the screen.
func TestDocsInBrowser(t *testing.T) {
	chromium(t)
	mux := http.NewServeMux()
	mux.Handle("GET /docs", Docs(documents(t)["worker"]))
	mux.Handle("/", Handler(Options{}))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	b := blank(t, 1280, 900, server.URL)
	b.do(chromedp.Navigate(b.url + "/docs"))
	b.wait(`document.querySelectorAll('article').length > 30`)
	b.shoot("light")
	b.scheme("dark")
	b.shoot("dark")
	b.do(chromedp.Click(`nav a[href="#type-ImageInpaint"]`))
	b.wait(`(y => y >= 56 && y < 200)(document.querySelector('#type-ImageInpaint').getBoundingClientRect().top)`) // not behind the bar
	b.do(chromedp.EmulateViewport(360, 740))
	b.wait(`document.documentElement.scrollWidth <= 360`)
	b.shoot("phone")
}
