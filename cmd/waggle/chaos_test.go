//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"
)

// chaos is a scenario of faults. The tests TestChaos… are the scenarios: in every run of the tests in a short form, by
// `make chaos` in full.
type chaos struct {
	*testing.T
	full bool
	rng  *rand.Rand // for the goroutine of the test
}

// newChaos begins a scenario. The race detector makes what it does too slow.
func newChaos(t *testing.T) *chaos {
	t.Helper()
	needAdapter(t)
	if raceDetector {
		t.Skip("faults are tried without the race detector")
	}
	seed, err := strconv.ParseUint(os.Getenv("CHAOS_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("this run again: CHAOS_SEED=%d", seed)
	tally.begin()
	return &chaos{t, os.Getenv("CHAOS") == "full", rand.New(rand.NewPCG(seed, 0))}
}

// either is the number of the full form, or of the short one.
func (c *chaos) either(full, short int) int {
	if c.full {
		return full
	}
	return short
}

// between is a random time.
func (c *chaos) between(least, most time.Duration) time.Duration {
	return least + time.Duration(c.rng.Int64N(int64(most-least)+1))
}

// leaveOut ends a scenario that cannot be played here.
func (c *chaos) leaveOut(why string) {
	tally.leaveOut(c.Name(), why)
	c.Skip(why)
}

// fault counts and tells what is done to the server.
func (c *chaos) fault(format string, args ...any) {
	c.Helper()
	tally.add(1)
	c.Logf("fault: "+format, args...)
}

// find reports damage: the test fails.
func (c *chaos) find(d damage, format string, args ...any) {
	c.Helper()
	tally.find(d)
	c.Errorf("%s: %s", d, fmt.Sprintf(format, args...))
}

// chaosJob is a job that must come through. Those with equal recipes have equal pictures.
type chaosJob struct {
	id     string
	recipe fields
	// ends is the state it must end in: "complete" unless told otherwise. kind and message are asked of a failed one.
	ends, kind, message string
	taken               bool // the server has said so
}

// request is what the job's client sends.
func (j chaosJob) request() fields {
	f := fields{"id": j.id}
	for name, value := range j.recipe {
		f[name] = value
	}
	return f
}

func (j chaosJob) stream() string { return "/v1/jobs/" + j.id + "/stream" }

func (j chaosJob) pictures() int {
	n, _ := j.recipe["batch"].(int)
	return max(n, 1)
}

// steps is how many steps the job reports.
func (j chaosJob) steps() int { return j.pictures() * j.recipe["steps"].(int) }

// mixedJobs are jobs that differ in sampler, length, number of pictures and priority. Their ids begin with name.
func (c *chaos) mixedJobs(name string, n int) []chaosJob {
	list := make([]chaosJob, n)
	samplers := []string{"ddim", "euler_ancestral", "dpmpp_2m_sde", "euler", "dpmpp_2m", "dpmpp_sde", "dpmpp_3m_sde"}
	for i := range list {
		recipe := star(fields{"sampler": samplers[i%len(samplers)], "seed": 100 + i, "steps": 10 + 5*(i%5)})
		if i%10 == 9 {
			recipe["batch"] = 3
		}
		recipe["priority"] = []string{"normal", "high", "low", "normal"}[c.rng.IntN(4)]
		list[i] = chaosJob{id: fmt.Sprintf("%s-%d", name, i), recipe: recipe}
	}
	return list
}

// submit sends a job until the server takes it, however often the connection breaks or the server asks to wait. It is the
// same job each time. where says where the server is now.
func (c *chaos) submit(where func() *server, j *chaosJob) {
	body, err := json.Marshal(j.request())
	if err != nil {
		c.Error(err)
		return
	}
	for c.Context().Err() == nil {
		a, err := where().reach(http.MethodPost, "/v1/jobs", body)
		switch {
		case err == nil && a.status == http.StatusOK:
			j.taken = true
			return
		case err == nil && a.status != http.StatusServiceUnavailable:
			c.find(lost, "job %s was refused: %d %s", j.id, a.status, a.body)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// settle waits until all jobs have ended, and holds each to what was asked of it.
func (c *chaos) settle(s *server, limit time.Duration, jobs ...chaosJob) {
	c.Helper()
	deadline := time.Now().Add(limit)
	for s.unfinished(jobs) > 0 && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
	c.judge(s, jobs...)
}

// unfinished counts the jobs that have not ended.
func (s *server) unfinished(jobs []chaosJob) (n int) {
	for _, j := range jobs {
		var r chaosRecord
		if a := s.ask(http.MethodGet, "/v1/jobs/"+j.id, nil); json.Unmarshal(a.body, &r) == nil && !r.ended() {
			n++
		}
	}
	return n
}

// judge compares what is left of each job with what must be, and its pictures with those of undisturbed runs.
func (c *chaos) judge(s *server, jobs ...chaosJob) {
	c.Helper()
	want := c.undisturbed(jobs)
	for i, j := range jobs {
		for _, f := range j.compare(s.trace(j), want[i]) {
			c.find(f.damage, "job %s: %s", j.id, f.what)
		}
	}
}

// trace is what a server has of a job at the end.
func (s *server) trace(j chaosJob) (t trace) {
	s.Helper()
	a := s.ask(http.MethodGet, "/v1/jobs/"+j.id, nil)
	if a.status != http.StatusOK || json.Unmarshal(a.body, &t.record) != nil {
		t.missing = fmt.Sprintf("%d %s", a.status, a.body)
		return t
	}
	if !t.record.ended() { // its stream would not end
		return t
	}
	t.events = s.replay(j.stream(), 0, nil)
	for i := 0; t.record.State == "complete" && i < j.pictures(); i++ {
		t.pictures = append(t.pictures, s.ask(http.MethodGet, fmt.Sprintf("/v1/jobs/%s/image/%d", j.id, i), nil).body)
	}
	return t
}

// known are pictures of undisturbed runs, by recipe, for all scenarios.
var known = struct {
	sync.Mutex
	pictures map[string][][]byte
}{pictures: map[string][][]byte{}}

// undisturbed makes the pictures of jobs on a server of its own to which nothing happens.
func (c *chaos) undisturbed(jobs []chaosJob) (list [][][]byte) {
	c.Helper()
	known.Lock()
	defer known.Unlock()
	var s *server
	for _, j := range jobs {
		key, _ := json.Marshal(j.recipe)
		if known.pictures[string(key)] == nil && j.complete() {
			if s == nil {
				s = startCommand(c, commandFor(c, 30*time.Minute, "serve", "--port", "0"))
			}
			known.pictures[string(key)] = s.draw(j)
		}
		list = append(list, known.pictures[string(key)])
	}
	if s != nil {
		s.stop()
	}
	return list
}

// draw makes the pictures of a job, alone.
func (s *server) draw(j chaosJob) (list [][]byte) {
	s.Helper()
	id, stream := s.post(j.recipe)
	s.finished(stream)
	for i := range j.pictures() {
		list = append(list, s.ask(http.MethodGet, fmt.Sprintf("/v1/jobs/%s/image/%d", id, i), nil).body)
	}
	return list
}
