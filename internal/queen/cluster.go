package queen

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"waggle/internal/job"
	"waggle/internal/queue"
	"waggle/internal/stream"
)

// Cluster is the way to a queue that nodes share. Its jobs belong to the queue:
// any queen and any server on it can show and cancel them.
type Cluster struct {
	Jobs *stream.Jobs
	// Reachable says why the queue cannot be asked now.
	Reachable func() error
	// Close closes what was opened.
	Close func()
}

// away says why there is no cluster to ask.
type away struct{ error }

func (e away) Error() string { return "the cluster cannot be asked: " + e.error.Error() }

func (e away) Unwrap() error { return e.error }

// membership is how a queen stands with her cluster.
type membership struct {
	mu      sync.Mutex
	cluster *Cluster
	trouble error // why it is not open
}

var errJoining = errors.New("it is being joined")

func (m *membership) set(c *Cluster, trouble error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cluster, m.trouble = c, trouble
}

// shared returns the cluster, also one that cannot be asked now: what is known
// of it can be shown. The error says why it cannot be asked; nil and nil if
// there is none.
func (q *Queen) shared() (*Cluster, error) {
	if q.Cluster == nil {
		return nil, nil
	}
	m := &q.member
	m.mu.Lock()
	c, err := m.cluster, m.trouble
	m.mu.Unlock()
	if c != nil {
		err = c.Reachable()
	}
	if err != nil {
		return c, away{err}
	}
	return c, nil
}

// join opens the cluster, as often as it takes, and closes it with the queen.
func (q *Queen) join() {
	for {
		c, err := q.Cluster(q.ctx)
		if err == nil {
			q.member.set(c, nil)
			q.Log.Info("on the cluster")
			<-q.ctx.Done()
			c.Close()
			return
		}
		if q.ctx.Err() != nil {
			return
		}
		q.member.set(nil, err)
		q.Log.Warn("not on the cluster yet; trying again", "error", err)
		select {
		case <-time.After(q.timing.reconnect):
		case <-q.ctx.Done():
			return
		}
	}
}

// submit puts an operation in line under its id.
func (c *Cluster) submit(ctx context.Context, s submission) (job.Record, error) {
	r, err := job.Parse(s.body)
	if err != nil {
		return job.Record{}, err
	}
	if r.Webhook != nil {
		return job.Record{}, job.Errorf(job.InvalidInput, "Invalid input: webhook.url: a queen sends no webhooks; leave it out, or submit to a server that does")
	}
	r.ID, r.Client = s.id, s.client
	nodes, err := c.able(ctx, r.Model)
	if err != nil {
		return job.Record{}, err
	}
	if len(nodes) > 0 { // else the job is there already, or none has its model any more
		if err := r.Suit(nodes[0]); err != nil {
			return job.Record{}, err
		}
		m, _ := nodes[0].Model(r.Model)
		if err := r.Within(m.Limits); err != nil {
			return job.Record{}, err
		}
	}
	if err := c.Jobs.Decodable(ctx, r); err != nil {
		return job.Record{}, err
	}
	return c.Jobs.Queue.Submit(ctx, r)
}

// able are the nodes that take jobs for a model.
func (c *Cluster) able(ctx context.Context, model string) (list []job.Node, err error) {
	nodes, err := c.Jobs.Queue.Nodes(ctx)
	for _, n := range nodes {
		if n.Status.Available() && n.Has(model) {
			list = append(list, n)
		}
	}
	return list, err
}

// find returns the cluster with the record of one of its jobs;
// queue.ErrNotFound if it has none of that id.
func (q *Queen) find(ctx context.Context, id job.ID) (*Cluster, job.Record, error) {
	c, err := q.shared()
	if err != nil {
		return nil, job.Record{}, err
	}
	if c == nil {
		return nil, job.Record{}, queue.ErrNotFound
	}
	r, err := c.Jobs.Queue.Get(ctx, id)
	if errors.Is(err, queue.ErrUnavailable) {
		err = away{err}
	}
	if err != nil {
		return nil, r, fmt.Errorf("job %s: %w", id, err)
	}
	return c, r, nil
}
