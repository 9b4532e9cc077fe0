//go:build unix

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// kill ends the server as a crash does: at once, with no time for anything.
func (s *server) kill() {
	s.Helper()
	s.once.Do(func() {
		if err := s.cmd.Process.Kill(); err != nil {
			s.Error(err)
		}
		<-s.ended
	})
}

// placedEvent is an event with its number in the stream.
type placedEvent struct {
	id int
	event
}

// replay reads a stream behind an event until the end marker, or until enough says so.
func (s *server) replay(stream string, after int, enough func(placedEvent) bool) (list []placedEvent) {
	s.Helper()
	err := s.hear(stream, after, func(e placedEvent) bool {
		list = append(list, e)
		return enough == nil || !enough(e)
	})
	if err != nil {
		s.Fatal(err)
	}
	return list
}

// hear reads a stream behind an event until its end, or until on says no. A connection that is cut is no error.
func (s *server) hear(stream string, after int, on func(placedEvent) bool) error {
	r, err := http.NewRequestWithContext(s.Context(), http.MethodGet, s.url+stream, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Last-Event-ID", strconv.Itoa(after))
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", stream, response.Status)
	}
	id := 0
	for lines := bufio.NewReader(response.Body); ; {
		text, err := lines.ReadString('\n')
		if err != nil {
			return nil
		}
		switch key, value, _ := strings.Cut(strings.TrimSuffix(text, "\n"), ": "); {
		case key == "id":
			if id, err = strconv.Atoi(value); err != nil {
				return err
			}
		case key == "data" && strings.HasPrefix(value, "{"):
			e := placedEvent{id: id}
			if err := json.Unmarshal([]byte(value), &e.event); err != nil {
				return fmt.Errorf("event %d of %s: %w", id, stream, err)
			}
			if !on(e) {
				return nil
			}
		}
	}
}

// TestKill kills the real program in the middle of its work, twice, and starts it on the same folder: no job is lost, none
// is done twice, all come in order, events go on with the next number, and the pictures are those of an undisturbed run.
func TestKill(t *testing.T) {
	needAdapter(t)
	const jobs, steps = 10, 12
	dir := t.TempDir()
	id := func(i int) string { return fmt.Sprint("job", i) }
	stream := func(i int) string { return "/v1/jobs/" + id(i) + "/stream" }
	start := func() *server { return startServer(t, "serve", "--port", "0", "--data", dir) }

	s := start()
	for i := range jobs {
		s.post(star(fields{"id": id(i), "seed": 100 + i, "steps": steps}))
	}
	heard := map[int][]placedEvent{}
	for _, victim := range []int{2, 6} {
		heard[victim] = s.replay(stream(victim), 0, func(e placedEvent) bool { return e.Step == 5 })
		s.kill()
		began := time.Now()
		s = start()
		rest := s.replay(stream(victim), len(heard[victim]), func(e placedEvent) bool { return true })
		if len(rest) == 0 || rest[0].id != len(heard[victim])+1 {
			t.Fatalf("job %d after the restart: %+v, want event %d first", victim, rest, len(heard[victim])+1)
		}
		t.Logf("killed at step 5 of job %d; its next step came %v later", victim, time.Since(began).Round(time.Millisecond))
	}
	for i := range jobs {
		checkStream(t, i, s.replay(stream(i), 0, nil), steps)
	}
	s.checkOrder(jobs, id, map[int]int{2: 2, 6: 2, others: 2})
	for i := range jobs {
		_, undisturbed := s.post(star(fields{"seed": 100 + i, "steps": steps}))
		want := s.finished(undisturbed)
		if got := s.ask(http.MethodGet, "/v1/jobs/"+id(i)+"/image", nil); !bytes.Equal(got.body, want) {
			t.Errorf("job %d: the picture is not that of an undisturbed run", i)
		}
	}
}

// checkStream checks that a job's events are whole and nothing is said twice.
func checkStream(t *testing.T, i int, list []placedEvent, steps int) {
	t.Helper()
	step := 0
	for n, e := range list {
		if e.Step > 0 {
			step++
		}
		if e.id != n+1 || e.Step > 0 && e.Step != step {
			t.Errorf("job %d: event %d has number %d and step %d", i, n+1, e.id, e.Step)
		}
	}
	if step != steps || list[len(list)-1].Type != "complete" {
		t.Errorf("job %d: %d steps and %q as the last event, want %d and complete", i, step, list[len(list)-1].Type, steps)
	}
}

// others stands in a map of attempts for the jobs that it does not name: those may have been drawn together with one.
const others = -1

// checkOrder checks the records: all complete, in the order of their submission, begun once but for those in attempts.
func (s *server) checkOrder(jobs int, id func(int) string, attempts map[int]int) {
	s.Helper()
	var list struct {
		Jobs []struct {
			ID, State string
			Attempt   int
			Finished  time.Time
		}
	}
	s.get("/v1/jobs", &list)
	if len(list.Jobs) != jobs {
		s.Fatalf("%d jobs, want %d", len(list.Jobs), jobs)
	}
	slices.Reverse(list.Jobs) // the newest came first
	last := time.Time{}
	for i, j := range list.Jobs {
		low, most := max(attempts[i], 1), max(attempts[i], attempts[others], 1)
		if j.ID != id(i) || j.State != "complete" || j.Attempt < low || j.Attempt > most || !j.Finished.After(last) {
			s.Errorf("record %d: %+v, want %s complete in attempt %d to %d, after %v", i, j, id(i), low, most, last)
		}
		last = j.Finished
	}
}

// TestStopAndGoOn: a server that is told to stop hands its job back, which is no attempt.
func TestStopAndGoOn(t *testing.T) {
	needAdapter(t)
	dir := t.TempDir()
	s := startServer(t, "serve", "--port", "0", "--data", dir)
	_, stream := s.post(star(fields{"id": "one", "steps": 40}))
	s.replay(stream, 0, func(e placedEvent) bool { return e.Step == 3 })
	s.stop()
	s = startServer(t, "serve", "--port", "0", "--data", dir)
	checkStream(t, 0, s.replay(stream, 0, nil), 40)
	s.checkOrder(1, func(int) string { return "one" }, nil)
	if a := s.try(star(fields{"id": "one", "steps": 40})); a.status != http.StatusOK {
		t.Errorf("the same job again: %d %s", a.status, a.body)
	}
	if a := s.try(star(fields{"id": "one", "steps": 41})); a.status != http.StatusConflict {
		t.Errorf("another job of the same id: %d %s", a.status, a.body)
	}
}

// TestOneFolderOneServer: a second server on the same folder says so and ends.
func TestOneFolderOneServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	startServer(t, "serve", "--port", "0", "--data", dir)
	fail(t, command(t, "serve", "--port", "0", "--data", dir), exitFailed, dir, "in use", "--data")
}

// TestGoOnFromCheckpoint kills the program in the middle of a picture: it goes on behind the last checkpoint, and the
// picture is that of an undisturbed run, fresh noise of an ancestral sampler and all.
func TestGoOnFromCheckpoint(t *testing.T) {
	needAdapter(t)
	const steps, killed = 60, 40
	dir := t.TempDir()
	start := func() *server {
		return startServer(t, "serve", "--port", "0", "--data", dir, "--checkpoint-every", "1ms")
	}
	request := star(fields{"id": "one", "steps": steps, "sampler": "euler_ancestral"})
	s := start()
	_, stream := s.post(request)
	s.replay(stream, 0, func(e placedEvent) bool { return e.Step == killed })
	s.kill()
	s = start()
	checkStream(t, 0, s.replay(stream, 0, nil), steps)
	found := regexp.MustCompile(`go on from a checkpoint" job=one picture=0 step=(\d+)`).FindStringSubmatch(s.log.String())
	if found == nil {
		t.Fatalf("the log does not say that the job went on from a checkpoint")
	}
	if step, _ := strconv.Atoi(found[1]); step < killed/2 || step >= steps {
		t.Errorf("went on behind step %d, killed at step %d of %d", step, killed, steps)
	}
	request["id"] = "undisturbed"
	_, undisturbed := s.post(request)
	want := s.finished(undisturbed)
	if got := s.ask(http.MethodGet, "/v1/jobs/one/image", nil); !bytes.Equal(got.body, want) {
		t.Error("the picture is not that of an undisturbed run")
	}
}
