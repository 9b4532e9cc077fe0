//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Hives that are broken. Beside each a sound hive with a worker: that one's jobs must go on.

func TestQueenBrokenHives(t *testing.T) {
	t.Parallel()
	s, good, w := startQueen(t), newHive(t), newWorker(t)
	good.join(s, w)
	for _, row := range []struct {
		name  string
		serve func(http.ResponseWriter, *http.Request)
	}{
		{"half a line", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "event: heartbeat\ndata: {\"type\":\"telemetry\",\"workers\":[{\"pid\":")
		}},
		{"half a document", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "event: heartbeat\ndata: {\"type\":\"telemetry\",\"workers\":[{\"pid\":\n\ndata: 7\n\ndata: {\"type\":\"telemetry\",\"workers\":{}}\n\n")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}},
		{"no answer", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		{"HTML", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<!doctype html><title>hive</title>") }},
		{"a line without end", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "data: ")
			for line := strings.Repeat("x", 1<<20); r.Context().Err() == nil; {
				if _, err := io.WriteString(w, line); err != nil {
					return
				}
			}
		}},
		{"another server", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, good.URL+r.URL.Path, http.StatusFound)
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := &server{TB: t, url: s.url, cmd: s.cmd}
			asked := make(chan string, 100)
			bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked <- r.URL.Path
				row.serve(w, r)
			}))
			defer bad.Close()
			defer bad.CloseClientConnections()
			if a := s.ask(http.MethodPost, "/v1/hive/ready", fmt.Appendf(nil, `{"hive_id":%q,"hive_url":%q}`, row.name, bad.URL)); a.status != http.StatusOK {
				t.Fatalf("hive ready: %d %s", a.status, a.body)
			}
			received(t, asked, 5*time.Second, "subscription")
			s.knows(w)
			if _, _, marker := parts(t, s.made(lighthouse(nil))); marker != "[DONE]" {
				t.Errorf("a job at the sound worker: %s", marker)
			}
		})
	}
	if most := good.together(); most != 1 {
		t.Errorf("%d subscriptions to the sound hive: the queen let another send her there", most)
	}
}

// A hive may claim ten thousand workers; the queen keeps as many as she wants, and believes no entry that is not whole.
func TestQueenCrowdedHive(t *testing.T) {
	t.Parallel()
	s, h := startQueen(t), newHive(t)
	crowd := []fields{entryOf("0", 0), entryOf("70000", 0), entryOf("x", 0), {"pid": 1}, entryOf("8080\x1b[2J", 0)}
	half := entryOf("8081", 0)
	delete(half, "vram_mb")
	crowd = append(crowd, half)
	for i := range 10_000 {
		crowd = append(crowd, entryOf(strconv.Itoa(20_000+i), 0))
	}
	h.tell(crowd...)
	h.ready(s)
	type beat struct {
		Type          string
		WorkersOnline int      `json:"workers_online"`
		WorkerIDs     []string `json:"worker_ids"`
	}
	await(t, s.openStream("/v1/heartbeats/stream"), 20*time.Second, "heartbeat with a bounded crowd", func(m message) bool {
		var b beat
		if json.Unmarshal([]byte(m.data), &b) != nil || b.Type != "queen" || b.WorkersOnline == 0 {
			return false
		}
		if b.WorkersOnline != 1024-6 || len(b.WorkerIDs) != b.WorkersOnline || b.WorkerIDs[0] != "llm-20000" {
			t.Errorf("%d workers, %d ids, the first %s", b.WorkersOnline, len(b.WorkerIDs), b.WorkerIDs[0])
		}
		return true
	})
	h.drop() // gone with its workers
	await(t, s.openStream("/v1/heartbeats/stream"), 4*time.Second, "heartbeat without them", func(m message) bool {
		var b beat
		return json.Unmarshal([]byte(m.data), &b) == nil && b.Type == "queen" && b.WorkersOnline == 0
	})
}

func TestQueenBadCallbacks(t *testing.T) {
	t.Parallel()
	s := startQueen(t)
	for _, row := range []struct{ path, body, want string }{
		{"/v1/hive/ready", `{"hive_id":"","hive_url":"http://127.0.0.1:1"}`, "hive_id"},
		{"/v1/hive/ready", `{"hive_id":"h"}`, "hive_url"},
		{"/v1/hive/ready", `{"hive_id":"h","hive_url":"file:///etc/passwd"}`, "hive_url"},
		{"/v1/hive/ready", `{"hive_id":"h","hive_url":"http://u:p@127.0.0.1:1"}`, "hive_url"},
		{"/v1/hive/ready", `{"hive_id":"h","hive_url":"http://127.0.0.1:1?x=y"}`, "hive_url"},
		{"/v1/hive/ready", `{"hive_id":7,"hive_url":"http://127.0.0.1:1"}`, "hive_id"},
		{"/v1/worker-heartbeat", `{"worker":{"id":"w","model_id":"m","port":0,"status":"ready"}}`, "worker.port"},
		{"/v1/worker-heartbeat", `{"worker":{"id":"w","model_id":"\u001b","port":1,"status":"ready"}}`, "worker.model_id"},
		{"/v1/worker-heartbeat", `{}`, "worker.id"},
		{"/v1/worker-heartbeat", `[]`, "heartbeat"},
	} {
		if a := s.ask(http.MethodPost, row.path, []byte(row.body)); a.status != http.StatusBadRequest || !strings.Contains(string(a.body), row.want) {
			t.Errorf("POST %s %s: %d %s, want 400 and %s", row.path, row.body, a.status, a.body, row.want)
		}
	}
	if a := s.ask(http.MethodPost, "/v1/hive/ready", []byte(`{"x":"`+strings.Repeat("x", 100<<10)+`"}`)); a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a callback of 100 KiB: %d", a.status)
	}
}

// Workers that are broken fail their job, with words, and nothing else.
func TestQueenBrokenWorkers(t *testing.T) {
	t.Parallel()
	s, h, w := startQueen(t), newHive(t), newWorker(t)
	h.join(s, w)
	step := "event: progress\ndata: {\"type\":\"progress\",\"step\":1,\"total\":4}\n\n"
	for _, row := range []struct {
		name, says string
		marker     string
		events     int
	}{
		{"dies in the middle", step + "event: progress\ndata: {\"type\":", "[ERROR] Error reading stream: the worker ended it before the job was done", 1},
		{"event without data", "event: complete\n\n" + step + "event: error\ndata: {\"type\":\"error\",\"message\":\"out of\\n bees\"}\n\n", "[ERROR] Worker failed: out of bees", 2},
		{"no picture", step + "data: [DONE]\n\n", "[ERROR] Error reading stream: [DONE] without a picture", 1},
		{"complete that is no JSON", "event: complete\ndata: {\"type\":\n\n", "[ERROR] Error reading stream: event complete is no JSON object", 0},
		{"complete without a picture", "event: complete\ndata: {\"type\":\"complete\"}\n\n", "[ERROR] Error reading stream: event complete carries no PNG", 0},
		{"cancelled by somebody else", "event: error\ndata: {\"type\":\"error\",\"message\":\"Job cancelled by user\"}\n\n", "[CANCELLED]", 1},
		{"marker alone", "data: [ERROR] no memory\n\n", "[ERROR] Worker failed: no memory", 0},
		{"nothing", "", "[ERROR] Error reading stream: the worker ended it", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			w.says(func(out io.Writer, _ *http.Request) { io.WriteString(out, row.says) })
			s := &server{TB: t, url: s.url, cmd: s.cmd}
			actions, events, marker := parts(t, s.made(lighthouse(nil)))
			if !strings.HasPrefix(marker, row.marker) || len(events) != row.events || actions[len(actions)-1] != "failed" && marker != "[CANCELLED]" {
				t.Errorf("%d events, %q, ended with %s", len(events), actions, marker)
			}
		})
	}
	w.says(drawn)
	if _, _, marker := parts(t, s.made(lighthouse(nil))); marker != "[DONE]" {
		t.Errorf("a job after all these: %s", marker)
	}
}

// A worker that never ends can be cancelled, and does not keep the queen from stopping.
func TestQueenEndlessWorker(t *testing.T) {
	t.Parallel()
	s, h, w := startQueen(t), newHive(t), newWorker(t)
	w.says(endless)
	h.join(s, w)
	_, path := s.post(lighthouse(nil))
	stream := s.openStream(path)
	await(t, stream, 5*time.Second, "a step", func(m message) bool { return m.name == "progress" })
	id, second := s.post(lighthouse(nil))
	cancelled := s.openStream(second)
	await(t, cancelled, 5*time.Second, "a step of the second job", func(m message) bool { return m.name == "progress" })
	if a := s.ask(http.MethodDelete, "/v1/jobs/"+id, nil); a.status != http.StatusOK {
		t.Errorf("DELETE: %d %s", a.status, a.body)
	}
	received(t, w.deletes, 5*time.Second, "DELETE at the worker")
	if _, _, marker := parts(t, rest(t, cancelled)); marker != "[CANCELLED]" {
		t.Errorf("the cancelled job ended with %s", marker)
	}
	s.stop() // checks that it takes no longer than SIGTERM may
	if _, _, marker := parts(t, rest(t, stream)); marker != "" {
		t.Errorf("the stream of a job that goes on ended with %s", marker)
	}
}

// Answers of a worker that are no promise of a stream of its own.
func TestQueenStrangeAnswers(t *testing.T) {
	t.Parallel()
	s, h := startQueen(t), newHive(t)
	other := newWorker(t)
	says := ""
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			io.WriteString(w, says)
			return
		}
		io.WriteString(w, "<html>")
	}))
	t.Cleanup(bad.Close)
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(bad.URL, "http://"))
	h.tell(entryOf(port, 0))
	h.ready(s)
	s.waitForStatus(func(text string) bool { return strings.Contains(text, "llm-"+port) })
	for answer, want := range map[string]string{
		`<html>`:                       "Failed to parse the worker's answer",
		`{"job_id":"j"}`:               "Failed to parse the worker's answer",
		`{"job_id":"","sse_url":"/s"}`: "Failed to parse the worker's answer",
		`{"job_id":"j","sse_url":"` + other.URL + `/v1/jobs/j/stream"}`:         "not its own",
		`{"job_id":"j","sse_url":"//127.0.0.1:` + other.port() + `/v1/jobs/j"}`: "not its own",
		`{"job_id":"j","sse_url":"/v1/jobs/j/stream"}`:                          "no event stream",
	} {
		says = answer
		if _, _, marker := parts(t, s.made(lighthouse(nil))); !strings.Contains(marker, want) {
			t.Errorf("%s: %s, want %s", answer, marker, want)
		}
	}
	if len(other.posts)+len(other.streams) != 0 {
		t.Error("the queen went where a worker sent her")
	}
}

// A worker that cannot be reached is passed over; if there is no other the job fails and says so.
func TestQueenPassesOverTheDead(t *testing.T) {
	t.Parallel()
	s, h, w := startQueen(t), newHive(t), newWorker(t)
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that nobody answers
	if err != nil {
		t.Fatal(err)
	}
	_, dead, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	h.tell(entryOf(dead, 0), entryOf(w.port(), 50)) // the dead one seems the better choice
	h.ready(s)
	s.waitForStatus(func(text string) bool {
		return strings.Contains(text, "llm-"+dead) && strings.Contains(text, "llm-"+w.port())
	})
	actions, _, marker := parts(t, s.made(lighthouse(nil)))
	if got := strings.Count(strings.Join(actions, " "), "image_worker_sel"); marker != "[DONE]" || got != 2 {
		t.Errorf("%d workers were tried, ended with %s", got, marker)
	}
	if _, _, marker := parts(t, s.made(lighthouse(fields{"worker_id": "llm-" + dead}))); !strings.HasPrefix(marker, "[ERROR] Failed to connect to worker llm-"+dead) {
		t.Errorf("the dead one alone: %s", marker)
	}
}
