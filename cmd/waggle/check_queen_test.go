//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The checks that speak of a queen. She is the real program; hives and workers are fakes of this test.

func TestCheck30Info(t *testing.T) {
	check(t, rbee, "health and info of a queen")
	t.Parallel()
	s := startQueen(t)
	if a := s.ask(http.MethodGet, "/health", nil); a.status != http.StatusOK || len(a.body) != 0 {
		t.Errorf("GET /health: %d %q", a.status, a.body)
	}
	var info struct {
		BaseURL        string `json:"base_url"`
		Port           int
		Version        string
		Features       []string
		BuildTimestamp string `json:"build_timestamp"`
	}
	s.get("/v1/info", &info)
	if info.BaseURL != s.url || !strings.HasSuffix(s.url, fmt.Sprint(":", info.Port)) || info.Version == "" || info.Features == nil || info.BuildTimestamp == "" {
		t.Errorf("GET /v1/info: %+v", info)
	}
}

func TestCheck31Narrations(t *testing.T) {
	check(t, rbee, "queen_check narrates from execute to [DONE]")
	t.Parallel()
	s := startQueen(t)
	id, stream := s.post(fields{"operation": "queen_check"})
	began := time.Now()
	list := rest(t, s.openStream(stream))
	if took := time.Since(began); took < time.Second || took > 20*time.Second {
		t.Errorf("took %v, want about 1.5 s", took)
	}
	if last := list[len(list)-1]; last.name != "" || last.data != "[DONE]" {
		t.Errorf("ended with %v", last)
	}
	for i, m := range list[:len(list)-1] {
		n := m.narration(t)
		if n.Type != "narration" || n.Actor == "" || n.Action == "" || n.Target == "" || n.Human == "" || n.JobID != id || !strings.Contains(n.Formatted, n.Human) || !strings.Contains(n.Formatted, n.Action) {
			t.Errorf("narration %d: %s", i, m.data)
		}
		if i == 0 && n.Action != "execute" {
			t.Errorf("the first action is %q", n.Action)
		}
	}
	if got := len(list); got < 25 || got > 30 {
		t.Errorf("%d messages, want about 25", got)
	}
}

func TestCheck32Subscription(t *testing.T) {
	check(t, rbee, "a queen listens to a hive that is ready, and again when it was dropped")
	t.Parallel()
	s, h := startQueen(t), newHive(t)
	began := time.Now()
	var answer struct{ Status, Message string }
	body := fmt.Sprintf(`{"hive_id":"localhost","hive_url":%q}`, h.URL)
	a := s.ask(http.MethodPost, "/v1/hive/ready", []byte(body))
	if err := json.Unmarshal(a.body, &answer); err != nil || a.status != http.StatusOK || answer.Status != "ok" || answer.Message != "Subscribed to hive localhost SSE stream" {
		t.Fatalf("hive ready: %d %s", a.status, a.body)
	}
	subscribed := func(limit time.Duration) {
		t.Helper()
		select {
		case <-h.opened:
		case <-time.After(limit):
			t.Fatalf("no subscription within %v", limit)
		}
	}
	subscribed(2*time.Second - time.Since(began))
	for range 3 { // a hive that says it again has one subscription
		s.ask(http.MethodPost, "/v1/hive/ready", []byte(body))
	}
	h.drop()
	subscribed(7 * time.Second)
	if most := h.together(); most != 1 || len(h.opened) != 0 {
		t.Errorf("up to %d subscriptions at a time, %d more than one after another", most, len(h.opened))
	}
}

func TestCheck33Heartbeats(t *testing.T) {
	check(t, rbee, "a queen tells of hives and their workers")
	t.Parallel()
	s, h, w := startQueen(t), newHive(t), newWorker(t)
	h.join(s, w)
	beats := s.openStream("/v1/heartbeats/stream")
	h.tell(entryOf(w.port(), 12.5))
	type beat struct {
		Type             string
		HiveID           string `json:"hive_id"`
		Timestamp        string
		Workers          []fields
		WorkersOnline    int      `json:"workers_online"`
		WorkersAvailable int      `json:"workers_available"`
		HivesOnline      int      `json:"hives_online"`
		HivesAvailable   int      `json:"hives_available"`
		WorkerIDs        []string `json:"worker_ids"`
		HiveIDs          []string `json:"hive_ids"`
	}
	decode := func(m message) (b beat) {
		if err := json.Unmarshal([]byte(m.data), &b); err != nil || m.name != "heartbeat" {
			t.Fatalf("heartbeat %+v: %v", m, err)
		}
		return b
	}
	got := decode(await(t, beats, 3*time.Second, "hive_telemetry", func(m message) bool { return decode(m).Type == "hive_telemetry" }))
	want := beat{Type: "hive_telemetry", HiveID: "hive-1", Timestamp: "2025-11-14T20:00:00+00:00", Workers: []fields{entryOf(w.port(), 12.5)}}
	if diff := cmp.Diff(normal(t, want), normal(t, got)); diff != "" {
		t.Errorf("telemetry as passed on (+), as the hive told it (-):\n%s", diff)
	}
	got = decode(await(t, beats, 3*time.Second, "the queen's own", func(m message) bool { return decode(m).Type == "queen" }))
	if _, err := time.Parse(time.RFC3339, got.Timestamp); err != nil {
		t.Error(err)
	}
	want = beat{Type: "queen", WorkersOnline: 1, WorkersAvailable: 1, HivesOnline: 1, HivesAvailable: 1, WorkerIDs: []string{"llm-" + w.port()},
		HiveIDs: []string{"hive-1"}, Timestamp: got.Timestamp}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the queen's heartbeat:\n%s", diff)
	}
}

// normal is a value as JSON has it.
func normal(t *testing.T, v any) (n any) {
	t.Helper()
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &n)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestCheck34Relay(t *testing.T) {
	check(t, ours, "a worker gets the operation as it came, its client the events as they came")
	t.Parallel()
	s, h, w := startQueen(t), newHive(t), newWorker(t)
	h.join(s, w)
	body := lighthouse(fields{"negative_prompt": nil, "loras": []any{}, "unheard_of": fields{"a": []any{1.0, "b"}}, "seed": uint64(math.MaxUint64)})
	id, stream := s.post(body)
	if len(w.posts) != 0 {
		t.Error("the worker was asked before the stream was opened")
	}
	list := rest(t, s.openStream(stream))
	actions, events, marker := parts(t, list)
	if diff := cmp.Diff(theirEvents, events, cmp.AllowUnexported(message{})); diff != "" {
		t.Errorf("events at the client (+), at the worker (-):\n%s", diff)
	}
	want := []string{"execute", "route_job", "image_schedule", "image_worker_sel", "image_post_start", "image_job_created", "image_streaming", "image_complete"}
	if diff := cmp.Diff(want, actions); diff != "" || marker != "[DONE]" || list[len(list)-1].data != marker {
		t.Errorf("marker %q, narrations:\n%s", marker, diff)
	}
	if got := received(t, w.posts, time.Second, "POST at the worker"); !jsonEqual(t, got, body) {
		t.Errorf("the worker got %s, the queen %v", got, body)
	}
	if got := received(t, w.streams, time.Second, "GET at the worker"); got != theirStream {
		t.Errorf("the worker's stream was asked for as %s, not as %s, which it named", got, theirStream)
	}
	again := rest(t, s.openStream(stream)) // a late reader has it all; a job is done once
	if diff := cmp.Diff(list, again, cmp.AllowUnexported(message{})); diff != "" || len(w.posts)+len(w.streams) != 0 {
		t.Errorf("read again: %d more requests at the worker, %s", len(w.posts)+len(w.streams), diff)
	}
	testQueenRecord(t, s, id, w)
	testQueenPage(t, s, h, w)
}

// testQueenPage: people see the same, also those without a script.
func testQueenPage(t *testing.T, s *server, h *fakeHive, w *fakeWorker) {
	a := s.ask(http.MethodGet, "/", nil)
	for _, part := range []string{"1 hive online", "llm-" + w.port(), h.URL, "image generation", "complete"} {
		if !strings.Contains(string(a.body), part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	if policy := a.header.Get("Content-Security-Policy"); a.status != http.StatusOK || !strings.HasPrefix(policy, "default-src 'self'") {
		t.Errorf("GET /: %d, policy %q", a.status, policy)
	}
}

// testQueenRecord: what the queen tells of a job that is over, and what she refuses.
func testQueenRecord(t *testing.T, s *server, id string, w *fakeWorker) {
	var record struct {
		ID, Operation, Model, State, Node string
		Step, Total                       int
	}
	s.get("/v1/jobs/"+id, &record)
	if record.ID != id || record.State != "complete" || record.Model != "m" || record.Node != "llm-"+w.port() || record.Step != 4 || record.Total != 4 {
		t.Errorf("the record: %+v", record)
	}
	if a := s.ask(http.MethodDelete, "/v1/jobs/"+id, nil); a.status != http.StatusNotFound || !strings.HasPrefix(string(a.body), "Job "+id+" not found or cannot be cancelled") {
		t.Errorf("DELETE of a job that is over: %d %s", a.status, a.body)
	}
	if a := s.ask(http.MethodGet, "/v1/jobs/nobody/stream", nil); a.status != http.StatusNotFound || !strings.HasPrefix(string(a.body), "Job nobody not found") {
		t.Errorf("stream of an unknown job: %d %s", a.status, a.body)
	}
}

// jsonEqual compares by value, numbers by their digits: a seed may have more than a float holds.
func jsonEqual(t *testing.T, text string, want fields) bool {
	t.Helper()
	sent, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	return cmp.Equal(exactly(t, []byte(text)), exactly(t, sent))
}

func exactly(t *testing.T, text []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

func TestCheck35NoWorker(t *testing.T) {
	check(t, both, "no worker has the model: narrated as failed:, ended by [ERROR]")
	t.Parallel()
	s, h, w := startQueen(t), newHive(t), newWorker(t)
	h.join(s, w)
	list := s.made(lighthouse(fields{"model": "nobody-has-it"}))
	failed := list[len(list)-2].narration(t)
	if failed.Action != "failed" || !strings.Contains(failed.Human, "failed:") || !strings.Contains(failed.Human, "No available worker found for model 'nobody-has-it'") {
		t.Errorf("narrated %+v", failed)
	}
	if marker := list[len(list)-1].data; !strings.HasPrefix(marker, "[ERROR] Scheduling failed: No available worker found") {
		t.Errorf("ended with %s", marker)
	}
}

func TestCheck36Patience(t *testing.T) {
	check(t, ours, "a worker that is silent for 6 s loses nobody")
	t.Parallel()
	s, h, w := startQueen(t), newHive(t), newWorker(t)
	w.says(func(out io.Writer, r *http.Request) {
		fmt.Fprintf(out, "event: progress\ndata: {\"type\":\"progress\",\"step\":1,\"total\":2}\n\n")
		time.Sleep(6 * time.Second) // the pause is what is tested
		drawn(out, r)
	})
	h.join(s, w)
	if _, events, marker := parts(t, s.made(lighthouse(nil))); marker != "[DONE]" || len(events) != 1+len(theirEvents) {
		t.Errorf("%d events, ended with %q", len(events), marker)
	}
}

// endless shows one step and then nothing, until its reader goes.
func endless(out io.Writer, r *http.Request) {
	fmt.Fprintf(out, "event: progress\ndata: {\"type\":\"progress\",\"step\":1,\"total\":50}\n\n")
	<-r.Context().Done()
}

func TestCheck37Cancel(t *testing.T) {
	check(t, both, "DELETE at a queen cancels there and at the worker within 1 s")
	t.Parallel()
	s, h, w := startQueen(t), newHive(t), newWorker(t)
	w.says(endless)
	h.join(s, w)
	id, path := s.post(lighthouse(nil))
	stream := s.openStream(path)
	await(t, stream, 5*time.Second, "a step", func(m message) bool { return m.name == "progress" })
	began := time.Now()
	var answer struct {
		JobID  string `json:"job_id"`
		Status string
	}
	a := s.ask(http.MethodDelete, "/v1/jobs/"+id, nil)
	if err := json.Unmarshal(a.body, &answer); err != nil || a.status != http.StatusOK || answer.JobID != id || answer.Status != "cancelled" {
		t.Fatalf("DELETE: %d %s", a.status, a.body)
	}
	if got := received(t, w.deletes, time.Second-time.Since(began), "DELETE at the worker"); got != "/v1/jobs/theirs-1" {
		t.Errorf("DELETE of %s at the worker", got)
	}
	actions, events, marker := parts(t, rest(t, stream))
	if marker != "[CANCELLED]" || len(events) != 0 || !slices.Equal(actions, []string{"cancelled"}) {
		t.Errorf("after the cancel: %q, %v, %q", actions, events, marker)
	}
	waiting, path := s.post(lighthouse(nil)) // one whose stream nobody has opened
	s.ask(http.MethodDelete, "/v1/jobs/"+waiting, nil)
	if _, _, marker := parts(t, rest(t, s.openStream(path))); marker != "[CANCELLED]" || len(w.posts) != 1 {
		t.Errorf("a job cancelled before its stream was opened: %q, %d jobs at the worker", marker, len(w.posts))
	}
}

func TestCheck38Refused(t *testing.T) {
	check(t, ours, "what a worker answers to a POST is told")
	t.Parallel()
	s, h, w := startQueen(t), newHive(t), newWorker(t)
	w.refuse.Store(http.StatusServiceUnavailable)
	h.join(s, w)
	list := s.made(lighthouse(nil))
	if marker := list[len(list)-1].data; marker != "[ERROR] Worker returned error 503: full" {
		t.Errorf("ended with %s", marker)
	}
}

func TestCheck39Fairness(t *testing.T) {
	check(t, ours, "idle workers first; jobs at a time are shared out")
	t.Parallel()
	s, h := startQueen(t), newHive(t)
	a, b := newWorker(t), newWorker(t)
	h.join(s, a, b)
	h.tell(entryOf(a.port(), 90), entryOf(b.port(), 0))
	s.waitForStatus(func(text string) bool { return strings.Contains(text, `"gpu_util_pct":90`) })
	for range 5 {
		s.made(lighthouse(nil))
	}
	if len(a.posts) != 0 || len(b.posts) != 5 {
		t.Errorf("of five jobs the busy worker got %d, the idle one %d", len(a.posts), len(b.posts))
	}
	h.tell(entryOf(a.port(), 0), entryOf(b.port(), 0))
	s.waitForStatus(func(text string) bool { return !strings.Contains(text, `"gpu_util_pct":90`) })
	before := len(b.posts)
	gate := make(chan struct{})
	a.says(gated(gate))
	b.says(gated(gate))
	var streams []<-chan message
	for range 4 { // a stream begins its job: all four look for a worker at the same time
		_, path := s.post(lighthouse(nil))
		streams = append(streams, s.openStream(path))
	}
	for _, stream := range streams {
		await(t, stream, 5*time.Second, "a job at a worker", func(m message) bool { return strings.Contains(m.data, "image_streaming") })
	}
	close(gate)
	for _, stream := range streams {
		rest(t, stream)
	}
	if len(a.posts) != 2 || len(b.posts)-before != 2 {
		t.Errorf("of four jobs at a time one worker got %d, the other %d", len(a.posts), len(b.posts)-before)
	}
}

// gated draws once the gate is open.
func gated(gate <-chan struct{}) fakeStream {
	return func(out io.Writer, r *http.Request) {
		select {
		case <-gate:
			drawn(out, r)
		case <-r.Context().Done():
		}
	}
}

// waitForStatus asks for the status until it is as wanted.
func (s *server) waitForStatus(fits func(string) bool) {
	s.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		for _, m := range s.made(fields{"operation": "status"}) {
			if strings.Contains(m.data, `"type":"data"`) && fits(m.data) {
				return
			}
		}
		if time.Now().After(deadline) {
			s.Fatal("the status never became as wanted")
		}
	}
}

func TestCheck40WorkerByName(t *testing.T) {
	check(t, ours, "worker_id chooses the worker")
	t.Parallel()
	s, h := startQueen(t), newHive(t)
	first, second := newWorker(t), newWorker(t)
	h.join(s, first, second)
	h.tell(entryOf(first.port(), 0), entryOf(second.port(), 90)) // by itself she would take the first
	s.waitForStatus(func(text string) bool { return strings.Contains(text, `"gpu_util_pct":90`) })
	for range 3 {
		if _, _, marker := parts(t, s.made(lighthouse(fields{"worker_id": "llm-" + second.port()}))); marker != "[DONE]" {
			t.Errorf("a job ended with %q", marker)
		}
	}
	if len(first.posts) != 0 || len(second.posts) != 3 {
		t.Errorf("the one named got %d of three jobs, the other %d", len(second.posts), len(first.posts))
	}
}
