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
	// A lane may have its job in the index a moment before its consumer has
	// it, or another node may have taken it: ask again, ever more slowly.
	retryFirst = 2 * time.Millisecond
	retryLast  = time.Second
)

// Next implements Queue.
func (q *JetStream) Next(ctx context.Context, c Consumer) (Lease, error) {
	q.reclaim(ctx, c.Node)
	retry, rescue := retryFirst, time.Now()
	for {
		arrived := q.index.arrivals()
		lanes := q.index.lanes(c)
		if !time.Now().Before(rescue) {
			lanes = append(q.index.abandoned(c, q.holds), lanes...)
			rescue = time.Now().Add(q.options.times.rescue)
		}
		l, err := q.takeFirst(ctx, lanes, c.Node)
		if l != nil || err != nil {
			return l, err
		}
		wait := time.Until(rescue)
		if len(lanes) > 0 {
			wait, retry = min(wait, retry), min(2*retry, retryLast)
		}
		came, err := q.await(ctx, arrived, wait)
		if err != nil {
			return nil, err
		}
		if came {
			retry = retryFirst
		}
	}
}

// await returns when a job has arrived, with true, or the time is up.
func (q *JetStream) await(ctx context.Context, arrived <-chan struct{}, wait time.Duration) (bool, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-arrived:
		return true, nil
	case <-timer.C:
		return false, nil
	case <-q.stop:
		return false, ErrClosed
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (x *index) arrivals() <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.arrived
}

// takeFirst leases the first job that a lane gives; nil if none does. Trouble
// with one lane is logged: there will be another time.
func (q *JetStream) takeFirst(ctx context.Context, lanes []lane, node string) (Lease, error) {
	for _, from := range lanes {
		if q.closed() {
			return nil, ErrClosed
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		l, err := q.takeFrom(ctx, from, node)
		if err != nil && ctx.Err() == nil && !q.closed() {
			q.options.Log.Warn("take a job", "lane", from.consumer(), "error", err)
		}
		if l != nil {
			return l, nil
		}
	}
	return nil, nil
}

// takeFrom leases the first job of a lane; nil if it has none.
func (q *JetStream) takeFrom(ctx context.Context, from lane, node string) (Lease, error) {
	for {
		m, err := q.fetch(ctx, from)
		if m == nil || err != nil {
			return nil, err
		}
		l, err := q.claim(ctx, m, node)
		if err != nil {
			return nil, errors.Join(err, m.Nak())
		}
		if l != nil {
			return l, nil
		}
	}
}

// fetch takes the first message of a lane; nil if it has none.
func (q *JetStream) fetch(ctx context.Context, from lane) (jetstream.Msg, error) {
	c, err := q.consumer(ctx, from)
	if err != nil {
		return nil, err
	}
	batch, err := c.FetchNoWait(1)
	if err == nil {
		for m := range batch.Messages() {
			return m, nil
		}
		err = batch.Error()
	}
	if err != nil { // it may have been removed for being idle
		q.mu.Lock()
		delete(q.consumers, from)
		q.mu.Unlock()
	}
	return nil, err
}

// consumer returns the durable consumer of a lane, made if it is not there.
func (q *JetStream) consumer(ctx context.Context, of lane) (jetstream.Consumer, error) {
	q.mu.Lock()
	c, ok := q.consumers[of]
	q.mu.Unlock()
	if ok {
		return c, nil
	}
	c, err := q.jobs.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: of.consumer(), FilterSubject: of.subject(), InactiveThreshold: laneIdle,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: q.options.times.ack, MaxDeliver: -1, MaxAckPending: -1,
	})
	if err != nil {
		return nil, fmt.Errorf("consumer of a lane: %w", err)
	}
	q.mu.Lock()
	q.consumers[of] = c
	q.mu.Unlock()
	return c, nil
}

// claim makes this node the one that runs the job of a message; nil if the
// message stands for no work any more.
func (q *JetStream) claim(ctx context.Context, m jetstream.Msg, node string) (Lease, error) {
	about, err := m.Metadata()
	if err != nil {
		return nil, err
	}
	id, sequence := job.ID(m.Headers().Get(idHeader)), about.Sequence.Stream
	for {
		it, err := q.load(ctx, id)
		if errors.Is(err, ErrNotFound) {
			it, err = q.adopt(ctx, id, m.Data(), sequence)
		}
		if err != nil {
			return nil, err
		}
		if it.Sequence != sequence || it.State.Final() {
			return nil, q.drop(ctx, m, it)
		}
		s := it.started(node, uuid.NewString(), m.Reply())
		revision, err := q.write(ctx, s, it.revision)
		if errors.Is(err, errChanged) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if s.State.Final() {
			return nil, q.ended(ctx, m, s)
		}
		return q.equip(ctx, item{s, revision}, m)
	}
}

// adopt writes the record of a message that has none: the process that took
// the job in died in between, or has not come to it yet.
func (q *JetStream) adopt(ctx context.Context, id job.ID, data []byte, sequence uint64) (item, error) {
	if !job.ValidID(string(id)) {
		return item{}, nil // nobody's: its sequence is 0
	}
	s := decodeStored(id, data, time.Now())
	if s.damaged {
		return item{}, nil
	}
	s.Sequence = sequence
	revision, err := q.create(ctx, s)
	if errors.Is(err, jetstream.ErrKeyExists) {
		return q.load(ctx, id)
	}
	if err != nil {
		return item{}, fmt.Errorf("write record of %s: %w", id, err)
	}
	q.know(s, revision)
	return item{s, revision}, nil
}

// drop removes a message that stands for no work. A record that cannot be read
// gets its end written, so that the job's readers hear of it.
func (q *JetStream) drop(ctx context.Context, m jetstream.Msg, it item) error {
	if it.damaged {
		s := it.ended(job.Failed, it.Outcome)
		if _, err := q.write(ctx, s, it.revision); err != nil && !errors.Is(err, errChanged) {
			return err
		}
		return q.ended(ctx, m, s)
	}
	return m.DoubleAck(ctx)
}

// ended does what is left to do for a job that the queue itself has ended.
func (q *JetStream) ended(ctx context.Context, m jetstream.Msg, s stored) error {
	q.dropInputs(ctx, s)
	if q.options.Ended != nil {
		q.options.Ended(ctx, s.Record)
	}
	return m.DoubleAck(ctx)
}

// equip makes the lease of a job that is ours, its pictures with it. A job
// whose pictures are lost fails.
func (q *JetStream) equip(ctx context.Context, it item, m jetstream.Msg) (Lease, error) {
	s := it.stored
	r, err := q.getInputs(ctx, s)
	if err != nil && ctx.Err() == nil {
		q.options.Log.Error("a job cannot run", "job", s.ID, "error", err)
		o := job.Outcome{Kind: job.Internal, Message: "The pictures sent with the job are lost on the server"}
		s, err = q.change(ctx, s.ID, func(now stored) (stored, error) { return now.ended(job.Failed, o), nil })
		if err != nil {
			return nil, err
		}
		return nil, q.ended(ctx, m, s)
	}
	if err != nil {
		return nil, err
	}
	s.Record.Request = r
	l, err := q.hold(s, it.revision, m)
	if err != nil {
		return nil, err // not l, which would be a Lease that is not nil
	}
	return l, nil
}

// reclaim asks once for the jobs that a node had in an earlier life of its
// process, and for those that were handed back to a server that has been
// started again since, which forgets that: their messages come at once.
func (q *JetStream) reclaim(ctx context.Context, node string) {
	q.mu.Lock()
	done := q.reclaimed[node]
	q.reclaimed[node] = true
	q.mu.Unlock()
	if done {
		return
	}
	lost := q.index.filter(func(it *item) bool {
		return it.Reply != "" && (it.State == job.Queued || it.State == job.Running && it.Node == node)
	})
	for _, it := range lost {
		if q.holds(it.ID) {
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

func (q *JetStream) holds(id job.ID) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.leases[id] != nil
}
