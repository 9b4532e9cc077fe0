package door

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// gate is a Witness that notes what it is told.
type gate struct {
	mu   sync.Mutex
	open map[string]int
	went chan string
}

func (g *gate) Came(route string) { g.add(route, 1) }

func (g *gate) Went(route string, status int, _ time.Duration) {
	g.add(route, -1)
	g.went <- fmt.Sprint(route, " ", status)
}

func (g *gate) add(route string, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open[route] += n
}

// TestWitness: every request is told of once, under its route, however it ends; and the log names it, its client and what was
// sent, but no path and no secret.
func TestWitness(t *testing.T) {
	g := &gate{open: map[string]int{}, went: make(chan string, 1)}
	var log bytes.Buffer // written before the gate is told
	h := open(t, Config{Keys: []Key{{Name: "anna", Secret: "s3cret"}, {Secret: "other"}}, Witness: g,
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	for _, row := range []struct {
		request, header, went, logged string
	}{
		{"GET /job/9xyz", "Authorization: Bearer s3cret", "GET /job/{id} 200", `method=GET route="GET /job/{id}" status=200`},
		{"GET /job/9xyz?token=s3cret", "Authorization: Bearer s3cret", "GET /job/{id} 200", "bytes=5 client=anna"},
		{"HEAD /job/9xyz", "Authorization: Bearer s3cret", "GET /job/{id} 200", "method=HEAD"},
		{"GET /job/9xyz", "Authorization: Bearer wrong", "GET /job/{id} 401", "client=127.0.0.1"},
		{"GET /?token=s3cret", "X: y", "GET /{$} 303", "status=303"},
		{"GET /no/9xyz", "Authorization: Bearer s3cret", " 404", `route=""`},
		{"PUT /read", "Authorization: Bearer s3cret", " 405", "status=405"},
		{"GET /health", "Host: evil.example", "GET /health 403", "status=403"},
		{"GET /panic", "Authorization: Bearer s3cret", "GET /panic 500", "status=500"},
		{"GET /socket", "Authorization: Bearer s3cret", "GET /socket 101", "status=101"},
	} {
		log.Reset()
		method, path, _ := strings.Cut(row.request, " ")
		a := h.call(method, path, "", row.header)
		if got := <-g.went; got != row.went {
			t.Errorf("%s: told of %q, want %q", row.request, got, row.went)
		}
		text := log.String()
		if !strings.Contains(text, "msg=request ") || !strings.Contains(text, row.logged) || strings.Contains(text, "s3cret") || strings.Contains(text, "9xyz") {
			t.Errorf("%s: logged, want %s: %s", row.request, row.logged, text)
		}
		if id := a.Header.Get(idHeader); a.StatusCode != 101 && (len(id) < 20 || !strings.Contains(text, "request="+id)) {
			t.Errorf("%s: the request's id is %q, the log %s", row.request, id, text)
		}
	}
	for route, n := range g.open {
		if n != 0 {
			t.Errorf("%q: %d are still open", route, n)
		}
	}
}

// TestRequestID: a caller may name its request; not in any words.
func TestRequestID(t *testing.T) {
	h := open(t, Config{})
	for sent, kept := range map[string]bool{"abc-1.2_3": true, strings.Repeat("a", 64): true, strings.Repeat("a", 65): false, "a b": false, "": false, "ä": false} {
		if got := h.get("/health", "X-Request-Id: "+sent).Header.Get(idHeader); (got == sent) != kept || got == "" {
			t.Errorf("%q is called %q", sent, got)
		}
	}
}
