//go:build unix

package main

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"
)

// TestChaosKill kills the server at random moments of its life, while jobs come in, are drawn and decoded, and while it
// starts. Each job is watched all the while by a client that connects again.
func TestChaosKill(t *testing.T) {
	c := newChaos(t)
	kills := c.either(50, 6)
	l := &lives{chaos: c, dir: c.TempDir(), jobs: c.killJobs(c.either(50, 6)), submitting: make(chan bool, 1)}
	l.start()
	var clients, watchers sync.WaitGroup
	watching := &watch{chaos: c, where: l.server, stop: make(chan bool), heard: make([][]placedEvent, len(l.jobs))}
	for i, j := range l.jobs {
		watchers.Go(func() { watching.follow(i, j) })
	}
	for i := range max(kills, len(l.jobs)) {
		if i < len(l.jobs) {
			delay := c.between(0, 1500*time.Millisecond)
			clients.Go(func() { l.client(i, delay) })
		}
		if i < kills {
			l.end(moments[c.rng.IntN(len(moments))])
			l.start()
		}
	}
	clients.Wait()
	c.settle(l.server(), 5*time.Minute, l.jobs...)
	close(watching.stop)
	watchers.Wait()
	watching.compare(l.server(), l.jobs)
	l.checkList()
	c.Logf("%d kills: %d with jobs running, %d with jobs waiting, %d before the server was up", kills, l.hitRunning, l.hitWaiting, l.hitStarting)
}

// killJobs are mixed jobs, longer than elsewhere, some of several pictures.
func (c *chaos) killJobs(n int) []chaosJob {
	list := c.mixedJobs("kill", n)
	for _, j := range list {
		j.recipe["steps"] = j.recipe["steps"].(int) + 15
	}
	return list
}

// moment is where in its life a server is killed.
type moment string

const (
	anyTime    moment = "at any time"
	startingUp moment = "while it starts"
	restarted  moment = "right after it has started"
	submitting moment = "while a job comes in"
	decoding   moment = "after the last step of a picture"
)

// moments are drawn from; the first is the likeliest.
var moments = []moment{anyTime, anyTime, anyTime, anyTime, startingUp, startingUp, restarted, submitting, submitting, decoding, decoding}

// lives are the servers that live on one data folder, one after the other.
type lives struct {
	*chaos
	dir        string
	jobs       []chaosJob
	submitting chan bool // has a token when a client has begun to submit

	mu  sync.Mutex
	now *server

	hitRunning, hitWaiting, hitStarting int
}

func (l *lives) server() *server {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

func (l *lives) put(s *server) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = s
}

func (l *lives) start() { l.put(l.serveOn(l.dir)) }

// client submits job i after a while, and sometimes also one without an id, once: whether that one was taken in when the
// server dies it cannot know.
func (l *lives) client(i int, delay time.Duration) {
	time.Sleep(delay)
	select {
	case l.submitting <- true:
	default:
	}
	if i%5 == 2 {
		body := []byte(fmt.Sprintf(`{"operation":"image_generation","hive_id":"x","model":"tiny-shapes","prompt":%q,"width":128,"height":128,"steps":2}`, starPrompt))
		go l.server().reach(http.MethodPost, "/v1/jobs", body) // its answer does not matter
	}
	l.submit(l.server, &l.jobs[i])
}

// end kills the present server at a moment.
func (l *lives) end(m moment) {
	s := l.server()
	if m == startingUp { // the present one in any state, the next one before it is up
		l.kill(s, anyTime)
		next, first := launch(l, commandFor(l, commandLimit, "serve", "--port", "0", "--data", l.dir))
		time.Sleep(l.between(0, 100*time.Millisecond))
		select {
		case line := <-first:
			next.up(line)
			s = next
		default:
			l.hitStarting++
			l.fault("kill -9 %s", m)
			next.kill()
			return
		}
	}
	l.wait(m)
	l.kill(s, m)
}

// kill kills a server, but not in the third run of a job, whose loss would rightly be its end.
func (l *lives) kill(s *server, m moment) {
	running, waiting := l.spare(s)
	if running > 0 {
		l.hitRunning++
	}
	if waiting > 0 {
		l.hitWaiting++
	}
	l.fault("kill -9 %s: %d jobs were running, %d waiting", m, running, waiting)
	s.kill()
}

// wait waits for the moment to kill a server that is up.
func (l *lives) wait(m moment) {
	switch m {
	case anyTime:
		time.Sleep(l.between(0, 5*time.Second))
	case restarted:
		time.Sleep(l.between(0, 600*time.Millisecond))
	case submitting:
		select {
		case <-l.submitting:
		default: // drop what is old, wait for the next
		}
		select {
		case <-l.submitting:
			time.Sleep(l.between(0, 10*time.Millisecond))
		case <-time.After(3 * time.Second):
		}
	case decoding:
		l.lastStep(3 * time.Second)
		time.Sleep(l.between(0, 60*time.Millisecond))
	}
}

// lastStep waits for the last step of a job that is running.
func (l *lives) lastStep(limit time.Duration) {
	s := l.server()
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		running := s.list("running")
		if len(running) == 0 {
			continue
		}
		_ = s.hear("/v1/jobs/"+running[0].ID+"/stream", 0, func(e placedEvent) bool { return e.Step < e.Total })
		return
	}
}

// spare waits until no job is in its third run, or about to be, and tells how many run and wait.
func (l *lives) spare(s *server) (running, waiting int) {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		list, third := s.list("running"), 0
		for _, r := range list {
			if r.Attempt > 2 || r.Attempt == 2 && r.Started.Before(s.began) {
				third++
			}
		}
		if third == 0 {
			return len(list), len(s.list("queued"))
		}
		if time.Now().After(deadline) {
			l.Fatalf("%d jobs do not end in their third run", third)
		}
	}
}

// checkList: every job is listed once, and whatever else was taken in is complete.
func (l *lives) checkList() {
	seen, ours := map[string]int{}, map[string]bool{}
	for _, j := range l.jobs {
		ours[j.id] = true
	}
	s := l.server()
	deadline := time.Now().Add(time.Minute)
	for len(s.list("running"))+len(s.list("queued")) > 0 && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
	for _, r := range s.list("") {
		seen[r.ID]++
		if !ours[r.ID] && r.State != "complete" {
			l.find(lost, "a job without an id of its client's, %s, is %s: %s", r.ID, r.State, r.Message)
		}
	}
	for _, j := range l.jobs {
		if seen[j.id] > 1 {
			l.find(doubled, "job %s is listed %d times", j.id, seen[j.id])
		}
		if seen[j.id] == 0 {
			l.find(lost, "job %s is not listed", j.id)
		}
	}
}
