package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"waggle/internal/job"
)

// errChanged: somebody else wrote the record meanwhile.
var errChanged = errors.New("queue: record has changed")

// change replaces a record by what f makes of it, as often as others get in
// between, and returns it and what it was before. An error of f ends it.
func (q *JetStream) change(ctx context.Context, id job.ID, f func(stored) (stored, error)) (now, was stored, err error) {
	err = q.retry(ctx, id, func(it item) error {
		s, err := f(it.stored)
		now, was = s, it.stored
		if err == nil {
			_, err = q.write(ctx, s, it.revision)
		}
		return err
	})
	return now, was, err
}

// retry does something to a record until nobody gets in between. What need not
// be done counts as done. A server that is behind what this process has heard
// of the record gets some time to catch up.
func (q *JetStream) retry(ctx context.Context, id job.ID, try func(item) error) error {
	var last uint64
	for pause := retryFirst; ; {
		it, err := q.load(ctx, id)
		if err == nil {
			err = try(it)
		}
		if errors.Is(err, errUnchanged) {
			return nil
		}
		if !errors.Is(err, errChanged) {
			return err
		}
		if it.revision != last {
			last, pause = it.revision, retryFirst
			continue
		}
		if pause *= 2; pause > retryLast {
			return fmt.Errorf("change job %s: %w: the server is behind", id, ErrUnavailable)
		}
		if _, err := q.await(ctx, nil, pause); err != nil {
			return err
		}
	}
}

// Cancel implements Queue.
func (q *JetStream) Cancel(ctx context.Context, id job.ID) (job.Record, error) {
	s, was, err := q.change(ctx, id, stored.cancel)
	if err != nil {
		return job.Record{}, err
	}
	if s.State.Final() {
		q.unannounce(ctx, was)
		q.dropInputs(ctx, s)
	}
	return s.Record, nil
}

// Pause implements Queue.
func (q *JetStream) Pause(ctx context.Context, id job.ID) (job.Record, error) {
	s, was, err := q.change(ctx, id, func(s stored) (stored, error) { return q.index.pause(s, int(q.length.Load())) })
	if err != nil {
		return job.Record{}, err
	}
	if s.State == job.Paused {
		q.unannounce(ctx, was)
	}
	return s.Record, nil
}

// Resume implements Queue.
func (q *JetStream) Resume(ctx context.Context, id job.ID) (r job.Record, err error) {
	err = q.retry(ctx, id, func(it item) error {
		s, err := it.resume()
		switch {
		case err != nil:
			r = it.Record
			return err
		case s.State == job.Queued:
			s, err = q.lineUp(ctx, it, s)
		default:
			_, err = q.write(ctx, s, it.revision)
		}
		r = s.Record
		return err
	})
	return r, err
}

// lineUp puts a paused job in line again.
func (q *JetStream) lineUp(ctx context.Context, it item, s stored) (stored, error) {
	release, err := q.reserve(s)
	if err != nil {
		return s, err
	}
	defer release()
	return q.reline(ctx, it, s)
}

// Move implements Queue. Moves of this process are made one after the other.
func (q *JetStream) Move(ctx context.Context, id, before job.ID) (r job.Record, err error) {
	select {
	case q.moving <- struct{}{}:
		defer func() { <-q.moving }()
	case <-ctx.Done():
		return job.Record{}, ctx.Err()
	}
	err = q.retry(ctx, id, func(it item) error {
		r = it.Record
		s, err := q.index.move(it.stored, before)
		if err != nil {
			return err
		}
		if it.Moved != nil { // its message may stay
			_, err = q.write(ctx, s, it.revision)
		} else {
			s, err = q.reline(ctx, it, s)
		}
		r = s.Record
		return err
	})
	return r, err
}

// reline writes the message of a known job anew, on the lane of its new
// record, and then the record. Until the record names the new message that one
// stands for nothing, after it the old one does; whoever meets such a message
// drops it, should it not come to be deleted here.
func (q *JetStream) reline(ctx context.Context, it item, s stored) (stored, error) {
	ctx = context.WithoutCancel(ctx)
	if err := q.announce(ctx, &s, nil); err != nil {
		return s, err
	}
	if _, err := q.write(ctx, s, it.revision); err != nil {
		if errors.Is(err, errChanged) { // else it may be written all the same
			q.unannounce(ctx, s)
		}
		return s, err
	}
	if it.Sequence != s.Sequence { // a stream that lost its end gives numbers again
		q.unannounce(ctx, it.stored)
	}
	return s, nil
}

// write replaces a record at a known revision, and returns the new one;
// errChanged if it has another.
func (q *JetStream) write(ctx context.Context, s stored, revision uint64) (uint64, error) {
	data, err := s.encode()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, q.options.times.answer)
	defer cancel()
	was, _ := q.index.get(s.ID)
	revision, err = q.records.Update(ctx, string(s.ID), data, revision)
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return 0, errChanged
	}
	if err != nil {
		return 0, fmt.Errorf("write record of %s: %w", s.ID, refusal(err))
	}
	q.know(s, revision)
	q.changed(was.Record, s.Record)
	return revision, nil
}

// changed tells of a record that this process has written. A run that was lost and begins anew is a change too.
func (q *JetStream) changed(was, now job.Record) {
	if q.options.Changed != nil && (was.State != now.State || was.Attempt != now.Attempt) {
		q.options.Changed(was, now)
	}
}
