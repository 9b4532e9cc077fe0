package queen

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"waggle/internal/job"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// harness is a queen on a port of her own.
type harness struct {
	*testing.T
	*Queen
	url string
}

func logOf(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// open starts a queen.
func open(t *testing.T, c Config) *harness {
	t.Helper()
	c.Log = logOf(t)
	q := New(c)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- q.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return &harness{t, q, "http://" + l.Addr().String()}
}

// worker makes a worker known, whose streams say what events writes.
func (h *harness) worker(events func(io.Writer, *http.Request)) {
	h.Helper()
	m := http.NewServeMux()
	m.HandleFunc("POST /v1/jobs", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, `{"job_id":"theirs","sse_url":"/v1/jobs/theirs/stream"}`)
	})
	m.HandleFunc("GET /v1/jobs/theirs/stream", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		events(w, r)
	})
	h.serves(m)
}

// serves makes a worker known that answers as handler does.
func (h *harness) serves(handler http.Handler) {
	h.Helper()
	s := httptest.NewServer(handler)
	h.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	u, err := url.Parse(s.URL)
	if err != nil {
		h.Fatal(err)
	}
	b := beat{host: u.Hostname(), at: time.Now()}
	if _, err := fmt.Sscan(u.Port(), &b.Worker.Port); err != nil {
		h.Fatal(err)
	}
	b.Worker.ID, b.Worker.ModelID, b.Worker.Status = "w", "m", job.Ready
	if err := h.fleet.beat(b); err != nil {
		h.Fatal(err)
	}
}

// post keeps an operation for the worker.
func (h *harness) post() string {
	h.Helper()
	id, err := h.shelf.add(submission{body: []byte(`{"operation":"image_generation","hive_id":"h","model":"m","prompt":"p"}`)})
	if err != nil {
		h.Fatal(err)
	}
	return string(id)
}

// read reads a job's stream to its end.
func (h *harness) read(id string) string {
	h.Helper()
	response, err := http.Get(h.url + "/v1/jobs/" + id + "/stream")
	if err != nil {
		h.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		h.Fatal(err)
	}
	return string(text)
}

// markerOfText is the last message of a stream.
func markerOfText(text string) string {
	list := strings.Split(strings.TrimSpace(text), "\n\n")
	return strings.TrimPrefix(list[len(list)-1], "data: ")
}

// waitFor polls until a condition holds.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
