//go:build unix

package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A worker that is killed and started again does not fail the queen's job: she goes on with its stream, and her client hears
// every step once.
func TestQueenWorkerRestarts(t *testing.T) {
	needAdapter(t)
	t.Parallel()
	dir, port := t.TempDir(), "0"
	start := func() *server {
		return startServer(t, "serve", "--port", port, "--data", dir, "--checkpoint-every", "100ms")
	}
	worker, s := start(), startQueen(t)
	port = worker.url[strings.LastIndex(worker.url, ":")+1:]
	worker.ready()
	s.beat("bee-1", port)
	const steps = 20
	_, path := s.post(star(fields{"steps": steps}))
	stream := s.openStream(path)
	await(t, stream, time.Minute, "step 5", func(m message) bool { return stepIn(t, m) == 5 })
	worker.kill()
	start()
	list := rest(t, stream)
	actions, events, marker := parts(t, list)
	if marker != "[DONE]" || !strings.Contains(strings.Join(actions, " "), "image_rejoin image_streaming") {
		t.Errorf("ended with %s; narrated %q", marker, actions)
	}
	if first := stepIn(t, events[0]); first != 6 {
		t.Errorf("behind step 5 came step %d", first)
	}
	inOrder(t, events, steps)
}

// stepIn is the step that an event tells of; 0 if it tells of none.
func stepIn(t testing.TB, m message) int {
	t.Helper()
	var e event
	if m.name != "progress" && m.name != "preview" {
		return 0
	}
	if err := json.Unmarshal([]byte(m.data), &e); err != nil {
		t.Fatalf("event %s: %v", m.name, err)
	}
	return e.Step
}

// beat tells the queen of a worker with the built-in model.
func (s *server) beat(id, port string) {
	s.Helper()
	body := `{"worker":{"id":"` + id + `","model_id":"tiny-shapes","device":"CPU-0","port":` + port + `,"status":"ready"}}`
	if a := s.ask(http.MethodPost, "/v1/worker-heartbeat", []byte(body)); a.status != http.StatusOK {
		s.Fatalf("heartbeat: %d %s", a.status, a.body)
	}
}
