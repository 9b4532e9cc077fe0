//go:build unix

package main

import (
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// serveOn starts the server on a data folder, with more flags.
func (c *chaos) serveOn(dir string, more ...string) *server {
	c.Helper()
	return startCommand(c, commandFor(c, 40*time.Minute, append([]string{"serve", "--port", "0", "--data", dir}, more...)...))
}

// TestChaosTerminate: a server that is told to stop is gone in time, hands its job back, which is no attempt, and goes on
// when it is started again.
func TestChaosTerminate(t *testing.T) {
	c := newChaos(t)
	dir := c.TempDir()
	s := c.serveOn(dir)
	jobs := c.mixedJobs("terminate", c.either(12, 4))
	for i := range jobs {
		c.submit(func() *server { return s }, &jobs[i])
	}
	var longest time.Duration
	for range c.either(8, 2) {
		time.Sleep(c.between(0, 2*time.Second))
		c.fault("SIGTERM")
		longest = max(longest, s.stop())
		s = c.serveOn(dir)
	}
	c.settle(s, 5*time.Minute, jobs...)
	inTime := longest < leaveWithin // else it left without handing back, as a machine that does much else may make it
	if !inTime && c.either(1, 0) == 1 {
		c.Errorf("a server needed %v to stop", longest)
	}
	for _, j := range jobs {
		if r := s.trace(j).record; r.Attempt != 1 && inTime {
			c.find(doubled, "job %s was begun %d times", j.id, r.Attempt)
		}
	}
}

// TestChaosTwoServers: a second server on a folder says so in one line, and the first goes on.
func TestChaosTwoServers(t *testing.T) {
	c := newChaos(t)
	dir := c.TempDir()
	s := c.serveOn(dir)
	jobs := c.mixedJobs("two", 2)
	for i := range jobs {
		c.submit(func() *server { return s }, &jobs[i])
	}
	c.fault("a second server on the same folder")
	fail(c, command(c, "serve", "--port", "0", "--data", dir), exitFailed, dir, "in use", "--data")
	c.settle(s, time.Minute, jobs...)
	if log := s.log.String(); strings.Contains(log, "ERROR") {
		c.Errorf("the first server complains:\n%s", clipped(log))
	}
}

// TestChaosFreeze stops the process for longer than a lease lasts without renewal, as a machine that sleeps does: nothing is
// lost, nothing is begun again, and whoever was connected stays so.
func TestChaosFreeze(t *testing.T) {
	c := newChaos(t)
	s := c.serveOn(c.TempDir())
	jobs := c.mixedJobs("freeze", c.either(6, 3))
	watching := &watch{chaos: c, where: func() *server { return s }, stop: make(chan bool), heard: make([][]placedEvent, len(jobs))}
	var watchers sync.WaitGroup
	for i := range jobs {
		jobs[i].recipe["steps"] = 40
		c.submit(func() *server { return s }, &jobs[i])
		watchers.Go(func() { watching.follow(i, jobs[i]) })
	}
	for range c.either(2, 1) {
		time.Sleep(c.between(500*time.Millisecond, 2*time.Second))
		c.fault("frozen: %d jobs were running, %d waiting", len(s.list("running")), len(s.list("queued")))
		c.signal(s, syscall.SIGSTOP)
		time.Sleep(time.Duration(c.either(40, 3)) * time.Second)
		c.signal(s, syscall.SIGCONT)
		if a := s.ask(http.MethodGet, "/ready", nil); a.status != http.StatusOK {
			c.Errorf("GET /ready after it: %d %s", a.status, a.body)
		}
	}
	c.settle(s, 3*time.Minute, jobs...)
	close(watching.stop)
	watchers.Wait()
	watching.compare(s, jobs)
	for _, j := range jobs {
		if r := s.trace(j).record; r.Attempt != 1 {
			c.find(doubled, "job %s was begun %d times", j.id, r.Attempt)
		}
	}
}

func (c *chaos) signal(s *server, sig syscall.Signal) {
	c.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		c.Fatal(err)
	}
}
