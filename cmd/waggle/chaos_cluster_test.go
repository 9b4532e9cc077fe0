//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"waggle/internal/natstest"
)

const (
	// rescueLimit is how soon another node must have the job of one that died.
	rescueLimit = 45 * time.Second
	// cutFor is how long a node is cut off.
	cutFor = 20 * time.Second
	// clusterLimit is how long a fleet may take to end its jobs.
	clusterLimit = 10 * time.Minute
)

// hive is three servers on a cluster of three NATS servers, each behind a network of its own.
type hive struct {
	*chaos
	*natstest.Cluster
	bees []*bee
	jobs []chaosJob
}

// bee is one node of a hive: a process, started again under the same name.
type bee struct {
	*hive
	name string
	link *natstest.Link
	*server
}

func (c *chaos) newHive() *hive {
	h := &hive{chaos: c, Cluster: natstest.StartCluster(c, 3)}
	for i := range 3 {
		b := &bee{hive: h, name: fmt.Sprint("bee-", i+1), link: h.Link()}
		h.bees = append(h.bees, b)
		b.start()
	}
	return h
}

func (b *bee) start() {
	args := []string{"serve", "--port", "0", "--worker-id", b.name, "--checkpoint-every", "500ms", "--nats", strings.Join(b.link.URLs(), ",")}
	b.server = startCommand(b.chaos, commandFor(b.chaos, 40*time.Minute, args...))
}

// add submits jobs, at one bee after the other.
func (h *hive) add(name string, n int) {
	jobs := h.mixedJobs(name, n)
	for i := range jobs {
		jobs[i].recipe["steps"] = jobs[i].recipe["steps"].(int) + 20
		delete(jobs[i].recipe, "batch")
		at := h.bees[i%len(h.bees)]
		h.submit(func() *server { return at.server }, &jobs[i])
	}
	h.jobs = append(h.jobs, jobs...)
}

// whereabouts is where a job runs.
type whereabouts struct {
	State, Node string
	Attempt     int
}

func (s *server) whereIs(id string) (w whereabouts) {
	a, err := s.reach(http.MethodGet, "/v1/jobs/"+id, nil)
	if err == nil {
		_ = json.Unmarshal(a.body, &w) // it says nothing, then
	}
	return w
}

// drawing waits until a bee draws a job, as another one sees it, and returns its id.
func (h *hive) drawing(b *bee) (id string) {
	h.await(b.name+" draws a job", time.Minute, func() bool {
		for _, other := range h.bees {
			if other == b {
				continue
			}
			for _, r := range other.list("running") {
				if other.whereIs(r.ID).Node == b.name {
					id = r.ID
					return true
				}
			}
			return false
		}
		return false
	})
	return id
}

func (h *hive) await(what string, limit time.Duration, holds func() bool) time.Duration {
	h.Helper()
	began := time.Now()
	for !holds() {
		if time.Since(began) > limit {
			h.Fatalf("it did not come within %v that %s", limit, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return time.Since(began)
}

// TestChaosCluster: of a fleet of three nodes one is killed, then servers of NATS are, then one node is cut off: all jobs
// end, once, somewhere.
func TestChaosCluster(t *testing.T) {
	if os.Getenv("CHAOS") == "" {
		t.Skip("make chaos kills nodes and servers of a cluster; takes minutes")
	}
	c := newChaos(t)
	h := c.newHive()
	h.add("cluster", plenty)
	for range c.either(2, 1) {
		h.killBee()
	}
	for _, s := range h.Servers[:c.either(3, 1)] {
		h.killServer(s)
	}
	for range c.either(2, 1) {
		h.cutOff()
	}
	h.settle(h.bees[0].server, clusterLimit, h.jobs...)
	for _, b := range h.bees[1:] {
		h.judge(b.server, h.jobs...)
	}
}

// plenty is more jobs than all nodes but one draw at a time: each node gets some.
const plenty = 12

// lastAttempts waits until no job is in its third run: losing that one rightly ends it.
func (h *hive) lastAttempts() {
	h.await("jobs in their last attempt end", 2*time.Minute, func() bool {
		for _, r := range h.bees[0].list("running") {
			if h.bees[0].whereIs(r.ID).Attempt > 2 {
				return false
			}
		}
		return true
	})
}

// killBee kills a node that draws: another goes on with its job.
func (h *hive) killBee() {
	b := h.bees[h.rng.IntN(len(h.bees))]
	h.lastAttempts()
	h.add(fmt.Sprint("kill-", len(h.jobs)), plenty)
	id := h.drawing(b)
	h.fault("kill -9 of %s, which draws %s", b.name, id)
	b.kill()
	other := h.bees[0]
	if other == b {
		other = h.bees[1]
	}
	took := h.await("another has "+id, rescueLimit, func() bool {
		w := other.whereIs(id)
		return w.Node != b.name || w.State != "running"
	})
	h.Logf("%s is %+v %v later", id, other.whereIs(id), took.Round(time.Millisecond))
	b.start()
}

// killServer kills a server of NATS while jobs run, and starts it again.
func (h *hive) killServer(s *natstest.Server) {
	h.lastAttempts()
	h.add("without-"+s.Name, 3)
	h.await("a job is drawn", time.Minute, func() bool { return len(h.bees[0].list("running")) > 0 })
	h.fault("kill -9 of NATS server %s", s.Name)
	s.Kill()
	h.add("meanwhile-"+s.Name, 3)
	done := h.unfinishedAt(h.bees[0])
	h.await("a job ends without "+s.Name, 2*time.Minute, func() bool { n := h.unfinishedAt(h.bees[0]); return n < done || n == 0 })
	s.Start()
	h.Ready()
}

func (h *hive) unfinishedAt(b *bee) int { return len(b.list("running")) + len(b.list("queued")) }

// cutOff cuts the network of a node that draws: it says so, refuses jobs, and comes back.
func (h *hive) cutOff() {
	b := h.bees[h.rng.IntN(len(h.bees))]
	h.lastAttempts()
	h.add(fmt.Sprint("cut-", len(h.jobs)), plenty)
	id := h.drawing(b)
	h.fault("the network of %s, which draws %s, is cut for %v", b.name, id, cutFor)
	b.link.Cut()
	began := time.Now()
	noticed := h.await(b.name+" notices", cutFor, func() bool {
		a, err := b.reach(http.MethodGet, "/ready", nil)
		return err == nil && a.status == http.StatusServiceUnavailable && strings.Contains(string(a.body), "no connection to NATS")
	})
	a := b.try(star(nil))
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		h.Errorf("a job for a node that is cut off: %d %s, Retry-After %q", a.status, a.body, a.header.Get("Retry-After"))
	}
	time.Sleep(time.Until(began.Add(cutFor)))
	b.link.Heal()
	back := h.await(b.name+" is back", time.Minute, func() bool {
		a, err := b.reach(http.MethodGet, "/ready", nil)
		return err == nil && a.status == http.StatusOK
	})
	h.Logf("%s noticed after %v, and was back %v after the network", b.name, noticed.Round(time.Millisecond), back.Round(time.Millisecond))
	h.add(fmt.Sprint("back-", len(h.jobs)), plenty)
	h.drawing(b)
}
