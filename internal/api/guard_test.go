package api

import (
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

// TestPolicy: every answer is strict with browsers, whoever gives it.
func TestPolicy(t *testing.T) {
	h := start(t, script{})
	for _, path := range []string{"/v1/jobs", "/nope", "/"} {
		if a := h.get(path); a.Header.Get("Content-Security-Policy") == "" || a.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, a.Header)
		}
	}
}
