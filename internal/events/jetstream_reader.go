package events

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"waggle/internal/job"
)

// follower is a place in a job's stream; it holds no events of its own.
type follower struct {
	log      *JetStream
	id       job.ID
	number   uint64 // of the event delivered last
	sequence uint64 // its place in the stream of all jobs; 0 if not known
	newest   uint64 // number of the newest preview event when the reader was opened
}

// Read implements Log.
func (l *JetStream) Read(ctx context.Context, id job.ID, after uint64) (Reader, error) {
	if l.closed() {
		return nil, ErrClosed
	}
	last, err := l.last(ctx, id)
	if err != nil {
		return nil, err
	}
	newest, err := l.newestPreview(ctx, id, last)
	if err != nil {
		return nil, err
	}
	return &follower{log: l, id: id, number: after, newest: newest}, nil
}

// Reached implements Log.
func (l *JetStream) Reached(ctx context.Context, id job.ID) (step, total int, err error) {
	if l.closed() {
		return 0, 0, ErrClosed
	}
	last, err := l.last(ctx, id)
	return last.standing.Step, last.standing.Total, err
}

// newestPreview is the number of the newest preview event. Where it is not
// among the recent ones, the steps tell: each fifth event is one, so that it
// is looked for a few places back from the last.
func (l *JetStream) newestPreview(ctx context.Context, id job.ID, last placed) (uint64, error) {
	l.mu.Lock()
	n := l.tailOf(id).newest
	l.mu.Unlock()
	if n > 0 || last.Number == 0 {
		return n, nil
	}
	r := &follower{log: l, id: id}
	for r.number < last.Number {
		p, err := r.fetch(ctx)
		if err != nil {
			return 0, err
		}
		if p.Type == job.PreviewEvent {
			n = p.Number
		}
		if p.Number == 0 {
			break
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.tailOf(id)
	t.newest = max(t.newest, n)
	return t.newest, nil
}

// Next implements Reader.
func (r *follower) Next(ctx context.Context) (job.Event, error) {
	for {
		p, changed, err := r.take()
		if err != nil {
			return job.Event{}, err
		}
		if changed == nil && p.Number == 0 {
			p, err = r.fetch(ctx)
			if err != nil {
				return job.Event{}, err
			}
		}
		if p.Number > 0 {
			r.number, r.sequence = p.Number, p.sequence
			return r.shown(p.Event), nil
		}
		if changed == nil { // the stream has less than was said: it was purged
			continue
		}
		if err := wait(ctx, r.log, changed); err != nil {
			return job.Event{}, err
		}
	}
}

// shown is an event as this reader shall see it.
func (r *follower) shown(e job.Event) job.Event {
	if e.Type == job.PreviewEvent && e.Number < r.newest {
		e.Type = job.ProgressEvent
	}
	return e
}

// take returns the next event if it is in memory, what to wait for if it is
// not there yet, ErrEnd if there will be none, or nothing if it lies in the
// stream.
func (r *follower) take() (placed, <-chan struct{}, error) {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	t := r.log.tailOf(r.id)
	if r.number >= t.last.Number {
		if t.ended() {
			return placed{}, nil, ErrEnd
		}
		return placed{}, t.changed, nil
	}
	if n := len(t.recent); n > 0 && r.number+1 >= t.recent[0].Number {
		return t.recent[r.number+1-t.recent[0].Number], nil, nil
	}
	return placed{}, nil, nil
}

// fetch reads the next event from the stream and moves to it; a number of 0
// means that there is none.
func (r *follower) fetch(ctx context.Context) (placed, error) {
	for {
		m, err := r.log.stream.GetMsg(ctx, r.sequence+1, jetstream.WithGetMsgSubject(subject(r.id)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			r.log.forgotten(r.id, r.number)
			return placed{}, nil
		}
		if err != nil {
			return placed{}, r.log.failure("read events of", r.id, err)
		}
		p, err := decode(r.id, m.Data, m.Sequence)
		if err != nil {
			return placed{}, err
		}
		r.sequence = p.sequence
		if p.Number > r.number {
			r.number = p.Number
			return p, nil
		}
	}
}

// forgotten corrects what is known of a job whose events beyond a number are
// no longer in the stream, as another process has removed them.
func (l *JetStream) forgotten(id job.ID, number uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t, ok := l.jobs[id]; ok && t.last.Number > number {
		l.discard(id)
	}
}

// Close implements Reader.
func (r *follower) Close() {}

// wait returns when something came, or with the error of ctx or of the log.
func wait[T any](ctx context.Context, l *JetStream, came <-chan T) error {
	select {
	case <-came:
		return nil
	case <-l.stop:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}
