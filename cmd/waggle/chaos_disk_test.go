//go:build unix

package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestChaosDiskFull fills the disk of the data folder while jobs run and wait: new ones are asked to come again later, and
// when there is room everything goes on by itself. One time the server is killed while the disk is full.
func TestChaosDiskFull(t *testing.T) {
	c := newChaos(t)
	dir, err := mountSmallDisk(t, "96m")
	if err != nil {
		c.leaveOut(err.Error())
	}
	s := c.serveOn(dir, "--checkpoint-every", "100ms")
	filler := filepath.Join(dir, "filler")
	rounds := c.either(6, 2)
	jobs := c.mixedJobs("disk", 4*rounds)
	for round := range rounds {
		mine := jobs[4*round : 4*round+4]
		for i := range mine[:3] {
			c.submit(func() *server { return s }, &mine[i])
		}
		time.Sleep(c.between(0, time.Second))
		c.fault("the disk is full: %d jobs were running, %d waiting", len(s.list("running")), len(s.list("queued")))
		fillDisk(t, filler)
		refused := time.Now()
		c.refused(s, mine[3])
		if round == 1 {
			c.fault("kill -9 on a full disk")
			s.kill()
			fail(c, command(c, "serve", "--port", "0", "--data", dir), exitFailed, dir, "full", "--data")
		}
		time.Sleep(time.Until(refused.Add(c.between(0, 6*time.Second))))
		if err := os.Remove(filler); err != nil {
			c.Fatal(err)
		}
		if round == 1 {
			s = c.serveOn(dir, "--checkpoint-every", "100ms")
		}
		c.submit(func() *server { return s }, &mine[3])
	}
	c.settle(s, 3*time.Minute, jobs...)
}

// refused checks the answer to a job when there is no room for it.
func (c *chaos) refused(s *server, j chaosJob) {
	c.Helper()
	body, err := json.Marshal(j.request())
	if err != nil {
		c.Fatal(err)
	}
	a := s.ask(http.MethodPost, "/v1/jobs", body)
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || !strings.Contains(string(a.body), "full") {
		c.Errorf("a job while there is no room: %d %q, Retry-After %q", a.status, a.body, a.header.Get("Retry-After"))
	}
}
