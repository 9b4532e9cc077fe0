package queue

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"waggle/internal/job"
)

// subjects of the stream of jobs: priority, model and client follow.
const jobSubjects = "waggle.jobs"

// lane is the line of one client's jobs for one model at one priority: a
// subject of the stream of jobs, with a durable consumer that all nodes share.
// Model and client are digests, as subjects cannot hold every text.
type lane struct {
	priority      job.Priority
	model, client string
}

func laneOf(s stored) lane {
	return lane{cmp.Or(s.Record.Request.Priority, job.Normal), token(s.Record.Request.Model), token(s.Client)}
}

func (l lane) subject() string  { return jobSubjects + "." + l.key(".") }
func (l lane) consumer() string { return l.key("-") }

func (l lane) key(between string) string {
	return string(l.priority) + between + l.model + between + l.client
}

func token(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:6])
}

var ranks = map[job.Priority]int{job.High: 0, job.Normal: 1, job.Low: 2}

// lanes returns where the next job may be taken from, the best first: a
// higher priority before a lower one; then the client with the fewest running
// jobs; then the one that has waited longest since a job of its began; and of
// one client's lanes that with the oldest job. Jobs of models that c does not
// have are left out. Only the first of a lane can be taken, so that several
// nodes that choose the same lane get jobs in order.
func (x *index) lanes(c Consumer) []lane {
	x.mu.Lock()
	defer x.mu.Unlock()
	heads := map[lane]*item{}
	for _, it := range x.waiting {
		if !c.takes(it.Record.Request.Model) {
			continue
		}
		l := laneOf(it.stored)
		if head, ok := heads[l]; !ok || it.Sequence < head.Sequence {
			heads[l] = it
		}
	}
	list := make([]lane, 0, len(heads))
	for l := range heads {
		list = append(list, l)
	}
	slices.SortFunc(list, func(a, b lane) int { return x.before(heads[a], heads[b]) })
	return list
}

func (x *index) before(a, b *item) int {
	p, q := x.served[a.Client], x.served[b.Client]
	return cmp.Or(
		cmp.Compare(ranks[a.Record.Request.Priority], ranks[b.Record.Request.Priority]),
		cmp.Compare(p.running, q.running),
		p.last.Compare(q.last),
		cmp.Compare(a.Sequence, b.Sequence),
	)
}

// abandoned returns the lanes of jobs that run somewhere else: should their
// node have died, their messages come again.
func (x *index) abandoned(c Consumer, held func(job.ID) bool) (list []lane) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, it := range x.running {
		if c.takes(it.Record.Request.Model) && !held(it.ID) && !slices.Contains(list, laneOf(it.stored)) {
			list = append(list, laneOf(it.stored))
		}
	}
	return list
}

func (c Consumer) takes(model string) bool {
	return len(c.Models) == 0 || slices.Contains(c.Models, model)
}
