package door

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// harness is a door before a few routes, on a port of its own.
type harness struct {
	*testing.T
	door   *Door
	url    string
	client *http.Client
}

// open starts a server.
func open(t *testing.T, c Config) *harness {
	t.Helper()
	if c.Log == nil {
		c.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	c.Public = func(r *http.Request) bool { return r.URL.Path == "/" || r.URL.Path == "/health" }
	h := &harness{T: t, door: New(c), client: &http.Client{
		Transport:     &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.url = "http://" + l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- h.door.Serve(ctx, l, h.door.Guard(h.routes()), func() {}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		h.client.CloseIdleConnections()
	})
	return h
}

// routes say how many bytes they were sent, whose a request is, and panic.
func (h *harness) routes() *http.ServeMux {
	m := http.NewServeMux()
	ok := func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, h.door.ClientOf(r)) }
	m.HandleFunc("GET /{$}", ok)
	m.HandleFunc("GET /health", ok)
	m.HandleFunc("GET /who", ok)
	m.HandleFunc("DELETE /who", ok)
	m.HandleFunc("POST /read", func(w http.ResponseWriter, r *http.Request) {
		body, release, ok := h.door.ReadJSON(w, r, 1<<20)
		defer release()
		if ok {
			WriteJSON(w, http.StatusOK, len(body))
		}
	})
	m.HandleFunc("GET /v1/job", ok)
	m.HandleFunc("GET /job/{id}", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "a job") })
	m.HandleFunc("GET /socket", func(w http.ResponseWriter, _ *http.Request) {
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
			conn.Close()
		}
	})
	m.HandleFunc("GET /panic", func(http.ResponseWriter, *http.Request) { panic("no") })
	return m
}

// answer is what came back, read to its end.
type answer struct {
	*http.Response
	text string
}

// call sends a request; headers are "Name: value".
func (h *harness) call(method, path, body string, headers ...string) answer {
	h.Helper()
	r, err := http.NewRequestWithContext(h.Context(), method, h.url+path, strings.NewReader(body))
	if err != nil {
		h.Fatal(err)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		if r.Header.Add(name, value); name == "Host" {
			r.Host = value
		}
	}
	response, err := h.client.Do(r)
	if err != nil {
		h.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		h.Fatal(err)
	}
	return answer{response, string(text)}
}

// get sends a GET.
func (h *harness) get(path string, headers ...string) answer {
	h.Helper()
	return h.call(http.MethodGet, path, "", headers...)
}
