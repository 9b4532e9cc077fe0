package queue

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"waggle/internal/job"
)

// Memory is a Queue in this process's memory, gone with it. The service does
// not use it: it is for tests that run in fake time, where no server can.
type Memory struct {
	options Options
	stop    chan struct{} // closed by Close
	swept   chan struct{} // closed when the sweeper has ended

	mu       sync.Mutex
	jobs     map[job.ID]*entry
	order    []*entry // by submission
	waiting  map[job.Priority][]*entry
	bytes    int           // held by waiting and running requests
	arrived  chan struct{} // closed and replaced when a job begins to wait
	watchers *watchers
	nodes    map[string]job.Node
}

// entry is one job; size is what its request holds while it has not ended.
type entry struct {
	record    job.Record
	size      int
	cancelled chan struct{} // of the present lease; nil unless running
}

var _ Queue = (*Memory)(nil)

// NewMemory returns an empty queue. Close it.
func NewMemory(o Options) *Memory {
	q := &Memory{
		options: o.withDefaults(),
		stop:    make(chan struct{}), swept: make(chan struct{}),
		jobs:    map[job.ID]*entry{},
		waiting: map[job.Priority][]*entry{},
		arrived: make(chan struct{}), nodes: map[string]job.Node{},
	}
	q.watchers = newWatchers(&q.mu, q.stop, q.recordOf)
	go q.sweep()
	return q
}

// recordOf is called with mu held.
func (q *Memory) recordOf(id job.ID) (job.Record, bool) {
	e, ok := q.jobs[id]
	if !ok {
		return job.Record{}, false
	}
	return e.record, true
}

// Watch implements Queue.
func (q *Memory) Watch(_ context.Context, id job.ID) (Watcher, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if id != "" && q.jobs[id] == nil {
		return nil, ErrNotFound
	}
	return q.watchers.add(id), nil
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

func (q *Memory) closed() bool {
	select {
	case <-q.stop:
		return true
	default:
		return false
	}
}

// Submit implements Queue.
func (q *Memory) Submit(_ context.Context, r job.Request) (job.Record, error) {
	digest, err := r.Digest()
	if err != nil {
		return job.Record{}, fmt.Errorf("digest request: %w", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed() {
		return job.Record{}, ErrClosed
	}
	if e, ok := q.jobs[r.ID]; ok {
		if e.record.Digest != digest {
			return job.Record{}, ErrConflict
		}
		return e.record, nil
	}
	e := &entry{record: newRecord(r, digest), size: r.Size()}
	if q.waitingCount() >= q.options.Length || q.bytes+e.size > q.options.Bytes {
		return job.Record{}, ErrFull
	}
	q.jobs[e.record.ID] = e
	q.order = append(q.order, e)
	q.bytes += e.size
	q.wait(e, false)
	return e.record, nil
}

func (q *Memory) waitingCount() (n int) {
	for _, line := range q.waiting {
		n += len(line)
	}
	return n
}

// wait puts an entry at the end or the head of its line and wakes consumers.
func (q *Memory) wait(e *entry, head bool) {
	p := e.record.Request.Priority
	if head {
		q.waiting[p] = slices.Insert(q.waiting[p], 0, e)
	} else {
		q.waiting[p] = append(q.waiting[p], e)
	}
	close(q.arrived)
	q.arrived = make(chan struct{})
	q.watchers.changed(e.record.ID)
}

// Next implements Queue.
func (q *Memory) Next(ctx context.Context, c Consumer) (Lease, error) {
	for {
		l, arrived, err := q.take(c)
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

// take leases the first job that suits, or returns what to wait for.
func (q *Memory) take(c Consumer) (Lease, <-chan struct{}, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed() {
		return nil, nil, ErrClosed
	}
	for _, p := range []job.Priority{job.High, job.Normal, job.Low} {
		for i, e := range q.waiting[p] {
			if len(c.Models) == 0 || slices.Contains(c.Models, e.record.Request.Model) {
				q.waiting[p] = slices.Delete(q.waiting[p], i, i+1)
				return q.lease(e, c.Node), nil, nil
			}
		}
	}
	return nil, q.arrived, nil
}

func (q *Memory) lease(e *entry, node string) *lease {
	r := &e.record
	r.State, r.Node, r.Started = job.Running, node, time.Now().UTC()
	r.Attempt = max(r.Attempt, 1)
	e.cancelled = make(chan struct{})
	q.watchers.changed(e.record.ID)
	return &lease{queue: q, entry: e, record: *r, cancelled: e.cancelled}
}

// Cancel implements Queue.
func (q *Memory) Cancel(_ context.Context, id job.ID) (job.Record, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, ok := q.jobs[id]
	if !ok || e.record.State.Final() {
		return job.Record{}, ErrNotFound
	}
	if e.record.State == job.Running {
		if !e.record.CancelRequested {
			e.record.CancelRequested = true
			close(e.cancelled)
			q.watchers.changed(e.record.ID)
		}
		return e.record, nil
	}
	p := e.record.Request.Priority
	q.waiting[p] = slices.DeleteFunc(q.waiting[p], func(w *entry) bool { return w == e })
	q.finish(e, job.Cancelled, job.Outcome{Kind: job.CancelledByUser, Message: job.CancelMessage})
	return e.record, nil
}

// finish ends a job and lets go of the pictures it was sent.
func (q *Memory) finish(e *entry, s job.State, o job.Outcome) {
	q.bytes -= e.size
	e.size, e.cancelled = 0, nil
	r := &e.record
	r.State, r.Outcome, r.Finished = s, o, time.Now().UTC()
	r.Request = r.Request.WithoutPictures()
	q.watchers.changed(e.record.ID)
}

// Get implements Queue.
func (q *Memory) Get(_ context.Context, id job.ID) (job.Record, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, ok := q.jobs[id]
	if !ok {
		return job.Record{}, ErrNotFound
	}
	return e.record, nil
}

// List implements Queue.
func (q *Memory) List(_ context.Context, f Filter) ([]job.Record, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	end := len(q.order)
	if f.Before != "" {
		if end = slices.Index(q.order, q.jobs[f.Before]); end < 0 {
			return nil, ErrNotFound
		}
	}
	var list []job.Record
	for i := end - 1; i >= 0 && (f.Limit <= 0 || len(list) < f.Limit); i-- {
		if r := q.order[i].record; f.State == "" || r.State == f.State {
			list = append(list, r)
		}
	}
	return list, nil
}

// Remove implements Queue.
func (q *Memory) Remove(_ context.Context, id job.ID) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, ok := q.jobs[id]
	if !ok {
		return ErrNotFound
	}
	if !e.record.State.Final() {
		return ErrUnfinished
	}
	delete(q.jobs, id)
	q.order = slices.DeleteFunc(q.order, func(o *entry) bool { return o == e })
	return nil
}

// PutNode implements Queue.
func (q *Memory) PutNode(_ context.Context, n job.Node) error {
	q.mu.Lock()
	defer q.mu.Unlock()
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
	slices.SortFunc(nodes, func(a, b job.Node) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return nodes, nil
}

// sweep forgets ended jobs that are too old or too many, until Close.
func (q *Memory) sweep() {
	defer close(q.swept)
	tick := time.NewTicker(min(max(q.options.Expiry/10, time.Second), time.Minute))
	defer tick.Stop()
	for {
		select {
		case <-q.stop:
			return
		case now := <-tick.C:
			q.expire(now)
		}
	}
}

func (q *Memory) expire(now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	ended := 0
	for _, e := range q.order {
		if e.record.State.Final() {
			ended++
		}
	}
	q.order = slices.DeleteFunc(q.order, func(e *entry) bool {
		r := e.record
		gone := r.State.Final() && (ended > q.options.Finished || now.Sub(r.Finished) > q.options.Expiry)
		if gone {
			ended--
			delete(q.jobs, r.ID)
		}
		return gone
	})
}
