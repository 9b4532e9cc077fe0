package queue

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"waggle/internal/job"
)

// index is this process's copy of all records, for lists, watchers and the
// choice of the next job. A watch on the bucket keeps it up to date; what this
// process wrote itself is in it at once.
type index struct {
	stop chan struct{} // closed by the owner's Close

	mu       sync.Mutex
	items    map[job.ID]*item
	order    []*item           // by submission
	waiting  map[job.ID]*item  // state Queued
	running  map[job.ID]*item  // state Running
	gone     map[job.ID]uint64 // revisions dropped here whose end the watch has not told yet
	served   map[string]served // by client
	arrived  chan struct{}     // closed and replaced when a job begins to wait
	watchers *watchers
}

// item is a record at one revision; it is replaced, never changed.
type item struct {
	stored
	revision uint64
}

// served is what a client has had so far.
type served struct {
	running int
	last    time.Time // start of its newest job
}

func newIndex(stop chan struct{}) *index {
	x := &index{stop: stop, items: map[job.ID]*item{}, waiting: map[job.ID]*item{}, running: map[job.ID]*item{},
		gone: map[job.ID]uint64{}, served: map[string]served{}, arrived: make(chan struct{})}
	x.watchers = newWatchers(&x.mu, stop, x.recordOf)
	return x
}

// recordOf is called with mu held.
func (x *index) recordOf(id job.ID) (job.Record, bool) {
	it, ok := x.items[id]
	if !ok {
		return job.Record{}, false
	}
	return it.Record, true
}

// apply takes a record unless a newer revision is known.
func (x *index) apply(s stored, revision uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if old := x.items[s.ID]; old != nil && old.revision >= revision || x.gone[s.ID] >= revision {
		return
	}
	x.put(&item{s, revision})
	x.watchers.changed(s.ID)
}

func (x *index) put(it *item) {
	if old, ok := x.items[it.ID]; ok {
		x.take(old)
	}
	i, _ := x.place(it)
	x.order = slices.Insert(x.order, i, it)
	x.items[it.ID] = it
	client := x.served[it.Client]
	switch it.State {
	case job.Queued:
		x.waiting[it.ID] = it
		close(x.arrived)
		x.arrived = make(chan struct{})
	case job.Running:
		x.running[it.ID] = it
		client.running++
	}
	if it.Started.After(client.last) {
		client.last = it.Started
	}
	x.served[it.Client] = client
}

// take removes an item.
func (x *index) take(it *item) {
	if i, found := x.place(it); found {
		x.order = slices.Delete(x.order, i, i+1)
	}
	delete(x.items, it.ID)
	delete(x.waiting, it.ID)
	if _, ok := x.running[it.ID]; ok {
		delete(x.running, it.ID)
		client := x.served[it.Client]
		client.running--
		x.served[it.Client] = client
	}
}

// place is where an item is, or would be, in the order.
func (x *index) place(it *item) (int, bool) {
	return slices.BinarySearchFunc(x.order, it, func(a, b *item) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
}

// drop forgets a record. revision is that of its end as the watch tells it, or
// 0 if this process has ended it and the watch will tell.
func (x *index) drop(id job.ID, revision uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	it, ok := x.items[id]
	if revision != 0 {
		delete(x.gone, id)
	}
	if !ok || revision != 0 && it.revision > revision {
		return
	}
	if revision == 0 {
		x.gone[id] = it.revision
	}
	x.take(it)
}

func (x *index) get(id job.ID) (item, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if it, ok := x.items[id]; ok {
		return *it, true
	}
	return item{}, false
}

func (x *index) list(f Filter) ([]job.Record, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	end := len(x.order)
	if f.Before != "" {
		it, ok := x.items[f.Before]
		if !ok {
			return nil, ErrNotFound
		}
		end, _ = x.place(it)
	}
	var list []job.Record
	for i := end - 1; i >= 0 && (f.Limit <= 0 || len(list) < f.Limit); i-- {
		if r := x.order[i].Record; f.State == "" || r.State == f.State {
			list = append(list, r)
		}
	}
	return list, nil
}

// filter returns the items that a test holds for, the oldest first.
func (x *index) filter(holds func(*item) bool) (list []item) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, it := range x.order {
		if holds(it) {
			list = append(list, *it)
		}
	}
	return list
}

// unfinished counts the jobs that have a message in the stream of jobs.
func (x *index) unfinished() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.waiting) + len(x.running)
}
