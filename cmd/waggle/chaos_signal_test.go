//go:build unix

package main

import (
	"strings"
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
	for range c.either(8, 2) {
		time.Sleep(c.between(0, 2*time.Second))
		c.fault("SIGTERM")
		s.stop() // checks the time
		s = c.serveOn(dir)
	}
	c.settle(s, 5*time.Minute, jobs...)
	for _, j := range jobs {
		if r := s.trace(j).record; r.Attempt != 1 {
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
