package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"waggle/internal/job"
)

// Submit implements Queue.
func (q *JetStream) Submit(ctx context.Context, r job.Request) (job.Record, error) {
	if q.closed() {
		return job.Record{}, ErrClosed
	}
	digest, err := digestOf(r)
	if err != nil {
		return job.Record{}, err
	}
	if r.ID != "" {
		if known, err := q.same(ctx, r.ID, digest); !errors.Is(err, ErrNotFound) {
			return known, err
		}
	}
	s := stored{Record: newRecord(r, digest), Client: r.Client}
	release, err := q.reserve(s)
	if err != nil {
		return job.Record{}, err
	}
	defer release()
	if err := q.putInputs(ctx, &s); err != nil {
		return job.Record{}, err
	}
	return q.enter(ctx, s)
}

// same returns the job of an id, ErrConflict if its content is another.
func (q *JetStream) same(ctx context.Context, id job.ID, digest string) (job.Record, error) {
	it, err := q.load(ctx, id)
	if err == nil && it.Digest != digest {
		return job.Record{}, ErrConflict
	}
	return it.Record, err
}

// reserve keeps a place in line for a job on its way, until it is released.
func (q *JetStream) reserve(s stored) (release func(), err error) {
	if q.options.Room != nil {
		if err := q.options.Room(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoRoom, err)
		}
	}
	return q.index.reserve(s, int(q.length.Load()))
}

// enter puts a new job in line and then writes its record, though its client
// may have gone. If another submission under the id was faster, its job is the
// one.
func (q *JetStream) enter(ctx context.Context, s stored) (job.Record, error) {
	ctx = context.WithoutCancel(ctx)
	data, err := s.encode()
	if err == nil {
		err = q.announce(ctx, &s, data)
	}
	if err == nil {
		var revision uint64
		if revision, err = q.create(ctx, s); err == nil {
			q.know(s, revision)
			q.changed(job.Record{}, s.Record)
			return s.Record, nil
		}
	}
	if errors.Is(err, jetstream.ErrKeyExists) {
		return q.late(ctx, s)
	}
	if !errors.Is(err, ErrUnavailable) { // else it may be done all the same: reconcile will see, and need the pictures
		q.unannounce(ctx, s)
		q.dropInputs(ctx, s)
	}
	return job.Record{}, err
}

// late returns the job whose record was there when that of s was to be
// written: another submission's, or s itself as read from its message.
func (q *JetStream) late(ctx context.Context, s stored) (job.Record, error) {
	it, err := q.load(ctx, s.ID)
	if err != nil {
		return job.Record{}, err
	}
	if it.Sequence != s.Sequence {
		q.unannounce(ctx, s)
	}
	if it.Inputs != s.Inputs {
		q.dropInputs(ctx, s)
	}
	if it.Digest != s.Digest {
		return job.Record{}, ErrConflict
	}
	return it.Record, nil
}

// create writes the record of a job that has none. If a try was done whose
// answer was lost, the error is jetstream.ErrKeyExists.
func (q *JetStream) create(ctx context.Context, s stored) (revision uint64, err error) {
	data, err := s.encode()
	if err != nil {
		return 0, err
	}
	err = q.patiently(ctx, func(ctx context.Context) error {
		revision, err = q.records.Create(ctx, string(s.ID), data)
		return err
	})
	if err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
		err = fmt.Errorf("write record of %s: %w", s.ID, refusal(err))
	}
	return revision, err
}

// announce writes the message of a job and notes its place; ErrFull if there
// are too many. A new job's carries its record, should that not come to be
// written. Its own id lets it be tried again without harm.
func (q *JetStream) announce(ctx context.Context, s *stored, record []byte) error {
	m := &nats.Msg{Subject: laneOf(*s).subject(), Header: nats.Header{idHeader: {string(s.ID)}}, Data: record}
	var ack *jetstream.PubAck
	id := jetstream.WithMsgID(uuid.NewString())
	err := q.patiently(ctx, func(ctx context.Context) (err error) {
		ack, err = q.js.PublishMsg(ctx, m, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("put %s in line: %w", s.ID, refusal(err))
	}
	s.Sequence = ack.Sequence
	return nil
}

// unannounce takes a job's message back. Should that fail, whoever meets the
// message drops it.
func (q *JetStream) unannounce(ctx context.Context, s stored) {
	if s.Sequence == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if m, err := q.jobs.GetMsg(ctx, s.Sequence); err == nil && m.Header.Get(idHeader) != string(s.ID) {
		return // a stream that lost its end has given the number to another job
	}
	if err := q.jobs.DeleteMsg(ctx, s.Sequence); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		q.options.Log.Debug("delete the message of a job", "job", s.ID, "error", err)
	}
}
