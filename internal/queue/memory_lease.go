package queue

import (
	"context"

	"waggle/internal/job"
)

// lease is the right to run the job of an entry. It is current while the
// entry still has the channel the lease was made with.
type lease struct {
	queue     *Memory
	entry     *entry
	record    job.Record
	cancelled chan struct{}
}

func (l *lease) Record() job.Record         { return l.record }
func (l *lease) Cancelled() <-chan struct{} { return l.cancelled }

// Finish implements Lease.
func (l *lease) Finish(_ context.Context, s job.State, o job.Outcome) (job.Record, error) {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	if l.entry.cancelled != l.cancelled {
		return job.Record{}, ErrLeaseLost
	}
	l.queue.finish(l.entry, s, o)
	return l.entry.record, nil
}

// HandBack implements Lease. A job that was asked to stop meanwhile ends here.
func (l *lease) HandBack(context.Context) error {
	q, e := l.queue, l.entry
	q.mu.Lock()
	defer q.mu.Unlock()
	if e.cancelled != l.cancelled {
		return ErrLeaseLost
	}
	if e.record.CancelRequested {
		q.finish(e, job.Cancelled, job.Outcome{Kind: job.CancelledByUser, Message: job.CancelMessage})
		return nil
	}
	e.cancelled = nil
	e.record.State = job.Queued
	q.wait(e, true)
	return nil
}
