package queue

import (
	"context"
	"maps"
	"slices"
	"time"

	"waggle/internal/job"
)

// rescue leases a job whose node has died: its message comes again to whoever
// asks its lane, which is done now and then for the lanes of all jobs that run
// somewhere else. Jobs that wait at a higher priority go before them. One that
// was cancelled meanwhile ends here, whoever takes it.
func (q *JetStream) rescue(ctx context.Context, c Consumer) (Lease, error) {
	lowest := rank(job.Low)
	if it := q.index.first(c, nil); it != nil {
		lowest = rank(priorityOf(it.Record))
	}
	lost := Consumer{Node: c.Node, Takes: func(r job.Record) bool {
		return r.State == job.Running && (r.CancelRequested || c.takes(r))
	}}
	for _, it := range q.index.runs() {
		from := laneOf(it.stored)
		if q.leaseOf(it.ID) != nil || rank(from.priority) > lowest || !lost.takes(it.Record) || !q.dueForRescue(from) {
			continue
		}
		if l, err := q.tryLane(ctx, from, nil, lost); l != nil || err != nil {
			return l, err
		}
	}
	q.reviveLost(ctx, c)
	return nil, nil
}

func (x *index) runs() []*item {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Collect(maps.Values(x.running))
}

// dueForRescue reports whether a lane was not asked for lost jobs for a while,
// and notes that it is now.
func (q *JetStream) dueForRescue(of lane) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if time.Since(q.rescued[of]) < q.options.times.rescue {
		return false
	}
	q.rescued[of] = time.Now()
	return true
}

// reclaim asks once for the jobs that a node had in an earlier life of its
// process, and for those that it handed back to a server that has been started
// again since, which forgets that: their messages come at once.
func (q *JetStream) reclaim(ctx context.Context, node string) {
	q.mu.Lock()
	done := q.reclaimed[node]
	q.reclaimed[node] = true
	q.mu.Unlock()
	if done {
		return
	}
	lost := q.index.filter(func(it *item) bool {
		return it.Reply != "" && it.Node == node && it.inLine()
	})
	for _, it := range lost {
		if q.leaseOf(it.ID) != nil {
			continue
		}
		q.options.Log.Info("take a job back", "job", it.ID, "attempt", it.Attempt)
		if err := q.nak(ctx, it.Reply); err != nil {
			q.options.Log.Warn("ask for a job again", "job", it.ID, "error", err)
		}
	}
}

// nak hands a message back and waits until the server has it.
func (q *JetStream) nak(ctx context.Context, reply string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := q.js.Conn().RequestWithContext(ctx, reply, []byte("-NAK"))
	return err
}

// leaseOf returns the lease of a job that runs in this process, nil for others.
func (q *JetStream) leaseOf(id job.ID) *held {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.leases[id]
}
