package queue

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"waggle/internal/job"
)

// patience is how long the end of a job is tried to be written while the
// server does not answer.
const (
	patience   = 30 * time.Second
	retryWrite = 250 * time.Millisecond
)

// held is a lease on a job. Its message is renewed until it ends.
type held struct {
	queue     *JetStream
	stored    stored
	revision  uint64 // of the record when the lease began
	message   jetstream.Msg
	cancelled chan struct{}

	mu         sync.Mutex
	cancelTold bool
	over       bool
	renewing   chan struct{} // closed when the lease ends
}

// hold begins the lease of a record written at a revision.
func (q *JetStream) hold(s stored, revision uint64, m jetstream.Msg) (*held, error) {
	until := make(chan struct{})
	l := &held{queue: q, stored: s, revision: revision, message: m, cancelled: make(chan struct{}), renewing: until}
	q.mu.Lock()
	if q.closed() {
		q.mu.Unlock()
		return nil, ErrClosed
	}
	q.leases[s.ID] = l
	q.work.Go(func() { l.renew(until) })
	q.mu.Unlock()
	if now, ok := q.index.get(s.ID); ok { // it may have changed before it was in leases
		l.told(now.stored, now.revision)
	}
	return l, nil
}

func (l *held) Record() job.Record         { return l.stored.Record }
func (l *held) Cancelled() <-chan struct{} { return l.cancelled }

// renew tells the server that the job's node lives.
func (l *held) renew(until <-chan struct{}) {
	tick := time.NewTicker(l.queue.options.times.renew)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = l.message.InProgress() // the next time will do
		case <-until:
			return
		case <-l.queue.stop:
			return
		}
	}
}

// told hears of the job's record: it may be asked to stop, or belong to
// somebody else.
func (l *held) told(s stored, revision uint64) {
	if revision <= l.revision || s.Lease == l.stored.Lease && !s.CancelRequested {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.cancelTold {
		l.cancelTold = true
		close(l.cancelled)
	}
}

// end marks the lease as over; false if it was already.
func (l *held) end() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return false
	}
	l.over = true
	close(l.renewing)
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	if l.queue.leases[l.stored.ID] == l {
		delete(l.queue.leases, l.stored.ID)
	}
	return true
}

// Finish implements Lease.
func (l *held) Finish(ctx context.Context, state job.State, o job.Outcome) (job.Record, error) {
	if !l.end() {
		return job.Record{}, ErrLeaseLost
	}
	s, err := l.settle(ctx, func(s stored) stored { return s.ended(state, o) })
	if err != nil {
		return job.Record{}, err
	}
	l.finished(ctx, s)
	return s.Record, nil
}

// finished removes what only an unfinished job needs. Should it not come to
// that, whoever gets the message next sees that the job has ended.
func (l *held) finished(ctx context.Context, s stored) {
	l.queue.dropInputs(ctx, s)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := l.message.DoubleAck(ctx); err != nil {
		l.queue.options.Log.Warn("take an ended job out of the line", "job", s.ID, "error", err)
	}
}

// HandBack implements Lease. A job that was asked to stop meanwhile ends here.
func (l *held) HandBack(ctx context.Context) error {
	if !l.end() {
		return ErrLeaseLost
	}
	s, err := l.settle(ctx, func(s stored) stored {
		if s.CancelRequested {
			return s.ended(job.Cancelled, job.Outcome{Kind: job.CancelledByUser, Message: job.CancelMessage})
		}
		s.State = job.Queued
		return s
	})
	if err != nil {
		return err
	}
	if s.State.Final() {
		l.finished(ctx, s)
		return nil
	}
	if err := l.queue.nak(ctx, l.message.Reply()); err != nil {
		l.queue.options.Log.Warn("hand a job back", "job", s.ID, "error", err)
	}
	return nil
}

// settle changes the record if it is still this lease's, and tries again for a
// while if the server does not answer.
func (l *held) settle(ctx context.Context, to func(stored) stored) (stored, error) {
	deadline := time.Now().Add(patience)
	tried := false // a write whose answer was lost may have been done
	for {
		s, err := l.queue.change(ctx, l.stored.ID, func(s stored) (stored, error) {
			switch {
			case s.Lease != l.stored.Lease:
				return s, ErrLeaseLost
			case s.State == job.Running:
				return to(s), nil
			case tried:
				return s, errDone{s}
			}
			return s, ErrLeaseLost
		})
		var done errDone
		switch {
		case errors.As(err, &done):
			return done.stored, nil
		case errors.Is(err, ErrNotFound):
			return s, ErrLeaseLost
		case err == nil || errors.Is(err, ErrLeaseLost) || ctx.Err() != nil || l.queue.closed() || time.Now().After(deadline):
			return s, err
		}
		tried = true
		time.Sleep(retryWrite)
	}
}

// errDone: the record already says what it shall.
type errDone struct{ stored stored }

func (errDone) Error() string { return "done" }
