package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"waggle/internal/door"
)

// TestPublic: what holds no secret needs no token; everything else does.
func TestPublic(t *testing.T) {
	h := start(t, script{}, func(c *Config) { c.Door.Keys = []door.Key{{Secret: "abc"}} })
	for _, public := range []string{"/", "/favicon.ico", "/health", "/ready", "/static/x"} {
		if a := h.get(public); a.StatusCode == 401 {
			t.Errorf("%s wants a token", public)
		}
	}
	for _, private := range []string{"/info", "/v1/jobs", "/v1/jobs/x", "/v1/jobs/x/stream", "/v1/models", "/v1/ws", "/v1/nope", "//", "/static"} {
		if a := h.get(private); a.StatusCode != 401 {
			t.Errorf("%s: %d without a token", private, a.StatusCode)
		}
	}
}

// TestPublicAndBack: what begins like a public path and leads elsewhere is not public.
func TestPublicAndBack(t *testing.T) {
	h := start(t, script{}, func(c *Config) { c.Door.Keys = []door.Key{{Secret: "abc"}} })
	for _, path := range []string{"/static/../v1/jobs", "/static/%2e%2e/v1/jobs", "/static/..%2fv1/jobs", "/static//../../v1/jobs", "/health/../v1/jobs", "//static/../v1/jobs"} {
		if a := h.get(path); a.StatusCode < 300 || strings.Contains(string(a.body), "jobs\":") {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
}

// TestPolicy: every answer is strict with browsers, whoever gives it.
func TestPolicy(t *testing.T) {
	h := start(t, script{})
	for _, path := range []string{"/v1/jobs", "/nope", "/"} {
		if a := h.get(path); a.Header.Get("Content-Security-Policy") == "" || a.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, a.Header)
		}
	}
}

// TestStreamsAreBounded: one stream too many is told to come again, and may
// when another has ended.
func TestStreamsAreBounded(t *testing.T) {
	s := still(t)
	s.streams = door.NewPlaces(1, 1)
	leave, _ := s.streams.Take(httptest.NewRecorder(), "another")
	ask := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost/v1/jobs/ended/stream", nil))
		return w
	}
	if w := ask(); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("one too many: %d", w.Code)
	}
	leave()
	for range 2 { // each leaves its place
		if w := ask(); w.Code != 200 {
			t.Errorf("afterwards: %d", w.Code)
		}
	}
}

// TestSocketRate: commands of a connection count as requests do.
func TestSocketRate(t *testing.T) {
	h := start(t, script{}, func(c *Config) { c.Door.RateLimit = 0.5 })
	w := h.dial(nil)
	w.send(`{"type":"ping","ref":1}`)
	if r := w.answer("1"); r.Type != "pong" {
		t.Errorf("within the limit: %+v", r)
	}
	w.send(`{"type":"ping","ref":2}`)
	if r := w.answer("2"); r.Type != "error" || r.Status != http.StatusTooManyRequests {
		t.Errorf("beyond it: %+v", r)
	}
}
