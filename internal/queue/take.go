package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
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
	// newFor is how long a job counts as new to its lane's consumer, retryNew
	// the longest pause before a lane with a new job is asked again.
	newFor   = time.Second
	retryNew = 32 * time.Millisecond
)

// Next implements Queue.
func (q *JetStream) Next(ctx context.Context, c Consumer) (Lease, error) {
	retry := retryFirst
	for {
		arrived := q.index.arrivals()
		l, err := q.Take(ctx, c)
		if l != nil || err != nil {
			return l, err
		}
		wait := q.options.times.rescue
		if q.index.first(c, nil) != nil {
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

// Take implements Queue.
func (q *JetStream) Take(ctx context.Context, c Consumer) (Lease, error) {
	q.reclaim(ctx, c.Node)
	for _, from := range q.rescues(c) {
		if l, err := q.tryLane(ctx, from, nil, c); l != nil || err != nil {
			return l, err
		}
	}
	tried := map[job.ID]bool{}
	for {
		it := q.index.first(c, tried)
		if it == nil {
			return nil, q.over(ctx)
		}
		tried[it.ID] = true
		if l, err := q.tryLane(ctx, laneOf(it.stored), it, c); l != nil || err != nil {
			return l, err
		}
	}
}

// Waiting implements Queue.
func (q *JetStream) Waiting(c Consumer) (job.Record, bool) { return q.index.waitingFor(c) }

// rescues returns, now and then, the lanes of jobs that run somewhere else:
// should their node have died, their messages come again. Jobs that wait at a
// higher priority go before them.
func (q *JetStream) rescues(c Consumer) (list []lane) {
	q.mu.Lock()
	due := time.Since(q.rescued) >= q.options.times.rescue
	if due {
		q.rescued = time.Now()
	}
	q.mu.Unlock()
	if !due {
		return nil
	}
	lowest := rank(job.Low)
	if it := q.index.first(c, nil); it != nil {
		lowest = rank(priorityOf(it.Record))
	}
	for _, it := range q.index.runs() {
		l := laneOf(it.stored)
		if !q.holds(it.ID) && rank(l.priority) <= lowest && !slices.Contains(list, l) && c.takes(it.Record) {
			list = append(list, l)
		}
	}
	return list
}

func (x *index) runs() []*item {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Collect(maps.Values(x.running))
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

// over is the error of a queue that was closed or a caller that has gone.
func (q *JetStream) over(ctx context.Context) error {
	if q.closed() {
		return ErrClosed
	}
	return ctx.Err()
}

// tryLane leases the first job of a lane, which should be that of an item, nil
// if it has none for c. Trouble with the lane is logged: there will be another
// time.
func (q *JetStream) tryLane(ctx context.Context, from lane, it *item, c Consumer) (Lease, error) {
	if err := q.over(ctx); err != nil {
		return nil, err
	}
	l, err := q.takeFrom(ctx, from, it, c)
	if err != nil && q.over(ctx) == nil {
		q.options.Log.Warn("take a job", "lane", from.consumer(), "error", err)
	}
	return l, nil
}

// takeFrom leases the first job of a lane; nil if it has none for c.
func (q *JetStream) takeFrom(ctx context.Context, from lane, it *item, c Consumer) (Lease, error) {
	for {
		m, err := q.fetchNew(ctx, from, it)
		if m == nil || err != nil {
			return nil, err
		}
		l, err := q.claim(ctx, m, c)
		if errors.Is(err, errRefused) {
			return nil, m.Nak()
		}
		if err != nil {
			return nil, errors.Join(err, m.Nak())
		}
		if l != nil {
			return l, nil
		}
	}
}

// fetchNew is fetch for a lane whose first job this process may know before
// the lane's consumer does: it asks again while the job is new and waits.
func (q *JetStream) fetchNew(ctx context.Context, from lane, it *item) (jetstream.Msg, error) {
	for pause := retryFirst; ; pause *= 2 {
		m, err := q.fetch(ctx, from)
		if m != nil || err != nil || it == nil || pause > retryNew || time.Since(it.heard) > newFor {
			return m, err
		}
		if now, ok := q.index.get(it.ID); !ok || now.revision != it.revision {
			return nil, nil // somebody else was faster
		}
		if _, err := q.await(ctx, nil, pause); err != nil {
			return nil, err
		}
	}
}

// errRefused: the consumer does not take the job.
var errRefused = errors.New("queue: not a job for this consumer")

// claim makes this node the one that runs the job of a message; nil if the
// message stands for no work any more.
func (q *JetStream) claim(ctx context.Context, m jetstream.Msg, c Consumer) (Lease, error) {
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
		if !c.takes(it.Record) {
			return nil, errRefused
		}
		s := it.started(c.Node, uuid.NewString(), m.Reply())
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
		return q.equip(ctx, item{stored: s, revision: revision}, m)
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
	return item{stored: s, revision: revision}, nil
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
		s, _, err = q.change(ctx, s.ID, func(now stored) (stored, error) { return now.ended(job.Failed, o), nil })
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
