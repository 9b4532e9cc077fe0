package queue

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"waggle/internal/job"
)

const (
	// patience is how long the end of a job is tried to be written while the
	// server does not answer; handPatience is how long for one handed back,
	// which comes back without that too: a process that stops has little time.
	patience     = 30 * time.Second
	handPatience = time.Second
	retryWrite   = 250 * time.Millisecond
)

// held is a lease on a job. Its message is renewed until it ends.
type held struct {
	queue   *JetStream
	stored  stored
	message jetstream.Msg
	*wishes

	renewing sync.Mutex
	until    chan struct{} // closed when it need not be renewed
}

// hold begins a lease that the record at a revision shall be given, so that
// nothing that is asked of the job after that is missed. What remains of an
// earlier lease of the job in this process is lost.
func (q *JetStream) hold(s stored, revision uint64, m jetstream.Msg) (*held, error) {
	until := make(chan struct{})
	l := &held{queue: q, stored: s, message: m, wishes: newWishes(s, revision), until: until}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed() {
		return nil, ErrClosed
	}
	if old := q.leases[s.ID]; old != nil {
		old.lose()
	}
	q.leases[s.ID] = l
	q.work.Go(func() { l.renew(until) })
	return l, nil
}

// release lets go of the message and the place among the leases.
func (l *held) release() {
	l.renewing.Lock()
	close(l.until)
	l.renewing.Unlock()
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	if l.queue.leases[l.stored.ID] == l {
		delete(l.queue.leases, l.stored.ID)
	}
}

func (l *held) Record() job.Record { return l.stored.Record }

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

// Finish implements Lease.
func (l *held) Finish(ctx context.Context, state job.State, o job.Outcome) (job.Record, error) {
	s, err := l.settle(ctx, func(s stored) stored { return s.ended(state, o) })
	return s.Record, err
}

// HandBack implements Lease. A job that was asked to stop meanwhile ends here.
func (l *held) HandBack(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, handPatience)
	defer cancel()
	_, err := l.settle(ctx, stored.handedBack)
	return err
}

// Pause implements Lease.
func (l *held) Pause(ctx context.Context) (job.Record, error) {
	s, err := l.settle(ctx, stored.laidDown)
	return s.Record, err
}

// settle ends the lease with the last change of its record, and does with the
// message what the record then says of the job. Until it is written the message
// is renewed, so that nobody else begins what is done.
func (l *held) settle(ctx context.Context, to func(stored) stored) (stored, error) {
	if !l.end() {
		return stored{}, ErrLeaseLost
	}
	s, err := l.write(ctx, to)
	l.release()
	if err != nil {
		return stored{}, err
	}
	if s.State == job.Queued {
		if err := l.queue.nak(ctx, l.message.Reply()); err != nil {
			l.queue.options.Log.Warn("hand a job back", "job", s.ID, "error", err)
		}
		return s, nil
	}
	if s.State.Final() {
		l.queue.dropInputs(ctx, s)
	}
	l.acknowledge(ctx, s.ID)
	return s, nil
}

// acknowledge removes the message of a job that is out of the line. Should it
// not come to that, whoever gets the message next sees what became of the job.
func (l *held) acknowledge(ctx context.Context, id job.ID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := l.message.DoubleAck(ctx); err != nil {
		l.queue.options.Log.Warn("take a job out of the line", "job", id, "error", err)
	}
	l.queue.closeLane(ctx, l.stored)
}

// write changes the record if it is still this lease's, and tries again for a
// while if the server does not answer.
func (l *held) write(ctx context.Context, to func(stored) stored) (stored, error) {
	deadline := time.Now().Add(patience)
	tried := false // a write whose answer was lost may have been done
	for {
		s, _, err := l.queue.change(ctx, l.stored.ID, func(s stored) (stored, error) {
			switch {
			case s.Lease != l.lease:
				return s, ErrLeaseLost
			case s.State == job.Running:
				return to(s), nil
			case tried:
				return s, errUnchanged
			}
			return s, ErrLeaseLost
		})
		switch {
		case errors.Is(err, ErrNotFound):
			return s, ErrLeaseLost
		case err == nil || errors.Is(err, ErrLeaseLost) || l.queue.over(ctx) != nil || time.Now().After(deadline):
			return s, err
		}
		tried = true
		time.Sleep(retryWrite)
	}
}
