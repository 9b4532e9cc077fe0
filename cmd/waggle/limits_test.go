package main

import (
	"errors"
	"math"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"waggle/internal/door"
	"waggle/internal/models"
)

// What the flags say of limits, and what is wrong with them.
func TestLimits(t *testing.T) {
	t.Parallel()
	number := func(n float64) *float64 { return &n }
	for _, row := range []struct {
		name, bind string
		flags      limitFlags
		rate       float64
		err        string
	}{
		{"this machine", "127.0.0.1", limitFlags{}, 0, ""},
		{"this machine, by version 6", "::1", limitFlags{}, 0, ""},
		{"this machine, by name", "localhost", limitFlags{}, 0, ""},
		{"others", "0.0.0.0", limitFlags{}, rateDefault, ""},
		{"others without a limit", "::", limitFlags{RateLimit: number(0)}, 0, ""},
		{"this machine with one", "127.0.0.1", limitFlags{RateLimit: number(0.5)}, 0.5, ""},
		{"a negative one", "127.0.0.1", limitFlags{RateLimit: number(-1)}, 0, "--rate-limit -1"},
		{"next to none", "127.0.0.1", limitFlags{RateLimit: number(1e-9)}, 0, "--rate-limit 1e-09"},
		{"no number", "127.0.0.1", limitFlags{RateLimit: number(math.NaN())}, 0, "--rate-limit NaN"},
		{"a name for a proxy", "127.0.0.1", limitFlags{Proxies: []string{"10.0.0.0/8", "nginx"}}, 0, `--trusted-proxy: "nginx"`},
	} {
		var to door.Config
		err := row.flags.limits(&to, row.bind)
		if err == nil && row.err != "" || err != nil && (row.err == "" || !strings.Contains(err.Error(), row.err)) {
			t.Errorf("%s: %v, want %q", row.name, err, row.err)
		}
		if err == nil && to.RateLimit != row.rate {
			t.Errorf("%s: %g a second, want %g", row.name, to.RateLimit, row.rate)
		}
	}
}

// Models that clients name are those of the server's folders; a path opens nothing, whatever lies there.
func TestModelsAreNames(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	c := &catalog{shelf: models.NewShelf(t.TempDir()), own: "own"}
	for _, name := range []string{outside, outside + "/", filepath.Join("..", filepath.Base(outside)), ".", "..", "/", "/etc/passwd"} {
		if m, err := c.open(name); !errors.Is(err, models.ErrNotFound) {
			t.Errorf("a model called %s: %v, %v", name, m, err)
		}
	}
}

// A client that asks too often is told when to come again; behind a proxy that is named, clients are told apart.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	s := startQueen(t, "--rate-limit", "0.01", "--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "127.0.0.1")
	for i, row := range []struct {
		from   string
		status int
	}{{"192.0.2.1", 200}, {"192.0.2.1", 429}, {"192.0.2.2", 200}, {"192.0.2.1, 10.1.1.1", 429}} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v1/info", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Forwarded-For", row.from)
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
		if a.StatusCode != row.status || row.status == 429 && a.Header.Get("Retry-After") == "" {
			t.Errorf("request %d, of %s: %s, Retry-After %q; want %d", i, row.from, a.Status, a.Header.Get("Retry-After"), row.status)
		}
	}
}
