//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// startQueen runs the real program as a queen on a free port.
func startQueen(t *testing.T, more ...string) *server {
	t.Helper()
	return startServer(t, append([]string{"queen", "--port", "0", "--log-level", "debug"}, more...)...)
}

// message is one of a stream, as it came.
type message struct{ name, data, id string }

// narration is what a queen says.
type narration struct {
	Type, Formatted, Actor, Action, Target, Human string
	JobID                                         string `json:"job_id"`
}

func (m message) narration(t testing.TB) (n narration) {
	t.Helper()
	if m.name != "" || json.Unmarshal([]byte(m.data), &n) != nil {
		t.Fatalf("no narration: %+v", m)
	}
	return n
}

// openStream opens a stream, whose messages come until it ends.
func (s *server) openStream(path string, header ...string) <-chan message {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), http.MethodGet, s.url+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if s.token != "" {
		r.Header.Set("Authorization", "Bearer "+s.token)
	}
	response, err := s.client().Do(r)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { response.Body.Close() })
	if kind := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || kind != "text/event-stream" {
		body, _ := io.ReadAll(response.Body)
		s.Fatalf("GET %s: %d, %q, %.200q", path, response.StatusCode, kind, body)
	}
	out := make(chan message)
	go func() {
		defer close(out)
		lines := bufio.NewReader(response.Body)
		var m message
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			switch key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); key {
			case "event":
				m.name = value
			case "data":
				m.data = value
			case "id":
				m.id = value
			case "":
				if m != (message{}) {
					select {
					case out <- m:
					case <-s.Context().Done():
						return
					}
				}
				m = message{}
			}
		}
	}()
	return out
}

// await returns the first message that fits, and fails the test if there is none in time.
func await(t testing.TB, from <-chan message, limit time.Duration, what string, fits func(message) bool) message {
	t.Helper()
	deadline := time.After(limit)
	for {
		select {
		case m, open := <-from:
			if !open {
				t.Fatalf("the stream ended without %s", what)
			}
			if fits(m) {
				return m
			}
		case <-deadline:
			t.Fatalf("no %s within %v", what, limit)
		}
	}
}

// rest reads a stream to its end.
func rest(t testing.TB, from <-chan message) (list []message) {
	t.Helper()
	limit := time.After(commandLimit)
	for {
		select {
		case m, open := <-from:
			if !open {
				return list
			}
			list = append(list, m)
		case <-limit:
			t.Fatalf("the stream has not ended: %.500s", fmt.Sprint(list))
		}
	}
}

// parts sorts a whole stream: the actions narrated, the worker's events, the end marker.
func parts(t testing.TB, list []message) (actions []string, events []message, marker string) {
	t.Helper()
	for _, m := range list {
		switch {
		case m.name != "":
			events = append(events, message{name: m.name, data: m.data}) // the queen numbers them anew
		case strings.HasPrefix(m.data, "["):
			if marker != "" {
				t.Errorf("a second end marker: %s", m.data)
			}
			marker = m.data
		default:
			if n := m.narration(t); n.Type == "narration" {
				actions = append(actions, n.Action)
			}
		}
	}
	return actions, events, marker
}

// lighthouse is an operation for the model of the fakes.
func lighthouse(more fields) fields {
	f := fields{"operation": "image_generation", "hive_id": "localhost", "model": "m", "prompt": "a lighthouse", "steps": 4, "seed": 1}
	for name, value := range more {
		f[name] = value
	}
	return f
}

// made submits a job and reads its stream to the end.
func (s *server) made(f fields) []message {
	s.Helper()
	_, stream := s.post(f)
	return rest(s, s.openStream(stream))
}

// fakeHive serves telemetry as a hive does.
type fakeHive struct {
	*httptest.Server
	opened chan struct{} // one for each subscription

	mu      sync.Mutex
	text    string // what every subscriber gets, at once and when it changes
	changed chan struct{}
	dropped chan struct{}
	open    int // subscriptions now
	most    int
}

func newHive(t *testing.T) *fakeHive {
	h := &fakeHive{opened: make(chan struct{}, 100), changed: make(chan struct{}), dropped: make(chan struct{})}
	h.Server = httptest.NewServer(http.HandlerFunc(h.serve))
	t.Cleanup(func() { h.drop(); h.Server.Close() })
	return h
}

func (h *fakeHive) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || r.URL.Path != "/v1/heartbeats/stream" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	h.count(1)
	defer h.count(-1)
	h.opened <- struct{}{}
	for {
		h.mu.Lock()
		text, changed, dropped := h.text, h.changed, h.dropped
		h.mu.Unlock()
		io.WriteString(w, text)
		w.(http.Flusher).Flush()
		select {
		case <-changed:
		case <-dropped:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func (h *fakeHive) count(by int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open += by
	h.most = max(h.most, h.open)
}

// together is the most subscriptions there were at a time.
func (h *fakeHive) together() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.most
}

// say changes what the hive tells, in the bytes of the stream.
func (h *fakeHive) say(text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text = text
	close(h.changed)
	h.changed = make(chan struct{})
}

// drop ends all subscriptions of now.
func (h *fakeHive) drop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.dropped)
	h.dropped = make(chan struct{})
}

// tell tells of workers.
func (h *fakeHive) tell(workers ...fields) { h.say(telemetryOf(workers...)) }

func telemetryOf(workers ...fields) string {
	text, err := json.Marshal(fields{"type": "telemetry", "hive_id": "hive-1", "timestamp": "2025-11-14T20:00:00+00:00", "workers": workers,
		"hive_info": fields{"id": "hive-1", "hostname": "127.0.0.1", "port": 7835, "operational_status": "ready", "health_status": fields{"status": "healthy"}, "version": "0.1.0"}})
	if err != nil {
		panic(err)
	}
	return "event: heartbeat\ndata: " + string(text) + "\n\n"
}

// entryOf is a worker in telemetry.
func entryOf(port string, util float64) fields {
	return fields{"pid": 4711, "group": "llm", "instance": port, "cpu_pct": 0.0, "rss_mb": 900, "io_r_mb_s": 0.0, "io_w_mb_s": 0.0,
		"uptime_s": 30, "gpu_util_pct": util, "vram_mb": 0, "total_vram_mb": 24576, "model": "m"}
}

// join makes a hive known to a queen and waits until she knows the workers.
func (h *fakeHive) join(s *server, workers ...*fakeWorker) {
	s.Helper()
	var entries []fields
	for _, w := range workers {
		entries = append(entries, entryOf(w.port(), 0))
	}
	h.tell(entries...)
	h.ready(s)
	s.knows(workers...)
}

func (h *fakeHive) ready(s *server) {
	s.Helper()
	body := fmt.Sprintf(`{"hive_id":"hive-1","hive_url":%q}`, h.URL)
	if a := s.ask(http.MethodPost, "/v1/hive/ready", []byte(body)); a.status != http.StatusOK {
		s.Fatalf("hive ready: %d %s", a.status, a.body)
	}
}

// knows waits until the queen knows exactly these workers through a hive.
func (s *server) knows(workers ...*fakeWorker) {
	s.Helper()
	want := map[string]bool{}
	for _, w := range workers {
		want["llm-"+w.port()] = true
	}
	beats := s.openStream("/v1/heartbeats/stream")
	await(s, beats, 20*time.Second, fmt.Sprintf("heartbeat with the workers %v", want), func(m message) bool {
		var beat struct {
			Type      string
			WorkerIDs []string `json:"worker_ids"`
		}
		if json.Unmarshal([]byte(m.data), &beat) != nil || beat.Type != "queen" || len(beat.WorkerIDs) != len(want) {
			return false
		}
		for _, id := range beat.WorkerIDs {
			if !want[id] {
				return false
			}
		}
		return true
	})
}

// theirStream is where a fake worker has the events of a job: not where others would look who know no more than its id.
const theirStream = "/v1/jobs/theirs-1/stream?of=theirs"

// fakeWorker takes jobs as rbee's worker does, one reader for each.
type fakeWorker struct {
	*httptest.Server
	t      testing.TB
	events atomic.Pointer[fakeStream] // nil: four steps and a picture
	refuse atomic.Int32               // status of every POST, if set
	unread atomic.Int32               // jobs that nobody has read

	posts   chan string // bodies
	streams chan string // paths with queries
	deletes chan string // paths
}

// fakeStream writes what a stream says.
type fakeStream func(w io.Writer, r *http.Request)

// says changes what the streams say from now on.
func (f *fakeWorker) says(events fakeStream) { f.events.Store(&events) }

func newWorker(t *testing.T) *fakeWorker {
	w := &fakeWorker{t: t, posts: make(chan string, 100), streams: make(chan string, 100), deletes: make(chan string, 100)}
	m := http.NewServeMux()
	m.HandleFunc("POST /v1/jobs", w.post)
	m.HandleFunc("GET /v1/jobs/{id}/stream", w.stream)
	m.HandleFunc("DELETE /v1/jobs/{id}", func(_ http.ResponseWriter, r *http.Request) { w.deletes <- r.URL.Path })
	w.Server = httptest.NewServer(m)
	t.Cleanup(func() { w.CloseClientConnections(); w.Close() })
	return w
}

func (f *fakeWorker) port() string {
	u, _ := url.Parse(f.URL)
	_, port, _ := net.SplitHostPort(u.Host)
	return port
}

func (f *fakeWorker) post(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.posts <- string(body)
	if status := f.refuse.Load(); status != 0 {
		http.Error(w, "full", int(status))
		return
	}
	f.unread.Add(1)
	fmt.Fprintf(w, `{"job_id":"theirs-1","sse_url":%q}`, theirStream)
}

func (f *fakeWorker) stream(w http.ResponseWriter, r *http.Request) {
	f.streams <- r.URL.RequestURI()
	if f.unread.Add(-1) < 0 {
		f.unread.Add(1)
		http.Error(w, "Job theirs-1 not found or already streaming", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.(http.Flusher).Flush() // as workers do: a stream begins before its first event
	out := flushed{w}
	if says := f.events.Load(); says != nil {
		(*says)(out, r)
		return
	}
	drawn(out, r)
}

// flushed sends what is written at once.
type flushed struct{ http.ResponseWriter }

func (f flushed) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p)
	f.ResponseWriter.(http.Flusher).Flush()
	return n, err
}

// theirEvents are a whole job as a worker tells it, members in an order of its own.
var theirEvents = []message{
	{name: "preview", data: `{"step":1,"type":"preview","total":4,"percent":25.0,"image":"iVBORw0","format":"png"}`},
	{name: "progress", data: `{"type":"progress","step":2,"total":4,"percent":50.0, "more":[1, 2]}`},
	{name: "progress", data: `{"type":"progress","step":3,"total":4,"percent":75.0}`},
	{name: "preview", data: `{"type":"preview","step":4,"total":4,"percent":100.0,"image":"iVBORw0","format":"png"}`},
	{name: "complete", data: `{"type":"complete","image":"iVBORw0KGgo","format":"png"}`},
}

func drawn(w io.Writer, _ *http.Request) {
	for i, e := range theirEvents {
		fmt.Fprintf(w, "event: %s\nid: %d\ndata: %s\n\n:\n\n", e.name, i+1, e.data)
	}
	io.WriteString(w, "data: [DONE]\n\n")
}

// received waits for something to come in at a fake.
func received(t testing.TB, from <-chan string, limit time.Duration, what string) string {
	t.Helper()
	select {
	case text := <-from:
		return text
	case <-time.After(limit):
		t.Fatalf("no %s within %v", what, limit)
		return ""
	}
}
