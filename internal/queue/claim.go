package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"waggle/internal/job"
)

const (
	// A message newer than the one its record names may be named by it any
	// moment: it is looked at again, and dropped after unnamedLimit times.
	unnamedDelay = 500 * time.Millisecond
	unnamedLimit = 20
	// A message that comes though its job's node lives missed being renewed, as
	// while servers chose a new leader: the node gets some time to renew it.
	leaveDelay = 5 * time.Second
	leaveLimit = 8 // deliveries
	// claimTries is how often others may change a record in between.
	claimTries = 10
)

// errRefused: the consumer does not take the job.
var errRefused = errors.New("queue: not a job for this consumer")

// standing is what a message of a job is worth, as the job's record says.
type standing int

const (
	leftOver standing = iota // it stands for no work any more
	unnamed                  // the record does not name it yet
	present                  // it stands for the job
)

func (s stored) standing(sequence uint64) standing {
	switch {
	case s.damaged || sequence < s.Sequence:
		return leftOver
	case sequence > s.Sequence:
		return unnamed
	case s.inLine():
		return present
	}
	return leftOver
}

// claim makes this node the one that runs the job of a message; nil if the
// message gives it nothing to run.
func (q *JetStream) claim(ctx context.Context, m jetstream.Msg, c Consumer) (Lease, error) {
	about, err := m.Metadata()
	if err != nil {
		return nil, err
	}
	id, sequence := job.ID(m.Headers().Get(idHeader)), about.Sequence.Stream
	for range claimTries {
		it, err := q.load(ctx, id)
		if errors.Is(err, ErrNotFound) {
			it, err = q.adopt(ctx, id, m.Data(), sequence)
		}
		if err != nil {
			return nil, err
		}
		switch it.standing(sequence) {
		case leftOver:
			return nil, q.drop(ctx, m, it)
		case unnamed:
			if about.NumDelivered < unnamedLimit {
				return nil, m.NakWithDelay(unnamedDelay)
			}
			return nil, q.drop(ctx, m, it)
		}
		l, err := q.begin(ctx, m, it, c)
		if !errors.Is(err, errChanged) {
			return l, err
		}
	}
	return nil, errChanged
}

// begin leases the job of a message, errChanged if its record has changed; nil
// if that ends the job.
func (q *JetStream) begin(ctx context.Context, m jetstream.Msg, it item, c Consumer) (Lease, error) {
	if l := q.leaseOf(it.ID); l != nil && l.lease == it.Lease && it.State == job.Running {
		return nil, nil // the server's clock has leapt: the job runs here, and its lease renews this message too
	}
	if !it.CancelRequested && !c.takes(it.Record) {
		return nil, errRefused
	}
	if q.runsElsewhere(m, it, c) {
		return nil, m.NakWithDelay(leaveDelay)
	}
	s := q.undoubted(it.stored).started(c.Node, uuid.NewString(), m.Reply())
	r, err := q.getInputs(ctx, s)
	if errors.Is(err, errLost) {
		q.options.Log.Error("a job cannot run", "job", s.ID, "error", err)
		s, err = s.withoutInputs(), nil
	}
	if err != nil {
		return nil, err
	}
	if s.State.Final() {
		return nil, q.end(ctx, m, s, it.revision)
	}
	return q.lease(ctx, m, s, it.revision, r)
}

// end writes that the queue itself has ended a job.
func (q *JetStream) end(ctx context.Context, m jetstream.Msg, s stored, revision uint64) error {
	if _, err := q.write(ctx, s, revision); err != nil {
		return err
	}
	q.tellEnd(ctx, s)
	return m.DoubleAck(ctx)
}

// lease writes that a job runs here; r is its request with its pictures.
func (q *JetStream) lease(ctx context.Context, m jetstream.Msg, s stored, revision uint64, r job.Request) (Lease, error) {
	with := s
	with.Record.Request = r
	l, err := q.hold(with, revision, m)
	if err != nil {
		return nil, err // not l, which would be a Lease that is not nil
	}
	if _, err := q.write(ctx, s, revision); err != nil {
		l.release()
		if !errors.Is(err, errChanged) {
			q.doubt(s)
		}
		return nil, err
	}
	return l, nil
}

// runsElsewhere reports whether a job runs on another node that was heard of
// lately. That the node has lost the job all the same is believed after some
// deliveries of the message.
func (q *JetStream) runsElsewhere(m jetstream.Msg, it item, c Consumer) bool {
	about, err := m.Metadata()
	return err == nil && about.NumDelivered < leaveLimit &&
		it.State == job.Running && it.Node != c.Node && q.nodes.lives(it.Node, time.Now())
}

// doubt notes a lease that was to be written, and may have been.
func (q *JetStream) doubt(s stored) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unsure[s.ID] = s.Lease
}

// undoubted is a record whose lease is not one in doubt: nobody ran the job
// under that, so its message does not come again because a run was lost.
func (q *JetStream) undoubted(s stored) stored {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s.State == job.Running && q.unsure[s.ID] == s.Lease {
		s = s.handedBack()
	}
	return s
}

// forgetDoubts drops those about leases that the records do not name.
func (q *JetStream) forgetDoubts() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for id, lease := range q.unsure {
		if it, ok := q.index.get(id); !ok || it.Lease != lease {
			delete(q.unsure, id)
		}
	}
}

// adopt writes the record of a message that has none: the process that took
// the job in died in between, or has not come to it yet. A message that carries
// none, or whose job was removed, gets an item that does not name it.
func (q *JetStream) adopt(ctx context.Context, id job.ID, data []byte, sequence uint64) (item, error) {
	if !job.ValidID(string(id)) {
		return item{}, nil
	}
	s := decodeStored(id, data, time.Now())
	if s.damaged {
		return item{}, nil
	}
	s.Sequence = sequence
	revision, err := q.write(ctx, s, 0) // not over the mark of a removed record
	if errors.Is(err, errChanged) {
		it, err := q.load(ctx, id)
		if errors.Is(err, ErrNotFound) {
			return item{}, nil
		}
		return it, err
	}
	if err != nil {
		return item{}, fmt.Errorf("write record of %s: %w", id, err)
	}
	return item{stored: s, revision: revision}, nil
}

// drop removes a message that stands for no work. A record that cannot be read
// gets its end written, so that the job's readers hear of it.
func (q *JetStream) drop(ctx context.Context, m jetstream.Msg, it item) error {
	if err := q.endDamaged(ctx, it); err != nil {
		return err
	}
	return m.DoubleAck(ctx)
}

func (q *JetStream) endDamaged(ctx context.Context, it item) error {
	if !it.damaged {
		return nil
	}
	s := it.ended(job.Failed, it.Outcome)
	if _, err := q.write(ctx, s, it.revision); err != nil {
		if errors.Is(err, errChanged) {
			return nil
		}
		return err
	}
	q.tellEnd(ctx, s)
	return nil
}

// tellEnd does what is left to do for a job that the queue itself has ended.
func (q *JetStream) tellEnd(ctx context.Context, s stored) {
	q.dropInputs(ctx, s)
	if q.options.Ended != nil {
		q.options.Ended(ctx, s.Record)
	}
}
