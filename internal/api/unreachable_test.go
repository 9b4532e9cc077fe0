package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"waggle/internal/job"
	"waggle/internal/queue"
)

// awayQueue is a queue whose servers may be away.
type awayQueue struct {
	queue.Queue
	away atomic.Bool
}

func (q *awayQueue) Submit(ctx context.Context, r job.Request) (job.Record, error) {
	if q.away.Load() {
		return job.Record{}, fmt.Errorf("put it in line: %w", queue.ErrUnavailable)
	}
	return q.Queue.Submit(ctx, r)
}

func (q *awayQueue) Get(ctx context.Context, id job.ID) (job.Record, error) {
	if q.away.Load() {
		return job.Record{}, errors.New("something the library says")
	}
	return q.Queue.Get(ctx, id)
}

// TestUnreachable: while the servers that keep jobs are away, the server stays
// up, says why it is not ready and when to try again.
func TestUnreachable(t *testing.T) {
	var q *awayQueue
	h := start(t, script{}, func(c *Config) {
		q = &awayQueue{Queue: c.Queue}
		c.Queue = q
		c.Reachable = func() error {
			if q.away.Load() {
				return errors.New("no connection to NATS since noon")
			}
			return nil
		}
	})
	h.wants(h.get("/ready"), http.StatusOK, `{"ready":true`)
	q.away.Store(true)
	h.wants(h.get("/health"), http.StatusOK, `{"status":"healthy"`)
	h.wants(h.get("/ready"), http.StatusServiceUnavailable, `{"ready":false,"reason":"no connection to NATS since noon"`)
	for name, a := range map[string]answer{
		"submit": h.call(http.MethodPost, "/v1/jobs", jobBody("")),
		"read":   h.get("/v1/jobs/one"),
	} {
		h.wants(a, http.StatusServiceUnavailable, "The servers that keep the jobs cannot be reached")
		if a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", name)
		}
	}
	q.away.Store(false)
	h.wants(h.get("/ready"), http.StatusOK, `{"ready":true`)
}
