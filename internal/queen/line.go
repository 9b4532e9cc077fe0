package queen

import (
	"context"
	"errors"
	"slices"

	"waggle/internal/job"
	"waggle/internal/queue"
)

// line is the queue of the cluster as the place for a job, beside workers.
type line struct {
	nodes int // that have the model and take jobs
	idle  int // of them, those for whom nothing waits
	jobs  int // that wait for them or run there
}

// before reports whether a job is better off in line than with a worker, if
// there is one: by what decides between workers too. Of equals it is the line,
// where the job is kept.
func (l line) before(w Worker, found bool) bool {
	if l.nodes == 0 || !found {
		return l.nodes > 0
	}
	if idle := busy(w) == 0; idle != (l.idle > 0) {
		return !idle
	}
	return l.jobs <= w.Jobs*l.nodes
}

// line returns how the queue is for jobs with a model.
func (c *Cluster) line(ctx context.Context, model string) (l line, err error) {
	nodes, err := c.able(ctx, model)
	if err != nil || len(nodes) == 0 {
		return line{}, err
	}
	l.nodes = len(nodes)
	for _, n := range nodes {
		if n.Status == job.Ready {
			l.idle++
		}
	}
	waiting, err := c.Jobs.Queue.List(ctx, queue.Filter{State: job.Queued})
	if err != nil {
		return line{}, err
	}
	running, err := c.Jobs.Queue.List(ctx, queue.Filter{State: job.Running})
	for _, r := range waiting {
		if slices.ContainsFunc(nodes, func(n job.Node) bool { return n.Has(r.Request.Model) }) {
			l.jobs++
		}
	}
	l.idle = max(0, l.idle-l.jobs)
	for _, r := range running {
		if slices.ContainsFunc(nodes, func(n job.Node) bool { return n.ID == r.Node }) {
			l.jobs++
		}
	}
	return l, err
}

// lineFor returns the cluster if an operation is better put in line there than
// given to one of the workers that were not tried; nil if not.
func (q *Queen) lineFor(ctx context.Context, op operation, tried map[string]bool) *Cluster {
	if !op.image() || op.workerID != "" || q.fleet.narrows(op.wanted) {
		return nil
	}
	c, err := q.shared()
	if c == nil || err != nil {
		return nil
	}
	l, err := c.line(ctx, op.model)
	if err != nil {
		q.Log.Warn("look at the cluster's queue", "error", err)
		return nil
	}
	if w, found := q.fleet.best(op.wanted, tried); !l.before(w, found) {
		return nil
	}
	return c
}

// doubles are the workers, by URL, that are nodes of the cluster too, as they
// report to the queen besides: those with a model, or all if it is empty. They
// have their jobs from the queue.
func (q *Queen) doubles(ctx context.Context, model string) map[string]bool {
	list := map[string]bool{}
	c, err := q.shared()
	if c == nil || err != nil {
		return list
	}
	nodes, _ := c.Jobs.Queue.Nodes(ctx) // none, then
	_, workers := q.fleet.snapshot()
	for _, w := range workers {
		list[w.URL] = slices.ContainsFunc(nodes, func(n job.Node) bool {
			return slices.Contains(w.IDs, n.ID) && (model == "" || n.Has(model))
		})
	}
	return list
}

// workers are those that are not nodes of the cluster too, by URL.
func (q *Queen) workers(ctx context.Context) []Worker {
	doubles := q.doubles(ctx, "")
	_, workers := q.fleet.snapshot()
	return slices.DeleteFunc(workers, func(w Worker) bool { return doubles[w.URL] })
}

var (
	errNotForLine = errors.New("not for the queue of the cluster")
	errPassed     = errors.New("passed on to the queue of the cluster")
)

// putInLine puts an operation that has just come into the queue of the cluster;
// errNotForLine if its place is on the shelf, also because its stream shall say
// what is wrong with it.
func (q *Queen) putInLine(ctx context.Context, s submission) (job.ID, error) {
	op, err := parseOperation(s.body)
	if err != nil {
		return "", errNotForLine
	}
	doubles := q.doubles(ctx, op.model)
	c, known := q.lineFor(ctx, op, doubles), false
	if s.id != "" {
		if of, _, err := q.find(ctx, s.id); err == nil {
			c, known = of, true
		}
	}
	if c == nil {
		return "", errNotForLine
	}
	if s.id == "" {
		s.id = job.NewID()
	}
	r, err := c.submit(ctx, s)
	_, elsewhere := q.fleet.best(op.wanted, doubles)
	switch {
	case err == nil || errors.Is(err, queue.ErrConflict):
		return r.ID, err
	case known && job.KindOf(err) == job.InvalidInput:
		return "", queue.ErrConflict
	case job.KindOf(err) == job.InvalidInput, elsewhere:
		return "", errNotForLine
	}
	return "", err
}

// passOn puts a job in line whose stream has been opened here. It returns
// errPassed if it is there.
func (q *Queen) passOn(ctx context.Context, c *Cluster, t *task) error {
	body := q.shelf.bodyOf(t)
	if body == nil {
		return errCancelled
	}
	r, err := c.submit(ctx, submission{id: t.ID, body: body, client: t.client})
	switch {
	case errors.Is(err, queue.ErrConflict):
		return job.Errorf(job.InvalidInput, "Scheduling failed: the id belongs to a job with other content in the cluster")
	case err != nil && job.KindOf(err) != job.InvalidInput:
		return job.Errorf(job.Internal, "Scheduling failed: the cluster's queue does not take the job: %w", err)
	case err != nil:
		return err
	case q.shelf.pass(t):
		return errPassed
	}
	return errors.Join(errCancelled, c.Jobs.Cancel(context.WithoutCancel(ctx), r.ID)) // meanwhile
}
