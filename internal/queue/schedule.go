package queue

import (
	"cmp"
	"slices"

	"waggle/internal/job"
)

// schedule holds the waiting jobs in the order in which they are taken: a
// higher priority before a lower one; then the client with the fewest running
// jobs; then the one whose newest job began longest ago; and of one client's
// lines that with the first job.
//
// The order is kept, not made when it is asked for: a change of a job costs
// some comparisons and moves of memory, and the first job nothing.
type schedule struct {
	clients map[string]*client
	lines   []*line // those with jobs, the first to be asked first
}

// client is who sent jobs, and what it has had so far.
type client struct {
	running int
	began   uint64 // when its newest job began, as a revision of the records
	lines   []*line
}

// line is the waiting jobs of one client for one model at one priority.
type line struct {
	priority job.Priority
	model    string
	client   *client
	jobs     []*item // by place, never empty in a schedule
}

func rank(p job.Priority) int {
	switch p {
	case job.High:
		return 0
	case job.Low:
		return 2
	}
	return 1
}

func (l *line) compare(o *line) int {
	a, b := l.jobs[0], o.jobs[0]
	return cmp.Or(
		cmp.Compare(rank(l.priority), rank(o.priority)),
		cmp.Compare(l.client.running, o.client.running),
		cmp.Compare(l.client.began, o.client.began),
		a.compare(b),
	)
}

// compare orders the waiting jobs of a client.
func (it *item) compare(o *item) int {
	return cmp.Or(it.place().compare(o.place()), cmp.Compare(it.ID, o.ID))
}

// change does something to a client and its lines, and puts the lines where
// they belong after it.
func (s *schedule) change(name string, f func(*client)) {
	c := s.clients[name]
	if c == nil {
		c = &client{}
		s.clients[name] = c
	}
	for _, l := range c.lines {
		if i, found := slices.BinarySearchFunc(s.lines, l, (*line).compare); found {
			s.lines = slices.Delete(s.lines, i, i+1)
		}
	}
	f(c)
	for _, l := range c.lines {
		i, _ := slices.BinarySearchFunc(s.lines, l, (*line).compare)
		s.lines = slices.Insert(s.lines, i, l)
	}
}

// add puts a waiting job in its line.
func (c *client) add(it *item) {
	p, model := priorityOf(it.Record), it.Record.Request.Model
	i := slices.IndexFunc(c.lines, func(l *line) bool { return l.priority == p && l.model == model })
	if i < 0 {
		i = len(c.lines)
		c.lines = append(c.lines, &line{priority: p, model: model, client: c})
	}
	l := c.lines[i]
	at, _ := slices.BinarySearchFunc(l.jobs, it, (*item).compare)
	l.jobs = slices.Insert(l.jobs, at, it)
}

// remove takes a waiting job out of its line.
func (c *client) remove(it *item) {
	for i, l := range c.lines {
		if at, found := slices.BinarySearchFunc(l.jobs, it, (*item).compare); found && l.jobs[at] == it {
			if l.jobs = slices.Delete(l.jobs, at, at+1); len(l.jobs) == 0 {
				c.lines = slices.Delete(c.lines, i, i+1)
			}
			return
		}
	}
}

// waiting returns the jobs of a priority in order.
func (c *client) waiting(p job.Priority) (jobs []*item) {
	for _, l := range c.lines {
		if l.priority == p {
			jobs = append(jobs, l.jobs...)
		}
	}
	slices.SortFunc(jobs, (*item).compare)
	return jobs
}

// heads returns the first jobs of at most n lines from one on.
func (s *schedule) heads(from, n int) (heads []*item) {
	for i := from; i < min(from+n, len(s.lines)); i++ {
		heads = append(heads, s.lines[i].jobs[0])
	}
	return heads
}

// placeBefore returns a place for a job right before another of its client and
// priority, or before all of them; errUnchanged if it stands there.
func (s *schedule) placeBefore(it *item, before job.ID) (place, error) {
	var others []*item
	if c := s.clients[it.Client]; c != nil {
		others = c.waiting(priorityOf(it.Record))
	}
	others = slices.DeleteFunc(others, func(o *item) bool { return o.ID == it.ID })
	i := slices.IndexFunc(others, func(o *item) bool { return o.ID == before })
	switch {
	case before == it.ID || before == "" && len(others) == 0:
		return place{}, errUnchanged
	case before == "":
		i = 0
	case i < 0:
		return place{}, ErrNotWaiting
	}
	for i > 0 && others[i-1].place() == others[i].place() {
		i-- // two nodes moved two jobs to one place at the same time: before both
	}
	at, next := it.place(), others[i].place()
	if i == 0 {
		if at.compare(next) < 0 {
			return place{}, errUnchanged
		}
		return place{Rank: next.Rank - 1}, nil
	}
	last := others[i-1].place()
	if last.compare(at) < 0 && at.compare(next) < 0 {
		return place{}, errUnchanged
	}
	if at, ok := last.between(next); ok {
		return at, nil
	}
	return place{}, ErrFull
}

func (c Consumer) takes(r job.Record) bool { return c.Takes == nil || c.Takes(r) }

func priorityOf(r job.Record) job.Priority { return cmp.Or(r.Request.Priority, job.Normal) }
