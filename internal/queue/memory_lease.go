package queue

import (
	"context"

	"waggle/internal/job"
)

// lease is the right to run a job of a Memory.
type lease struct {
	queue  *Memory
	record job.Record
	*wishes
}

func (l *lease) Record() job.Record { return l.record }

// end makes the last change of a lease; ErrLeaseLost if it is over.
func (l *lease) end(to func(stored) stored) (job.Record, error) {
	s, err := l.queue.change(l.record.ID, func(s stored) (stored, error) {
		if s.State != job.Running || s.Lease != l.lease {
			return s, ErrLeaseLost
		}
		delete(l.queue.leases, s.ID) // change holds mu
		return to(s), nil
	})
	return s.Record, err
}

// Finish implements Lease.
func (l *lease) Finish(_ context.Context, s job.State, o job.Outcome) (job.Record, error) {
	return l.end(func(was stored) stored { return was.ended(s, o) })
}

// HandBack implements Lease. A job that was asked to stop meanwhile ends here.
func (l *lease) HandBack(context.Context) error {
	_, err := l.end(stored.handedBack)
	return err
}

// Pause implements Lease.
func (l *lease) Pause(context.Context) (job.Record, error) { return l.end(stored.laidDown) }
