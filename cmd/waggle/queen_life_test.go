//go:build unix

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A worker that tells of itself is as good as one a hive tells of, and is one worker if both do.
func TestQueenHearsWorkers(t *testing.T) {
	t.Parallel()
	s, h, w := startQueen(t), newHive(t), newWorker(t)
	beat := func(status string) answer {
		return s.ask(http.MethodPost, "/v1/worker-heartbeat", []byte(`{"worker":{"id":"worker-cpu-1","model_id":"m2","device":"CPU-0","port":`+w.port()+
			`,"status":"`+status+`","implementation":"sd-worker","version":"0.1.0"},"timestamp":"2025-11-14T20:00:00.000000000Z"}`))
	}
	var taken struct{ Status, Message string }
	if a := beat("ready"); a.status != http.StatusOK || json.Unmarshal(a.body, &taken) != nil || taken.Status != "ok" || taken.Message == "" {
		t.Fatalf("heartbeat: %d %s", a.status, a.body)
	}
	if _, _, marker := parts(t, s.made(lighthouse(fields{"model": "m2", "worker_id": "worker-cpu-1"}))); marker != "[DONE]" {
		t.Errorf("a job for it: %s", marker)
	}
	h.join(s, w) // one worker, by the name that its hive gives it first
	if _, _, marker := parts(t, s.made(lighthouse(fields{"model": "m", "worker_id": "worker-cpu-1"}))); marker != "[DONE]" {
		t.Errorf("a job for its other model: %s", marker)
	}
	for status, marker := range map[string]string{"busy": "[DONE]", "starting": "[ERROR]", "stopping": "[ERROR]", "strange": "400"} {
		if a := beat(status); status == "strange" {
			if a.status != http.StatusBadRequest || !strings.Contains(string(a.body), "worker.status") {
				t.Errorf("status %s: %d %s", status, a.status, a.body)
			}
			continue
		}
		if _, _, got := parts(t, s.made(lighthouse(nil))); !strings.HasPrefix(got, marker) {
			t.Errorf("a job while it is %s: %s", status, got)
		}
	}
	beat("stopped") // leaves what the hive says
	if _, _, got := parts(t, s.made(lighthouse(nil))); got != "[DONE]" {
		t.Errorf("a job after its farewell: %s", got)
	}
}

// What is not for a queen is answered in the protocol's words.
func TestQueenRefuses(t *testing.T) {
	t.Parallel()
	s := startQueen(t)
	for body, want := range map[string]string{
		`{"operation":"make_coffee"}`: `[ERROR] Failed to parse operation: unknown operation "make_coffee"`,
		`{}`:                          "[ERROR] Failed to parse operation: missing field `operation`",
		`[]`:                          "[ERROR] Failed to parse operation: the body must be a JSON object",
		`{"operation":7}`:             "[ERROR] Failed to parse operation: field `operation`: expected a string",
		`{"operation":"image_generation","model":"m"}`:                          "[ERROR] Failed to parse operation: missing field `hive_id`",
		`{"operation":"hive_check"}`:                                            "[ERROR] Unhandled operation: 'hive_check'",
		`{"operation":"rhai_script_save","name":"x"}`:                           "[ERROR] Failed to parse operation: missing field `content`",
		`{"operation":"rhai_script_list"}`:                                      "[ERROR] Unhandled operation: 'rhai_script_list'",
		`{"operation":"worker_spawn","hive_id":"h"}`:                            "[ERROR] Unhandled operation: 'worker_spawn'",
		`{"operation":"infer","hive_id":"h","model":"\u001b[2Jx","prompt":"p"}`: "[ERROR] Scheduling failed: No available worker found for model '[2Jx'. Make sure a worker is running and has sent heartbeats to queen.",
	} {
		a := s.ask(http.MethodPost, "/v1/jobs", []byte(body))
		var taken struct {
			SSEURL string `json:"sse_url"`
		}
		if err := json.Unmarshal(a.body, &taken); err != nil || a.status != http.StatusOK {
			t.Fatalf("POST %s: %d %s", body, a.status, a.body)
		}
		if list := rest(t, s.openStream(taken.SSEURL)); list[len(list)-1].data != want {
			t.Errorf("%s ended with %s, want %s", body, list[len(list)-1].data, want)
		}
	}
	if a := s.ask(http.MethodPost, "/v1/jobs", []byte(`{not json`)); a.status != http.StatusBadRequest || !strings.HasPrefix(string(a.body), "Failed to parse the request body as JSON") {
		t.Errorf("no JSON: %d %s", a.status, a.body)
	}
	for path, want := range map[string]int{"/nope": 404, "/v1/nope": 404, "/v1/shutdown": 405} {
		if a := s.ask(http.MethodGet, path, nil); a.status != want || len(a.body) != 0 {
			t.Errorf("GET %s: %d %q, want %d without a body", path, a.status, a.body, want)
		}
	}
}

// An LLM worker's events have no names; they come through as they are.
func TestQueenRelaysInference(t *testing.T) {
	t.Parallel()
	s, h, w := startQueen(t), newHive(t), newWorker(t)
	w.says(func(out io.Writer, _ *http.Request) {
		io.WriteString(out, "data: {\"type\":\"token\",\"t\":\"[ERR\",\"i\":0}\n\ndata: [DONE]\n\n")
	})
	h.join(s, w)
	list := s.made(fields{"operation": "infer", "hive_id": "localhost", "model": "m", "prompt": "p", "max_tokens": 1, "temperature": 0.5})
	if n := len(list); list[n-1].data != "[DONE]" || list[n-3].name != "" || list[n-3].data != `{"type":"token","t":"[ERR","i":0}` {
		t.Errorf("the stream: %v", list)
	}
}

// A queen that starts after her hives is told of them.
func TestQueenNamedHives(t *testing.T) {
	t.Parallel()
	h, w := newHive(t), newWorker(t)
	h.tell(entryOf(w.port(), 0))
	s := startQueen(t, "--hive", "hive-1="+h.URL)
	s.knows(w)
	h.ready(s) // changes nothing
	if _, _, marker := parts(t, s.made(lighthouse(fields{"hive_id": "hive-1"}))); marker != "[DONE]" || h.together() != 1 {
		t.Errorf("a job: %s; %d subscriptions", marker, h.together())
	}
	fail(t, command(t, "queen", "--port", "0", "--hive", "http://127.0.0.1:1"), exitFailed, "--hive", "NAME=URL")
	fail(t, command(t, "queen", "--port", "0", "--hive", "a=nonsense"), exitFailed, "--hive a=nonsense", "hive_url")
}

// Two queens must not serve one port, and one must not serve strangers.
func TestQueenDoor(t *testing.T) {
	t.Parallel()
	fail(t, command(t, "queen", "--port", "0", "--bind", "0.0.0.0"), exitFailed, "--bind 0.0.0.0", "--token")
	fail(t, command(t, "queen", "--port", "0", "--worker-token", "x"), exitFailed, "--worker-token", "--token")
	s := startQueen(t, "--token", "honey", "--worker-token", "wax")
	fail(t, command(t, "queen", "--port", s.url[strings.LastIndex(s.url, ":")+1:]), exitFailed, "--port")
	for _, path := range []string{"/", "/v1/info", "/v1/jobs", "/v1/heartbeats/stream"} {
		if a := s.ask(http.MethodGet, path, nil); a.status != http.StatusUnauthorized || !strings.Contains(string(a.body), `"unauthorized"`) {
			t.Errorf("GET %s without the token: %d %s", path, a.status, a.body)
		}
	}
	if a := s.ask(http.MethodGet, "/health", nil); a.status != http.StatusOK {
		t.Errorf("GET /health: %d", a.status)
	}
	s.token = "honey"
	if a := s.ask(http.MethodGet, "/v1/info", nil); a.status != http.StatusOK {
		t.Errorf("with the token: %d", a.status)
	}
}

func TestQueenShutdown(t *testing.T) {
	t.Parallel()
	s := startQueen(t)
	_, path := s.post(fields{"operation": "queen_check"})
	stream := s.openStream(path)
	if a := s.ask(http.MethodPost, "/v1/shutdown", []byte("{}")); a.status != http.StatusOK {
		t.Fatalf("POST /v1/shutdown: %d", a.status)
	}
	select {
	case err := <-s.ended:
		if err != nil {
			t.Errorf("ended with %v", err)
		}
		s.ended <- err // for stop
	case <-time.After(5 * time.Second):
		_ = s.cmd.Process.Signal(syscall.SIGQUIT)
		t.Fatal("still there 5 s after the answer")
	}
	if _, _, marker := parts(t, rest(t, stream)); marker != "" {
		t.Errorf("a job that was under way ended with %q", marker)
	}
}

// The whole way: this program as a worker draws what this program as a queen was asked for.
func TestQueenWithWorker(t *testing.T) {
	needAdapter(t)
	t.Parallel()
	worker := startServer(t, "serve", "--port", "0", "--worker-id", "bee-1")
	s, h := startQueen(t), newHive(t)
	telling := entryOf(worker.url[strings.LastIndex(worker.url, ":")+1:], 0)
	telling["model"] = "tiny-shapes"
	h.tell(telling)
	h.ready(s)
	worker.ready()
	s.waitForStatus(func(text string) bool { return strings.Contains(text, "tiny-shapes") })
	_, events, marker := parts(t, s.made(star(fields{"steps": 4})))
	var last event
	if err := json.Unmarshal([]byte(events[len(events)-1].data), &last); err != nil || last.Type != "complete" || marker != "[DONE]" {
		t.Fatalf("the job ended with %q, %s, %v", marker, last.Type, err)
	}
	_, path := worker.post(star(fields{"steps": 4}))
	if same := worker.finished(path); !slices.Equal(same, last.Image) {
		t.Error("the worker draws another picture when it is asked directly")
	}
	id, path := s.post(star(fields{"steps": 150}))
	stream := s.openStream(path)
	await(t, stream, time.Minute, "a step", func(m message) bool { return m.name == "preview" })
	if a := s.ask(http.MethodDelete, "/v1/jobs/"+id, nil); a.status != http.StatusOK {
		t.Fatalf("DELETE: %d %s", a.status, a.body)
	}
	var jobs struct{ Jobs []struct{ State string } }
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if worker.get("/v1/jobs", &jobs); jobs.Jobs[0].State == "cancelled" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the worker's jobs: %+v", jobs.Jobs)
		}
	}
}
