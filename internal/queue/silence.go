package queue

import (
	"context"
	"errors"
	"slices"
	"time"

	"waggle/internal/job"
)

// silence is since when the lane of a job at a revision gives nothing.
type silence struct {
	revision uint64
	since    time.Time
}

// fellSilent notes that the lane of a job that waits for somebody has given
// nothing, and reports whether that has lasted too long.
func (q *JetStream) fellSilent(it *item, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	s, ok := q.silent[it.ID]
	if !ok || s.revision != it.revision {
		q.silent[it.ID] = silence{it.revision, now}
		return false
	}
	if now.Sub(s.since) < q.options.times.silence {
		return false
	}
	q.silent[it.ID] = silence{it.revision, now}
	return true
}

// revive gives a job whose lane is silent a new message on a lane of its own,
// with a consumer of its own: whatever holds the old message back, the job
// does not wait for it.
func (q *JetStream) revive(ctx context.Context, it *item) {
	q.options.Log.Warn("a job's lane gives nothing; the job gets another", "job", it.ID, "lane", laneOf(it.stored).consumer())
	q.closeLane(ctx, it.stored)
	s, at := it.stored, it.place()
	s.Moved = &at
	if _, err := q.reline(ctx, *it, s); err != nil && !errors.Is(err, errChanged) && q.over(ctx) == nil {
		q.options.Log.Warn("give a job another lane", "job", it.ID, "error", err)
	}
}

// reviveLost does so for jobs that run, as their records say, on nodes that
// were not heard of all the time that their lanes gave nothing, or on this one
// in an earlier life.
func (q *JetStream) reviveLost(ctx context.Context, c Consumer) {
	now := time.Now()
	if !q.nodes.hearsItself(now) {
		return // then others need not be dead that are not heard of
	}
	alive := q.nodes.living(now)
	for _, it := range q.index.runs() {
		lives := slices.ContainsFunc(alive, func(n job.Node) bool { return n.ID == it.Node && n.ID != c.Node })
		if lives || q.leaseOf(it.ID) != nil {
			q.spoke(it.ID)
		} else if c.takes(it.Record) && q.fellSilent(it, now) {
			q.revive(ctx, it)
		}
	}
}

// spoke forgets the silence of a job.
func (q *JetStream) spoke(id job.ID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.silent, id)
}

// forgetSilence drops what is known of jobs that do not wait for anybody.
func (q *JetStream) forgetSilence() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for id := range q.silent {
		if it, ok := q.index.get(id); !ok || !it.inLine() {
			delete(q.silent, id)
		}
	}
}
