package queue

import (
	"context"
	"slices"

	"waggle/internal/job"
)

// watcher remembers which jobs have changed since they were last delivered.
// What it holds is bounded by the number of jobs.
type watcher struct {
	queue  *Memory
	id     job.ID   // empty: all jobs
	dirty  []*entry // in order of their first change; guarded by queue.mu
	signal chan struct{}
}

// Watch implements Queue.
func (q *Memory) Watch(_ context.Context, id job.ID) (Watcher, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := &watcher{queue: q, id: id, signal: make(chan struct{}, 1)}
	if id != "" {
		e, ok := q.jobs[id]
		if !ok {
			return nil, ErrNotFound
		}
		w.mark(e)
	}
	q.watchers[w] = true
	return w, nil
}

// changed tells the watchers of a job.
func (q *Memory) changed(e *entry) {
	for w := range q.watchers {
		if w.id == "" || w.id == e.record.ID {
			w.mark(e)
		}
	}
}

func (w *watcher) mark(e *entry) {
	if !slices.Contains(w.dirty, e) {
		w.dirty = append(w.dirty, e)
	}
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

// Next implements Watcher.
func (w *watcher) Next(ctx context.Context) (job.Record, error) {
	for {
		if r, ok := w.take(); ok {
			return r, nil
		}
		select {
		case <-w.signal:
		case <-w.queue.stop:
			return job.Record{}, ErrClosed
		case <-ctx.Done():
			return job.Record{}, ctx.Err()
		}
	}
}

func (w *watcher) take() (job.Record, bool) {
	w.queue.mu.Lock()
	defer w.queue.mu.Unlock()
	if len(w.dirty) == 0 {
		return job.Record{}, false
	}
	e := w.dirty[0]
	w.dirty = w.dirty[1:]
	return e.record, true
}

// Close implements Watcher.
func (w *watcher) Close() {
	w.queue.mu.Lock()
	defer w.queue.mu.Unlock()
	delete(w.queue.watchers, w)
}
