package queue

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"waggle/internal/job"
)

// index is this process's copy of all records, for lists, watchers and the
// choice of the next job. A watch on the bucket keeps it up to date; what this
// process wrote itself is in it at once.
type index struct {
	mu       sync.Mutex
	items    map[job.ID]*item
	order    []*item           // by submission
	running  map[job.ID]*item  // state Running
	depth    Depth             // jobs that have not ended
	pausing  int               // jobs that are paused or shall be
	coming   map[job.ID]int    // on their way into the line
	gone     map[job.ID]uint64 // revisions dropped here whose end the watch has not told yet
	schedule schedule
	arrived  chan struct{} // closed and replaced when a job begins to wait
	watchers *watchers
}

// item is a record at one revision; it is replaced, never changed.
type item struct {
	stored
	revision uint64
	heard    time.Time // when this process heard of it
}

func newIndex(stop chan struct{}) *index {
	x := &index{items: map[job.ID]*item{}, depth: Depth{}, running: map[job.ID]*item{}, coming: map[job.ID]int{}, gone: map[job.ID]uint64{},
		schedule: schedule{clients: map[string]*client{}}, arrived: make(chan struct{})}
	x.watchers = newWatchers(&x.mu, stop, x.recordOf)
	return x
}

// recordOf is called with mu held.
func (x *index) recordOf(id job.ID) (job.Record, bool) {
	it, ok := x.items[id]
	if !ok {
		return job.Record{}, false
	}
	return it.asked(), true
}

// apply takes a record unless a newer revision is known.
func (x *index) apply(s stored, revision uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if old := x.items[s.ID]; old != nil && old.revision >= revision || x.gone[s.ID] >= revision {
		return
	}
	x.put(&item{s, revision, time.Now()})
	x.watchers.changed(s.ID)
}

func (x *index) put(it *item) {
	old := x.items[it.ID]
	if old != nil {
		x.take(old)
	}
	i, _ := x.place(it)
	x.order = slices.Insert(x.order, i, it)
	x.items[it.ID] = it
	x.depth.count(it.Record, 1)
	if it.pauses() {
		x.pausing++
	}
	begun := !it.Started.IsZero() && (old == nil || !old.Started.Equal(it.Started))
	x.schedule.change(it.Client, func(c *client) {
		switch it.State {
		case job.Queued:
			c.add(it)
		case job.Running:
			c.running++
		}
		if begun {
			c.began = max(c.began, it.revision)
		}
	})
	switch it.State {
	case job.Queued:
		close(x.arrived)
		x.arrived = make(chan struct{})
	case job.Running:
		x.running[it.ID] = it
	}
}

// take removes an item.
func (x *index) take(it *item) {
	if i, found := x.place(it); found {
		x.order = slices.Delete(x.order, i, i+1)
	}
	delete(x.items, it.ID)
	delete(x.running, it.ID)
	if it.pauses() {
		x.pausing--
	}
	x.depth.count(it.Record, -1)
	x.schedule.change(it.Client, func(c *client) {
		switch it.State {
		case job.Queued:
			c.remove(it)
		case job.Running:
			c.running--
		}
	})
}

// place is where an item is, or would be, in the order.
func (x *index) place(it *item) (int, bool) {
	return slices.BinarySearchFunc(x.order, it, func(a, b *item) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
}

// drop forgets a record. revision is that of its end as the watch tells it.
func (x *index) drop(id job.ID, revision uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.gone, id)
	if it, ok := x.items[id]; ok && it.revision <= revision {
		x.take(it)
	}
}

// retain forgets all records but those present, as they were at a revision.
func (x *index) retain(present map[string]bool, upTo uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, it := range x.items {
		if !present[string(id)] && it.revision <= upTo {
			x.take(it)
		}
	}
	maps.DeleteFunc(x.gone, func(_ job.ID, revision uint64) bool { return revision <= upTo })
}

// purged forgets a record whose last revision this process has removed; the
// watch will tell of its end, and may tell of the record before that.
func (x *index) purged(id job.ID, revision uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if it, ok := x.items[id]; ok && it.revision <= revision {
		x.take(it)
		x.gone[id] = revision
	}
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
		if it := x.order[i]; f.State == "" || it.State == f.State {
			list = append(list, it.asked())
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

// first returns the first job that a consumer takes and that was not tried
// yet; nil if there is none. Takes is asked without the lock.
func (x *index) first(c Consumer, tried map[job.ID]bool) *item {
	for from := 0; ; {
		heads := x.heads(from, 1+from)
		for _, it := range heads {
			if !tried[it.ID] && c.takes(it.Record) {
				return it
			}
		}
		if from += len(heads); len(heads) == 0 {
			return nil
		}
	}
}

func (x *index) heads(from, n int) []*item {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.schedule.heads(from, n)
}

func (x *index) waitingFor(c Consumer) (job.Record, bool) {
	it := x.first(c, nil)
	if it == nil {
		return job.Record{}, false
	}
	return it.Record, true
}

// move is the record of a waiting job that shall stand before another, or
// before all others.
func (x *index) move(s stored, before job.ID) (stored, error) {
	if s.State != job.Queued {
		return s, ErrNotWaiting
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	at, err := x.schedule.placeBefore(&item{stored: s}, before)
	s.Moved = &at
	return s, err
}

// reserve keeps a place in line for a job on its way there, until release is
// called; ErrFull if there is none, or none for one more that will pause.
func (x *index) reserve(s stored, limit int) (release func(), err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.depth.of(job.Queued) + len(x.running)
	for id := range x.coming {
		if it := x.items[id]; it == nil || !it.inLine() {
			n++
		}
	}
	if n >= limit || s.pauses() && x.pausing >= limit {
		return nil, ErrFull
	}
	x.coming[s.ID]++
	return func() { x.arrive(s.ID) }, nil
}

// arrive ends a reservation.
func (x *index) arrive(id job.ID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.coming[id]--; x.coming[id] == 0 {
		delete(x.coming, id)
	}
}

// pause is the record of a job asked to pause, ErrFull if too many are paused.
func (x *index) pause(s stored, limit int) (stored, error) {
	now, err := s.pause()
	if err != nil || s.pauses() {
		return now, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.pausing >= limit {
		return s, ErrFull
	}
	return now, nil
}

func (x *index) watch(id job.ID) Watcher {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.watchers.add(id)
}

// expired returns the ended jobs that are too many or, by age, too old, the
// oldest first.
func (x *index) expired(o Options, now time.Time, byAge bool) []item {
	ended := x.filter(func(it *item) bool { return it.State.Final() })
	tooMany := len(ended) - o.Finished
	return slices.DeleteFunc(ended, func(it item) bool {
		tooMany--
		return tooMany < 0 && !(byAge && now.Sub(it.Finished) > o.Expiry)
	})
}

func (x *index) arrivals() <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.arrived
}

// forgetClients drops what is known of clients without jobs.
func (x *index) forgetClients() {
	x.mu.Lock()
	defer x.mu.Unlock()
	present := map[string]bool{}
	for _, it := range x.order {
		present[it.Client] = true
	}
	for name := range x.schedule.clients {
		if !present[name] {
			delete(x.schedule.clients, name)
		}
	}
}
