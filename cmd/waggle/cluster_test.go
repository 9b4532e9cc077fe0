//go:build unix

package main

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"waggle/internal/natstest"
)

// TestClusterErrors: what keeps a server from joining a cluster is one line that says what to do.
func TestClusterErrors(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	url := natstest.StartCluster(t, 1).URLs()[0]
	for name, row := range map[string]struct{ args, words []string }{
		"no credentials":   {[]string{"--nats-creds", file + "-absent"}, []string{"credentials", file + "-absent"}},
		"bad credentials":  {[]string{"--nats-creds", file}, []string{"credentials", file, "JWT"}},
		"bad certificates": {[]string{"--nats-ca", file}, []string{file, "no certificate"}},
		"half a pair":      {[]string{"--nats-cert", file}, []string{"--nats-cert and --nats-key go together"}},
		"too many copies":  {[]string{"--nats-replicas", "6"}, []string{"--nats-replicas 6", "1, 3 or 5"}},
	} {
		t.Run(name, func(t *testing.T) {
			fail(t, command(t, append([]string{"serve", "--port", "0", "--nats", url}, row.args...)...), exitFailed, row.words...)
		})
	}
}

// TestClusterAway: a server that waits for its cluster says so, and can be stopped.
func TestClusterAway(t *testing.T) {
	t.Parallel()
	c := command(t, "serve", "--port", "0", "--nats", "nats://user:secret@127.0.0.1:1")
	var said safeBuffer
	c.Stderr = &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); !strings.Contains(said.String(), "waiting for NATS"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not say that it waits: %s", &said)
		}
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_ = c.Wait() // it ended before it began to serve
	if took := time.Since(began); took > stopLimit {
		t.Errorf("it ended %v after SIGTERM", took)
	}
	if text := said.String(); strings.Contains(text, "secret") || strings.Contains(text, "panic") {
		t.Errorf("it said %s", text)
	}
}

// TestClusterLost: a server that loses its cluster stays up, says why it is not ready, takes no jobs, and goes on when the
// cluster is back.
func TestClusterLost(t *testing.T) {
	needAdapter(t)
	link := natstest.StartCluster(t, 1).Link()
	s := startServer(t, "serve", "--port", "0", "--nats", link.URLs()[0])
	s.ready()
	_, stream := s.post(star(fields{"id": "before"}))
	want := s.finished(stream)

	link.Reset()
	s.awaitReady(http.StatusServiceUnavailable, "no connection to NATS since")
	if a := s.ask(http.MethodGet, "/health", nil); a.status != http.StatusOK {
		t.Errorf("health: %d %s", a.status, a.body)
	}
	if a := s.try(star(fields{"id": "after"})); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("a job meanwhile: %d %s, Retry-After %q", a.status, a.body, a.header.Get("Retry-After"))
	}
	link.Heal()
	s.awaitReady(http.StatusOK, `"ready":true`)
	_, stream = s.post(star(fields{"id": "after"}))
	if got := s.finished(stream); !bytes.Equal(got, want) {
		t.Error("another picture than before")
	}
	for _, words := range []string{"is lost", "is back"} {
		if n := strings.Count(s.log.String(), words); n != 1 {
			t.Errorf("%q is said %d times: %s", words, n, clipped(s.log.String()))
		}
	}
}

// awaitReady waits for an answer of /ready.
func (s *server) awaitReady(status int, words string) {
	s.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		a := s.ask(http.MethodGet, "/ready", nil)
		if a.status == status && strings.Contains(string(a.body), words) {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("GET /ready: %d %s, want %d %s", a.status, a.body, status, words)
		}
	}
}
