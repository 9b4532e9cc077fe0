package queue

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"waggle/internal/job"
)

// crowd is jobs j0, j1 … on two nodes, and how often each has ended.
type crowd struct {
	*testing.T
	nodes [2]*JetStream
	jobs  int

	mu   sync.Mutex
	ends map[job.ID]int
}

func (c *crowd) id(n int) job.ID { return job.ID(fmt.Sprint("j", n)) }

func (c *crowd) finish(l Lease) {
	finish(c.T, l)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ends[l.Record().ID]++
}

// submit submits every other job by one node; some stop at a step.
func (c *crowd) submit(node int) {
	for n := node; n < c.jobs; n += 2 {
		r := request(string(c.id(n)), by(fmt.Sprint(n%3)), model(fmt.Sprint(n%2)))
		if n%5 == 0 {
			r.StopAtStep = 1
		}
		if _, err := c.nodes[node].Submit(c.Context(), r); err != nil {
			c.Errorf("submit: %v", err)
		}
	}
}

// work takes jobs and ends their leases in all ways there are.
func (c *crowd) work(node int) {
	random := rand.New(rand.NewPCG(uint64(node), 0))
	for range c.jobs {
		l, err := c.nodes[node].Take(c.Context(), Consumer{Node: fmt.Sprint(node)})
		if err != nil {
			c.Errorf("take: %v", err)
		}
		if l == nil {
			continue
		}
		switch random.IntN(4) {
		case 0:
			err = l.HandBack(c.Context())
		case 1:
			_, err = l.Pause(c.Context())
		default:
			c.finish(l)
		}
		if err != nil {
			c.Errorf("end the lease of %s: %v", l.Record().ID, err)
		}
	}
}

// disturb pauses, moves and resumes jobs.
func (c *crowd) disturb(node int) {
	random := rand.New(rand.NewPCG(uint64(node), 1))
	for range 2 * c.jobs {
		var err error
		q, at := c.nodes[node], c.id(random.IntN(c.jobs))
		switch random.IntN(5) {
		case 0:
			_, err = q.Pause(c.Context(), at)
		case 1:
			_, err = q.Move(c.Context(), at, "")
		case 2:
			_, err = q.Move(c.Context(), at, c.id(random.IntN(c.jobs)))
		default:
			_, err = q.Resume(c.Context(), at)
		}
		if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrNotWaiting) {
			c.Errorf("change: %v", err)
		}
	}
}

// drain resumes what is paused and ends all that is left.
func (c *crowd) drain() {
	for n := range c.jobs {
		if _, err := c.nodes[0].Resume(c.Context(), c.id(n)); err != nil && !errors.Is(err, ErrNotFound) {
			c.Errorf("resume: %v", err)
		}
	}
	for len(c.ends) < c.jobs {
		c.finish(next(c.T, c.nodes[1], Consumer{Node: "1"}))
	}
}

// TestEverythingAtOnce: two nodes take jobs, end them, hand them back and pause
// them, while others submit, pause, resume and move. Then every job has ended
// once, and nothing is left.
func TestEverythingAtOnce(t *testing.T) {
	t.Parallel()
	b := connect(t, t.TempDir())
	c := &crowd{T: t, nodes: [2]*JetStream{open(t, b, Options{}), open(t, b, Options{})}, jobs: 60, ends: map[job.ID]int{}}
	atOnce(
		func() { c.submit(0) }, func() { c.submit(1) },
		func() { c.work(0) }, func() { c.work(1) },
		func() { c.disturb(0) }, func() { c.disturb(1) })
	c.drain()
	for n := range c.jobs {
		id := c.id(n)
		if r, err := c.nodes[0].Get(t.Context(), id); err != nil || r.State != job.Complete || r.Attempt != 1 || c.ends[id] != 1 {
			t.Errorf("%s ended %d times: %s in attempt %d, %v", id, c.ends[id], r.State, r.Attempt, err)
		}
	}
	nothing(t, c.nodes[0], Consumer{})
	mended(t, c.nodes[0]) // a message that was not deleted in time
	if n := messages(t, c.nodes[0]); n != 0 {
		t.Errorf("%d messages are left", n)
	}
}
