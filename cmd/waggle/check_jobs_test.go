//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"waggle/internal/builtin"
)

const waitsForPictures = "waits for picture-to-picture"

func TestCheck18Seeds(t *testing.T) {
	check(t, ours, "one seed, one picture; without a seed another each time, which complete tells")
	drawsMuch(t)
	s := aWorker(t)
	var streams []string
	for _, seed := range []any{1, 1, 2, nil, nil} {
		_, stream := s.post(lamp(fields{"seed": seed}))
		streams = append(streams, stream)
	}
	var drawn []event
	for _, stream := range streams {
		drawn = append(drawn, s.completes(stream))
	}
	same := func(a, b event) bool { return builtin.Difference(decoded(t, a.Image), decoded(t, b.Image)) == 0 }
	if !same(drawn[0], drawn[1]) || same(drawn[0], drawn[2]) || same(drawn[3], drawn[4]) {
		t.Errorf("seed 1 twice the same: %v; seed 2 the same: %v; no seed twice the same: %v", same(drawn[0], drawn[1]), same(drawn[0], drawn[2]), same(drawn[3], drawn[4]))
	}
	if drawn[3].Seed == nil || drawn[4].Seed == nil {
		t.Fatal("complete does not tell the seed")
	}
	_, stream := s.post(lamp(fields{"seed": *drawn[3].Seed}))
	if !same(drawn[3], s.completes(stream)) {
		t.Errorf("seed %d does not draw its picture again", *drawn[3].Seed)
	}
}

func TestCheck19Order(t *testing.T) {
	check(t, both, "jobs are taken at once and completed in their order")
	drawsMuch(t)
	s := aWorker(t)
	var ids, streams []string
	for range 3 {
		id, stream := s.post(lamp(fields{"steps": 20}))
		ids, streams = append(ids, id), append(streams, stream)
	}
	if r := s.record(ids[0]); r.State != "queued" && r.State != "running" {
		t.Errorf("when the third was taken, the first was %s", r.State)
	}
	var ended time.Time
	for i, stream := range streams {
		s.completes(stream)
		r := s.record(ids[i])
		if !r.Finished.After(ended) {
			t.Errorf("job %d ended at %v, the one before at %v", i+1, r.Finished, ended)
		}
		ended = r.Finished
	}
}

// jobRecord is what a server knows of a job.
type jobRecord struct {
	State             string
	Started, Finished time.Time
}

func (s *server) record(id string) (r jobRecord) {
	s.Helper()
	s.get("/v1/jobs/"+id, &r)
	return r
}

func TestCheck20Health(t *testing.T) {
	check(t, rbee, "while a job runs /health answers within 500 ms, ten times")
	s := aWorker(t)
	id, stream := s.post(lamp(fields{"steps": 50}))
	asked := 0
	s.replay(stream, 0, func(e placedEvent) bool {
		if e.Step > 0 {
			asked++
			began := time.Now()
			if a := s.ask(http.MethodGet, "/health", nil); a.status != http.StatusOK || time.Since(began) > within(500*time.Millisecond) {
				t.Errorf("behind step %d: %d after %v", e.Step, a.status, time.Since(began))
			}
		}
		return asked == 10
	})
	if r := s.record(id); r.State != "running" || asked != 10 {
		t.Errorf("asked %d times; the job is %s", asked, r.State)
	}
	s.cancels(id)
}

// cancels ends a job that has not ended.
func (s *server) cancels(id string) {
	s.Helper()
	var got struct {
		JobID  string `json:"job_id"`
		Status string
	}
	a := s.ask(http.MethodDelete, "/v1/jobs/"+id, nil)
	if err := json.Unmarshal(a.body, &got); err != nil || a.status != http.StatusOK || got.JobID != id || got.Status != "cancelled" {
		s.Errorf("DELETE of %s: %d %s", id, a.status, a.body)
	}
}

func TestCheck21Transform(t *testing.T) {
	check(t, ours, "image_transform: steps 6 to 10 of 10 at strength 0.5, by either name of its picture")
	leaveOut(t, waitsForPictures)
}

func TestCheck23Inpaint(t *testing.T) {
	check(t, ours, "image_inpaint changes what the mask has white, and little else")
	leaveOut(t, waitsForPictures)
}

// waiting is a job that cannot be drawn together with lamp, so it waits while that runs.
func waiting() fields { return lamp(fields{"width": 192}) }

func TestCheck24Cancel(t *testing.T) {
	check(t, ours, "DELETE at step 3 of 50: one step more at most, error, [CANCELLED]; the next job runs")
	s := aWorker(t)
	id, path := s.post(lamp(fields{"steps": 50}))
	_, next := s.post(waiting())
	stream := s.openStream(path)
	await(t, stream, commandLimit, "step 3", func(m message) bool { return m.name != "" && m.event(t).Step == 3 })
	s.cancels(id)
	var after []string
	for _, m := range rest(t, stream) {
		if m.name != "" {
			m.data = fmt.Sprint(m.name, " ", m.event(t).Step, m.event(t).Message)
		}
		after = append(after, m.data)
	}
	ends := []string{"error 0Job cancelled by user", "[CANCELLED]"}
	if !slices.Equal(after, ends) && !slices.Equal(after, append([]string{"progress 4"}, ends...)) {
		t.Errorf("behind step 3 came %q", after)
	}
	s.completes(next)
}

func TestCheck25CancelQueued(t *testing.T) {
	check(t, ours, "DELETE of a queued job: it never runs; of an unknown or ended one: 404")
	s := aWorker(t)
	running, path := s.post(lamp(fields{"steps": 50}))
	await(t, s.openStream(path), commandLimit, "a step", func(m message) bool { return m.name != "" && m.event(t).Step > 0 })
	queued, stream := s.post(waiting())
	s.cancels(queued)
	s.cancels(running)
	if list := s.reads(stream); len(stepsOf(list, "")) != 0 || list[len(list)-1].data != "[CANCELLED]" {
		t.Errorf("the queued job's stream: %v", list)
	}
	ended, stream := s.post(lamp(fields{"steps": 1}))
	s.completes(stream)
	for _, id := range []string{"nobody", ended, queued} {
		if a := s.ask(http.MethodDelete, "/v1/jobs/"+id, nil); a.status != http.StatusNotFound || !strings.HasPrefix(string(a.body), "Job "+id+" not found") {
			t.Errorf("DELETE of %s: %d %s", id, a.status, a.body)
		}
	}
}

func TestCheck27Disconnect(t *testing.T) {
	check(t, both, "a reader that goes harms no job; with cancel_on_disconnect its own stops within 3 s")
	s := aWorker(t)
	first := func(placedEvent) bool { return true }
	_, abandoned := s.post(lamp(nil))
	_, next := s.post(waiting())
	s.replay(abandoned, 0, first)
	if a := s.ask(http.MethodGet, "/health", nil); a.status != http.StatusOK {
		t.Errorf("GET /health: %d", a.status)
	}
	s.completes(next)
	s.completes(abandoned)

	_, path := s.post(lamp(fields{"steps": 150}))
	onlooker := s.openStream(path)
	s.replay(path+"?cancel_on_disconnect=1", 0, first)
	await(t, onlooker, within(3*time.Second), "end of the job", func(m message) bool { return m.data == "[CANCELLED]" })
}
