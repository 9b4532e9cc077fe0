//go:build unix

package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waggle/internal/builtin"
	"waggle/internal/job"
)

// images fetches all pictures of a complete job.
func (s *server) images(id string, n int) (files [][]byte) {
	s.Helper()
	for i := range n {
		a := s.ask(http.MethodGet, fmt.Sprintf("/v1/jobs/%s/image/%d", id, i), nil)
		if a.status != http.StatusOK {
			s.Fatalf("picture %d of %s: %d %s", i, id, a.status, a.body)
		}
		files = append(files, a.body)
	}
	return files
}

// sameImages checks the pictures of a job against those of another.
func (s *server) sameImages(got, want string, n int) {
	s.Helper()
	a, b := s.images(got, n), s.images(want, n)
	for i := range n {
		if !bytes.Equal(a[i], b[i]) {
			s.Errorf("picture %d of %s is not that of %s", i, got, want)
		}
	}
}

// TestKillInBatch kills the program in the middle of a job of six pictures, when four are drawn together, and when these are
// done: it goes on, and all six are those of an undisturbed run.
func TestKillInBatch(t *testing.T) {
	needAdapter(t)
	const pictures, steps = 6, 12
	dir := t.TempDir()
	start := func() *server {
		return startServer(t, "serve", "--port", "0", "--data", dir, "--checkpoint-every", "1ms")
	}
	request := star(fields{"id": "one", "steps": steps, "batch": pictures, "sampler": "euler_ancestral"})
	s := start()
	_, stream := s.post(request)
	for _, at := range []int{20, 56} {
		s.replay(stream, 0, func(e placedEvent) bool { return e.Step >= at })
		s.kill()
		s = start()
	}
	checkStream(t, 0, s.replay(stream, 0, nil), pictures*steps)
	request["id"] = "undisturbed"
	_, undisturbed := s.post(request)
	s.finished(undisturbed)
	s.sameImages("one", "undisturbed", pictures)
}

// TestTwoAdapters: two engines, here on one adapter, run two jobs at once, and nothing is done twice.
func TestTwoAdapters(t *testing.T) {
	needAdapter(t)
	s := startServer(t, "serve", "--port", "0", "--gpu", "0,0", "--max-batch", "1")
	s.ready()
	var node job.Node
	for len(node.Devices) < 2 || node.Devices[1].Status != job.Ready || node.Devices[0].Status != job.Ready {
		s.get("/info", &node)
	}
	const jobs, steps = 6, 60
	id := func(i int) string { return fmt.Sprint("job", i) }
	stream := func(i int) string { return "/v1/jobs/" + id(i) + "/stream" }
	for i := range jobs {
		s.post(star(fields{"id": id(i), "seed": i, "steps": steps}))
	}
	s.replay(stream(1), 0, func(e placedEvent) bool { return e.Step == 3 })
	if states := s.statesNow(); states["job0"] != job.Running || states["job1"] != job.Running || states["job2"] != job.Queued {
		t.Errorf("while the second job runs: %v", states)
	}
	for i := range jobs {
		checkStream(t, i, s.replay(stream(i), 0, nil), steps)
	}
	_, again := s.post(star(fields{"id": "again", "seed": 1, "steps": steps}))
	s.finished(again)
	s.sameImages("job1", "again", 1)
}

// TestStopAtStepAndPriority: a job stops by itself and goes on later; one of a higher priority and another size takes the
// place of what runs, which goes on as if nothing had been.
func TestStopAtStepAndPriority(t *testing.T) {
	needAdapter(t)
	s := startServer(t, "serve", "--port", "0")
	s.post(star(fields{"id": "whole", "steps": 30}))
	_, stopped := s.post(star(fields{"id": "stopped", "steps": 30, "stop_at_step": 10}))
	s.await(t, "stopped", job.Paused)
	if list := s.replay(stopped, 0, func(e placedEvent) bool { return e.State == string(job.Paused) }); list[len(list)-2].Step != 10 {
		t.Errorf("paused after %+v", list[len(list)-2])
	}
	_, low := s.post(star(fields{"id": "low", "steps": 30, "priority": "low"}))
	s.replay(low, 0, func(e placedEvent) bool { return e.Step == 5 })
	_, high := s.post(star(fields{"id": "high", "steps": 2, "priority": "high", "width": 192}))
	s.finished(high)
	if states := s.statesNow(); states["low"].Final() {
		t.Errorf("the low job is %s before the high one has ended", states["low"])
	}
	if a := s.ask(http.MethodPost, "/v1/jobs/stopped/resume", nil); a.status != http.StatusOK {
		t.Fatalf("resume: %d %s", a.status, a.body)
	}
	for _, id := range []string{"stopped", "low"} {
		checkStream(t, 0, s.replay("/v1/jobs/"+id+"/stream", 0, nil), 30)
		s.sameImages(id, "whole", 1)
	}
}

// TestModelFolder: a job runs on the model that it names; models come while the server runs; a broken one fails its jobs
// alone.
func TestModelFolder(t *testing.T) {
	needAdapter(t)
	dir := t.TempDir()
	write := func(name string) {
		t.Helper()
		if err := os.CopyFS(filepath.Join(dir, name), builtin.Files()); err != nil {
			t.Fatal(err)
		}
	}
	write("copy")
	if err := os.WriteFile(filepath.Join(dir, "broken.safetensors"), []byte("not a model at all"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, "serve", "--port", "0", "--models", dir)
	s.ready()
	if got := s.models(2); got != "tiny-shapes loaded, copy" {
		t.Errorf("models: %s", got)
	}
	id, stream := s.post(star(fields{"model": "copy", "steps": 4}))
	s.finished(stream)
	_, stream = s.post(star(fields{"id": "own", "steps": 4}))
	s.finished(stream)
	if got := s.models(2); got != "tiny-shapes loaded, copy loaded" {
		t.Errorf("models after a job on each: %s", got)
	}
	pixels := func(id string) string { return fmt.Sprint(decoded(t, s.images(id, 1)[0])) }
	if pixels(id) != pixels("own") {
		t.Error("two copies of a model draw different pictures")
	}
	id, stream = s.post(star(fields{"model": "broken"}))
	s.follow(stream, nil)
	var record job.Record
	if s.get("/v1/jobs/"+id, &record); record.Kind != job.ModelInvalid || !strings.Contains(record.Message, "broken") {
		t.Errorf("the job for the broken model: %s %q", record.Kind, record.Message)
	}
	write("late")
	if got := s.models(3); got != "tiny-shapes loaded, copy loaded, late" {
		t.Errorf("models: %s", got)
	}
	if a := s.ask(http.MethodPost, "/v1/tokenize", []byte(`{"model":"late","text":"a red star"}`)); a.status != http.StatusOK || !bytes.Contains(a.body, []byte(`"count":3`)) {
		t.Errorf("tokenize: %d %s", a.status, a.body)
	}
}

// statesNow are the states of all jobs at one moment.
func (s *server) statesNow() map[job.ID]job.State {
	s.Helper()
	var answer struct{ Jobs []job.Report }
	s.get("/v1/jobs", &answer)
	states := map[job.ID]job.State{}
	for _, r := range answer.Jobs {
		states[r.ID] = r.State
	}
	return states
}

// models lists the models that the server offers, once there are so many.
func (s *server) models(count int) string {
	s.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var answer struct{ Models []job.ModelInfo }
		s.get("/v1/models", &answer)
		var names []string
		for _, m := range answer.Models {
			if m.Loaded {
				m.Name += " loaded"
			}
			names = append(names, m.Name)
		}
		if len(names) == count {
			return strings.Join(names, ", ")
		}
	}
	s.Fatalf("the server does not come to offer %d models", count)
	return ""
}
