package queen

import (
	"encoding/base64"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"waggle/internal/door"
)

// Who may come in: names, sites, tokens.
func TestGuard(t *testing.T) {
	keys := []door.Key{{Secret: "honey"}, {Name: "anna", Secret: "other"}}
	for _, row := range []struct {
		name, method, url string
		header            string // "Name: value" lines
		change            func(*Config)
		status            int
	}{
		{"by its address", "GET", "http://127.0.0.1/v1/info", "", nil, 200},
		{"by a name that is not ours", "GET", "http://evil.example/v1/info", "", nil, 403},
		{"by a name that is", "GET", "http://queen.example/v1/info", "", func(c *Config) { c.Door.Hosts = []string{"queen.example"} }, 200},
		{"from another site", "POST", "http://localhost/v1/shutdown", "Origin: http://evil.example", nil, 403},
		{"from no site at all", "POST", "http://localhost/v1/shutdown", "Origin: null", nil, 403},
		{"from its own page", "GET", "http://localhost/v1/info", "Origin: http://localhost", nil, 200},
		{"from a site that may", "GET", "http://localhost/v1/info", "Origin: http://good.example", func(c *Config) { c.Door.Origins = []string{"http://good.example"} }, 200},
		{"asked before", "OPTIONS", "http://localhost/v1/jobs", "Origin: http://good.example\nAccess-Control-Request-Method: POST", func(c *Config) { c.Door.Origins = []string{"*"} }, 200},
		{"without the token", "GET", "http://localhost/v1/info", "", func(c *Config) { c.Door.Keys = keys }, 401},
		{"the page without it", "GET", "http://localhost/", "", func(c *Config) { c.Door.Keys = keys }, 401},
		{"health without it", "GET", "http://localhost/health", "", func(c *Config) { c.Door.Keys = keys }, 200},
		{"with another", "GET", "http://localhost/v1/info", "Authorization: Bearer wax", func(c *Config) { c.Door.Keys = keys }, 401},
		{"with the token", "GET", "http://localhost/v1/info", "Authorization: bearer honey", func(c *Config) { c.Door.Keys = keys }, 200},
		{"with the cookie", "GET", "http://localhost/", "Cookie: waggle_token=" + base64.RawURLEncoding.EncodeToString([]byte("honey")), func(c *Config) { c.Door.Keys = keys }, 200},
		{"the address it printed", "GET", "http://localhost/?token=honey", "", func(c *Config) { c.Door.Keys = keys }, 303},
		{"another address", "GET", "http://localhost/?token=wax", "", func(c *Config) { c.Door.Keys = keys }, 401},
	} {
		t.Run(row.name, func(t *testing.T) {
			var c Config
			if row.change != nil {
				row.change(&c)
			}
			q := New(c)
			defer q.Close()
			r := httptest.NewRequest(row.method, row.url, nil)
			for line := range strings.Lines(row.header) {
				name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
				r.Header.Set(name, value)
			}
			w := httptest.NewRecorder()
			q.Handler().ServeHTTP(w, r)
			if w.Code != row.status {
				t.Errorf("%d, want %d: %s", w.Code, row.status, w.Body)
			}
			if h := w.Header(); h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Content-Security-Policy") == "" {
				t.Errorf("headers %v", h)
			}
			if origin := w.Header().Get("Access-Control-Allow-Origin"); (origin != "") != (w.Code == 200 && row.change != nil && strings.Contains(row.header, "good.example")) {
				t.Errorf("allows origin %q", origin)
			}
		})
	}
}

// Where a worker is that a known proxy passed on is what the proxy says; what
// anybody else says of it is not believed.
func TestWorkerBehindProxy(t *testing.T) {
	for proxy, want := range map[string]string{"10.0.0.0/8": "http://192.0.2.9:8080", "10.9.9.9/32": "http://10.1.1.1:8080"} {
		q := New(Config{Door: door.Config{Proxies: door.Proxies{netip.MustParsePrefix(proxy)}}})
		defer q.Close()
		r := httptest.NewRequest("POST", "http://localhost/v1/worker-heartbeat", strings.NewReader(
			`{"worker":{"id":"w","model_id":"m","device":"d","port":8080,"status":"ready","implementation":"i","version":"v"},"timestamp":"2026-11-24T12:00:00Z"}`))
		r.RemoteAddr = "10.1.1.1:5"
		r.Header.Set("X-Forwarded-For", "127.0.0.1, 192.0.2.9")
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		q.Handler().ServeHTTP(w, r)
		if list := q.Snapshot().Workers; w.Code != 200 || len(list) != 1 || list[0].URL != want {
			t.Errorf("with proxies in %s: %d %s, %+v; want %s", proxy, w.Code, w.Body, list, want)
		}
	}
}
