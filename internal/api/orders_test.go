package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"waggle/internal/job"
)

// order is a change of a job that must be done, and what it is answered with.
func (h *harness) order(path, status string) {
	h.t.Helper()
	a := h.wants(h.call("POST", "/v1/jobs/"+path, ""), 200, "{")
	id, _, _ := strings.Cut(path, "/")
	if got := decodeJSON[job.Changed](h.t, a.body); got != (job.Changed{JobID: job.ID(id), Status: status}) {
		h.t.Errorf("%s was answered with %s, want status %s", path, a.body, status)
	}
}

// until reads a stream up to the message that matches.
func (s openStream) until(t *testing.T, what string, match func(wireMessage) bool) (list []wireMessage) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		select {
		case m, ok := <-s.messages:
			if !ok {
				t.Fatalf("the stream ended before %s: %v", what, list)
			}
			if list = append(list, m); match(m) {
				return list
			}
		case <-limit:
			t.Fatalf("never: %s; the stream has %v", what, list)
		}
	}
}

func atStep(n int) func(wireMessage) bool {
	return func(m wireMessage) bool { return m.event.Step == n }
}
func atState(s job.State) func(wireMessage) bool {
	return func(m wireMessage) bool { return m.event.State == s }
}
func comment(m wireMessage) bool { return m.name == "" && m.data == "" }
func changesOf(list []wireMessage) (got []job.State) {
	for _, m := range list {
		if m.event.Type == job.ChangeEvent {
			got = append(got, m.event.State)
		}
	}
	return got
}

// TestPauseRunning: a running job pauses behind its step, its reader stays
// through the silence, and hears the rest after it is resumed.
func TestPauseRunning(t *testing.T) {
	pace := make(chan struct{})
	h := start(t, script{pace: pace}, func(c *Config) { c.KeepAlive = 20 * time.Millisecond })
	id := h.submit(jobBody(""))
	stream := h.open("/v1/jobs/" + id + "/stream")
	pace <- struct{}{}
	stream.until(t, "step 1", atStep(1))
	asked := func(want bool) func() bool {
		return func() bool { return h.lease.Load().(running).PauseAsked() == want }
	}
	h.order(id+"/pause", "pausing")
	waitFor(t, "the engine hears of it", asked(true))
	h.order(id+"/resume", "running")
	waitFor(t, "the engine hears that it was taken back", asked(false))
	h.order(id+"/pause", "pausing")
	waitFor(t, "the engine hears of it again", asked(true))
	pace <- struct{}{}
	stream.until(t, "paused", atState(job.Paused))
	stream.until(t, "a comment in the silence", comment)
	h.order(id+"/pause", "paused") // again: no change
	report := decodeJSON[struct{ Jobs []job.Report }](t, h.get("/v1/jobs?state=paused").body).Jobs
	if len(report) != 1 || report[0].ID != job.ID(id) || report[0].Step != 2 || report[0].Total != 4 {
		t.Errorf("paused jobs: %+v", report)
	}
	h.order(id+"/resume", "queued")
	go func() {
		for range 2 {
			pace <- struct{}{}
		}
	}()
	list := stream.until(t, "the marker", func(m wireMessage) bool { return m.data == "[DONE]" })
	list = slices.DeleteFunc(list, comment)
	if got := changesOf(list); got[len(got)-1] != job.Running || got[0] == job.Paused {
		t.Errorf("states after resuming: %v", got)
	}
	if got := append(steps(list, job.ProgressEvent), steps(list, job.PreviewEvent)...); !slices.Equal(got, []int{3, 4}) {
		t.Errorf("steps after resuming: %v", got)
	}
	whole := h.followAll(id)
	for i, m := range whole[:len(whole)-1] {
		if m.id != fmt.Sprint(i+1) {
			t.Errorf("event %d has number %s", i+1, m.id)
		}
	}
}

// TestStopAtStep: a job stops where it was told to, and runs through when it
// is resumed.
func TestStopAtStep(t *testing.T) {
	h := start(t, script{})
	id := h.submit(jobBody(`,"stop_at_step":2`))
	stream := h.open("/v1/jobs/" + id + "/stream")
	stream.until(t, "paused", atState(job.Paused))
	h.order(id+"/resume", "queued")
	list := stream.until(t, "the marker", func(m wireMessage) bool { return m.data == "[DONE]" })
	if got := append(steps(list, job.ProgressEvent), steps(list, job.PreviewEvent)...); !slices.Equal(got, []int{3, 4}) {
		t.Errorf("steps after resuming: %v", got)
	}
}

// TestPauseWaiting: a waiting job is paused at once, is not run, and ends when
// it is deleted.
func TestPauseWaiting(t *testing.T) {
	hold := make(chan struct{})
	h := start(t, script{hold: hold})
	for _, id := range []string{"a", "b", "c"} {
		h.submit(jobBody(`,"id":"` + id + `"`))
	}
	h.order("a/pause", "paused")
	h.order("b/pause", "paused")
	stream := h.open("/v1/jobs/a/stream")
	if m := <-stream.messages; m.id != "1" || m.data != `{"type":"state","state":"paused"}` {
		t.Errorf("the first event is %v", m)
	}
	close(hold)
	h.follow("c")
	if h.state("a") != job.Paused || h.state("b") != job.Paused {
		t.Errorf("paused jobs became %s and %s", h.state("a"), h.state("b"))
	}
	h.order("a/resume", "queued")
	list := stream.until(t, "the marker", func(m wireMessage) bool { return m.data == "[DONE]" })
	if got := changesOf(list); got[len(got)-1] != job.Running {
		t.Errorf("states after resuming: %v", got)
	}
	gone := h.open("/v1/jobs/b/stream")
	h.wants(h.call("DELETE", "/v1/jobs/b", ""), 200, `{"job_id":"b","status":"cancelled"}`)
	list = gone.until(t, "the marker", func(m wireMessage) bool { return m.data == "[CANCELLED]" })
	if len(list) != 3 || list[1].event.Message != job.CancelMessage {
		t.Errorf("the stream of a deleted job that was paused: %v", list)
	}
}

// TestFront: jobs come in the order they were moved to.
func TestFront(t *testing.T) {
	hold := make(chan struct{})
	h := start(t, script{hold: hold})
	for _, id := range []string{"a", "b", "c", "d"} {
		h.submit(jobBody(`,"id":"` + id + `"`))
	}
	h.order("d/front", "queued")
	h.order("c/front?before=b", "queued")
	close(hold)
	var list []job.Report
	for _, id := range []string{"a", "b", "c", "d"} {
		h.follow(id)
		list = append(list, decodeJSON[job.Report](t, h.get("/v1/jobs/"+id).body))
	}
	slices.SortFunc(list, func(a, b job.Report) int { return a.Started.Compare(b.Started) })
	var order string
	for _, r := range list {
		order += string(r.ID)
	}
	if order != "dacb" {
		t.Errorf("the jobs ran in the order %s", order)
	}
}

// TestOrdersRefused: statuses and texts, on both ways.
func TestOrdersRefused(t *testing.T) {
	pace := make(chan struct{})
	h := start(t, script{pace: pace})
	h.submit(jobBody(`,"id":"ended","steps":1`))
	pace <- struct{}{}
	h.follow("ended")
	h.submit(jobBody(`,"id":"runs"`))
	waitFor(t, "running", func() bool { return h.state("runs") == job.Running })
	h.submit(jobBody(`,"id":"waits"`))
	h.submit(jobBody(`,"id":"low","priority":"low"`))
	h.submit(jobBody(`,"id":"paused"`))
	h.order("paused/pause", "paused")
	w := h.dial(nil)
	for _, row := range []struct {
		order, id, before string
		status            int
		text              string
	}{
		{"pause", "nobody", "", 404, "Job nobody not found"},
		{"resume", "nobody", "", 404, "Job nobody not found"},
		{"front", "nobody", "", 404, "Job nobody not found"},
		{"pause", "ended", "", 409, "Job ended has ended (complete) and cannot be paused"},
		{"resume", "ended", "", 409, "Job ended has ended (complete) and cannot be resumed"},
		{"front", "ended", "", 409, "Job ended has ended (complete) and cannot be moved"},
		{"front", "runs", "", 409, "Job runs is running; only a job that waits can be moved"},
		{"front", "paused", "", 409, "Job paused is paused; only a job that waits can be moved"},
		{"front", "waits", "runs", 409, `Job "runs" does not wait in the same line`},
		{"front", "waits", "low", 409, `Job "low" does not wait in the same line`},
		{"front", "waits", "nobody", 409, `Job "nobody" does not wait in the same line`},
	} {
		path := "/v1/jobs/" + row.id + "/" + row.order
		if row.before != "" {
			path += "?before=" + row.before
		}
		h.wants(h.call("POST", path, ""), row.status, row.text)
		w.send(`{"type":%q,"job":%q,"before":%q,"ref":1}`, row.order, row.id, row.before)
		if r := w.answer("1"); r.Type != "error" || r.Status != row.status || !strings.HasPrefix(r.Message, row.text) {
			t.Errorf("socket: %s %s was answered with %+v", row.order, row.id, r)
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodDelete, http.MethodPut} {
		h.wants(h.call(method, "/v1/jobs/waits/pause", ""), 405, "")
	}
	h.wants(h.call("POST", "/v1/jobs/waits/dance", ""), 404, "")
	h.order("waits/resume", "queued") // it waits: no change
	h.order("runs/resume", "running")
	close(pace)
}

// TestSocketOrders: the same by commands; the changes are events and states.
func TestSocketOrders(t *testing.T) {
	hold := make(chan struct{})
	h := start(t, script{hold: hold})
	id := h.submit(jobBody(""))
	w := h.dial(nil)
	w.send(`{"type":"subscribe","job":%q,"ref":1}`, id)
	w.send(`{"type":"pause","job":%q,"ref":2}`, id)
	for told := map[string]bool{}; len(told) < 3; { // an event, a state and the answer, in any order
		r, _ := w.next()
		if r.State == job.Paused || r.Event != nil && r.Event.State == job.Paused {
			told[r.Type] = true
		}
	}
	w.send(`{"type":"front","job":%q,"ref":3}`, id)
	if r := w.answer("3"); r.Status != 409 {
		t.Errorf("front of a paused job: %+v", r)
	}
	w.send(`{"type":"resume","job":%q,"ref":4}`, id)
	if r := w.answer("4"); r.Type != "ok" || r.State != job.Queued || r.Job != job.ID(id) {
		t.Errorf("resume was answered with %+v", r)
	}
	w.send(`{"type":"front","job":%q,"ref":5}`, id)
	if r := w.answer("5"); r.Type != "ok" || r.State != job.Queued {
		t.Errorf("front was answered with %+v", r)
	}
	close(hold)
	w.job(job.ID(id))
}
