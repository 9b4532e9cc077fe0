package queue

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"waggle/internal/job"
)

// Memory is a Queue in this process's memory, gone with it. The service does
// not use it: it is for tests that run in fake time, where no server can.
// Records, order and changes of state are those of JetStream; what is missing
// is all that makes them last.
type Memory struct {
	options Options
	index   *index
	stop    chan struct{} // closed by Close
	swept   chan struct{} // closed when the sweeper has ended

	mu       sync.Mutex // held by whoever changes a record
	revision uint64     // of the last change, and the place of a new job in line
	bytes    int        // held by the requests of jobs that have not ended
	leases   map[job.ID]*lease
	nodes    map[string]job.Node
}

var _ Queue = (*Memory)(nil)

// NewMemory returns an empty queue. Close it.
func NewMemory(o Options) *Memory {
	stop := make(chan struct{})
	q := &Memory{
		options: o.withDefaults(), index: newIndex(stop), stop: stop, swept: make(chan struct{}),
		leases: map[job.ID]*lease{}, nodes: map[string]job.Node{},
	}
	go q.sweep()
	return q
}

// Close implements Queue.
func (q *Memory) Close() error {
	q.mu.Lock()
	if !q.closed() {
		close(q.stop)
	}
	q.mu.Unlock()
	<-q.swept
	return nil
}

func (q *Memory) closed() bool { return isClosed(q.stop) }

// Submit implements Queue.
func (q *Memory) Submit(_ context.Context, r job.Request) (job.Record, error) {
	digest, err := digestOf(r)
	if err != nil {
		return job.Record{}, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed() {
		return job.Record{}, ErrClosed
	}
	if it, ok := q.index.get(r.ID); ok {
		if it.Digest != digest {
			return job.Record{}, ErrConflict
		}
		return it.Record, nil
	}
	s := stored{Record: newRecord(r, digest), Client: r.Client, Sequence: q.revision + 1}
	if q.bytes+r.Size() > q.options.Bytes {
		return job.Record{}, ErrFull
	}
	release, err := q.index.reserve(s, q.options.Length)
	if err != nil {
		return job.Record{}, err
	}
	defer release()
	q.write(s)
	return s.Record, nil
}

// write takes in a new record of a job. The caller holds mu.
func (q *Memory) write(s stored) {
	if old, ok := q.index.get(s.ID); ok {
		q.bytes -= old.held()
	}
	q.bytes += s.held()
	q.revision++
	q.index.apply(s, q.revision)
	if l := q.leases[s.ID]; l != nil {
		l.told(s, q.revision)
	}
}

// held is how many bytes of the queue's bound a job takes.
func (s stored) held() int {
	if s.State.Final() {
		return 0
	}
	return s.Record.Request.Size()
}

// change replaces a record by what f makes of it. An error of f ends it.
func (q *Memory) change(id job.ID, f func(stored) (stored, error)) (stored, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it, ok := q.index.get(id)
	if !ok {
		return stored{}, ErrNotFound
	}
	s, err := f(it.stored)
	switch {
	case errors.Is(err, errUnchanged):
		return it.stored, nil
	case err != nil:
		return stored{}, err
	}
	q.write(s)
	return s, nil
}

// Next implements Queue.
func (q *Memory) Next(ctx context.Context, c Consumer) (Lease, error) {
	for {
		arrived := q.index.arrivals()
		l, err := q.Take(ctx, c)
		if l != nil || err != nil {
			return l, err
		}
		select {
		case <-arrived:
		case <-q.stop:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Take implements Queue.
func (q *Memory) Take(_ context.Context, c Consumer) (Lease, error) {
	for !q.closed() {
		it := q.index.first(c, nil)
		if it == nil {
			return nil, nil
		}
		if l := q.lease(it, c.Node); l != nil {
			return l, nil
		}
	}
	return nil, ErrClosed
}

// lease gives a job away; nil if it has changed meanwhile.
func (q *Memory) lease(it *item, node string) Lease {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now, ok := q.index.get(it.ID); !ok || now.revision != it.revision {
		return nil
	}
	s := it.started(node, uuid.NewString(), "")
	q.write(s)
	l := &lease{queue: q, record: s.Record, wishes: newWishes(s, q.revision)}
	q.leases[s.ID] = l
	return l
}

// Waiting implements Queue.
func (q *Memory) Waiting(c Consumer) (job.Record, bool) { return q.index.waitingFor(c) }

// Cancel implements Queue.
func (q *Memory) Cancel(_ context.Context, id job.ID) (job.Record, error) {
	s, err := q.change(id, stored.cancel)
	return s.Record, err
}

// Pause implements Queue.
func (q *Memory) Pause(_ context.Context, id job.ID) (job.Record, error) {
	s, err := q.change(id, func(s stored) (stored, error) { return q.index.pause(s, q.options.Length) })
	return s.Record, err
}

// Resume implements Queue.
func (q *Memory) Resume(_ context.Context, id job.ID) (job.Record, error) {
	s, err := q.change(id, func(s stored) (stored, error) {
		now, err := s.resume()
		if err == nil && now.State == job.Queued {
			now.Sequence = q.revision + 1
			var release func()
			if release, err = q.index.reserve(now, q.options.Length); err == nil {
				release() // nobody else comes before the change is made
			}
		}
		return now, err
	})
	return s.Record, err
}

// Move implements Queue.
func (q *Memory) Move(_ context.Context, id, before job.ID) (job.Record, error) {
	s, err := q.change(id, func(s stored) (stored, error) { return q.index.move(s, before) })
	return s.Record, err
}

// Get implements Queue.
func (q *Memory) Get(_ context.Context, id job.ID) (job.Record, error) {
	it, ok := q.index.get(id)
	if !ok {
		return job.Record{}, ErrNotFound
	}
	return it.asked(), nil
}

// List implements Queue.
func (q *Memory) List(_ context.Context, f Filter) ([]job.Record, error) { return q.index.list(f) }

// Watch implements Queue.
func (q *Memory) Watch(_ context.Context, id job.ID) (Watcher, error) {
	if _, ok := q.index.get(id); id != "" && !ok {
		return nil, ErrNotFound
	}
	return q.index.watch(id), nil
}

// Remove implements Queue.
func (q *Memory) Remove(_ context.Context, id job.ID) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	it, ok := q.index.get(id)
	if !ok {
		return ErrNotFound
	}
	if !it.State.Final() {
		return ErrUnfinished
	}
	q.index.drop(id, it.revision)
	return nil
}

// PutNode implements Queue.
func (q *Memory) PutNode(_ context.Context, n job.Node) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	n.Seen = time.Now()
	q.nodes[n.ID] = n
	return nil
}

// Nodes implements Queue.
func (q *Memory) Nodes(context.Context) ([]job.Node, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	nodes := make([]job.Node, 0, len(q.nodes))
	for _, n := range q.nodes {
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b job.Node) int { return cmp.Compare(a.ID, b.ID) })
	return nodes, nil
}

// sweep forgets ended jobs that are too old or too many, until Close.
func (q *Memory) sweep() {
	defer close(q.swept)
	tick := time.NewTicker(q.options.sweepEvery())
	defer tick.Stop()
	ages := newAges(q.options)
	for {
		select {
		case <-q.stop:
			return
		case <-tick.C:
			q.expire(time.Now(), ages.trusted())
		}
	}
}

func (q *Memory) expire(now time.Time, byAge bool) {
	for _, it := range q.index.expired(q.options, now, byAge) {
		q.index.drop(it.ID, it.revision)
	}
	q.index.forgetClients()
}
