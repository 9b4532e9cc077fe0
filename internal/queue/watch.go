package queue

import (
	"context"
	"sync"

	"waggle/internal/job"
)

// watchers are those who follow records. The owner of the records has them,
// with the lock that guards both.
type watchers struct {
	mu     *sync.Mutex
	record func(job.ID) (job.Record, bool) // called with mu held
	stop   <-chan struct{}                 // closed when the owner closes

	all map[*watcher]bool
}

func newWatchers(mu *sync.Mutex, stop <-chan struct{}, record func(job.ID) (job.Record, bool)) *watchers {
	return &watchers{mu: mu, record: record, stop: stop, all: map[*watcher]bool{}}
}

// watcher remembers which jobs have changed since they were last delivered.
// What it holds is bounded by the number of jobs.
type watcher struct {
	of     *watchers
	id     job.ID // empty: all jobs
	dirty  []job.ID
	marked map[job.ID]bool // what is in dirty
	signal chan struct{}
}

// add makes a watcher of one job, or of all if id is empty. The owner holds mu.
func (w *watchers) add(id job.ID) *watcher {
	one := &watcher{of: w, id: id, marked: map[job.ID]bool{}, signal: make(chan struct{}, 1)}
	if id != "" {
		one.mark(id)
	}
	w.all[one] = true
	return one
}

// changed tells the watchers of a job. The owner holds mu.
func (w *watchers) changed(id job.ID) {
	for one := range w.all {
		if one.id == "" || one.id == id {
			one.mark(id)
		}
	}
}

func (w *watcher) mark(id job.ID) {
	if !w.marked[id] {
		w.marked[id] = true
		w.dirty = append(w.dirty, id)
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
		case <-w.of.stop:
			return job.Record{}, ErrClosed
		case <-ctx.Done():
			return job.Record{}, ctx.Err()
		}
	}
}

// take returns the record that has waited longest; one that is gone by now
// has nothing more to say.
func (w *watcher) take() (job.Record, bool) {
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	for len(w.dirty) > 0 {
		id := w.dirty[0]
		w.dirty = w.dirty[1:]
		delete(w.marked, id)
		if r, ok := w.of.record(id); ok {
			return r, true
		}
	}
	return job.Record{}, false
}

// Close implements Watcher.
func (w *watcher) Close() {
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	delete(w.of.all, w)
}
