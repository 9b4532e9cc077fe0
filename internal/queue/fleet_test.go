package queue_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"waggle/internal/bus"
	"waggle/internal/events"
	"waggle/internal/job"
	"waggle/internal/natstest"
	"waggle/internal/queue"
	"waggle/internal/store"
)

const (
	fleetSteps = 20
	stepTime   = 50 * time.Millisecond
	// calmLimit is how long a fleet may take to end its jobs after a fault.
	calmLimit = 2 * time.Minute
)

// fleet is nodes on a cluster, each behind a network of its own.
type fleet struct {
	testing.TB
	*natstest.Cluster
	nodes []*node
	jobs  []job.ID

	mu    sync.Mutex
	ended map[job.ID]int      // how many ends were accepted
	taken map[job.ID][]taking // who took a job, in order
}

type taking struct {
	node string
	at   time.Time
}

// node draws nothing, step by step.
type node struct {
	*fleet
	name   string
	link   *natstest.Link
	bus    *bus.Bus
	queue  *queue.JetStream
	events *events.JetStream
	store  *store.Objects
	stop   context.CancelFunc
	done   sync.WaitGroup
}

func newFleet(t testing.TB, nodes int) *fleet {
	f := &fleet{TB: t, Cluster: natstest.StartCluster(t, 3), ended: map[job.ID]int{}, taken: map[job.ID][]taking{}}
	for i := range nodes {
		f.nodes = append(f.nodes, f.join(fmt.Sprint("node", i+1)))
	}
	return f
}

// join starts a node.
func (f *fleet) join(name string) *node {
	f.Helper()
	n := &node{fleet: f, name: name, link: f.Link()}
	log := slog.New(slog.NewTextHandler(f.Output(), nil)).With("node", name)
	ctx := f.Context()
	var err error
	if n.bus, err = bus.Open(bus.Options{URLs: n.link.URLs(), Name: name, Log: log}); err != nil {
		f.Fatal(err)
	}
	js, replicas := n.bus.JetStream, n.bus.Replicas
	if n.store, err = store.Open(ctx, js, store.Options{Replicas: replicas, Log: log}); err != nil {
		f.Fatal(err)
	}
	if n.events, err = events.Open(ctx, js, events.Options{Replicas: replicas, Log: log}); err != nil {
		f.Fatal(err)
	}
	if n.queue, err = queue.Open(ctx, js, queue.Options{Replicas: replicas, Log: log}); err != nil {
		f.Fatal(err)
	}
	if err := n.queue.PutNode(ctx, job.Node{ID: name, Status: job.Ready}); err != nil {
		f.Fatal(err)
	}
	work, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.done.Go(func() { n.work(work) })
	f.Cleanup(n.kill)
	return n
}

// kill ends a node without a word to anybody.
func (n *node) kill() {
	if n.stop == nil {
		return
	}
	n.queue.Close()
	n.stop()
	n.done.Wait()
	n.events.Close()
	n.store.Close()
	n.bus.Close()
	n.stop = nil
}

// work takes and draws jobs until it is stopped.
func (n *node) work(ctx context.Context) {
	for {
		l, err := n.queue.Next(ctx, queue.Consumer{Node: n.name})
		if err != nil {
			return
		}
		id := l.Record().ID
		n.mu.Lock()
		n.taken[id] = append(n.taken[id], taking{n.name, time.Now()})
		n.mu.Unlock()
		if err := n.draw(ctx, l); err != nil {
			n.Logf("%s leaves %s: %v", n.name, id, err)
		}
	}
}

var errStopped = errors.New("asked to stop")

// draw is what an engine does with a job.
func (n *node) draw(ctx context.Context, l queue.Lease) error {
	id := l.Record().ID
	ctx, cancel := context.WithTimeout(ctx, time.Hour) // no answer may be waited for so long
	defer cancel()
	for step := 1; step <= fleetSteps; step++ {
		select {
		case <-time.After(stepTime):
		case <-l.Cancelled():
			return errStopped
		case <-ctx.Done():
			return ctx.Err()
		}
		_ = n.events.ShowPreview(ctx, id, job.Preview{Step: step, Total: fleetSteps}) // the next one will do
		if err := n.events.Publish(ctx, id, job.StepEvent(step, fleetSteps)); err != nil {
			n.Logf("%s, %s step %d: %v", n.name, id, step, err)
		}
	}
	if err := n.store.Put(ctx, id, 0, picture(id)); err != nil {
		return err
	}
	record, err := l.Finish(ctx, job.Complete, job.Outcome{})
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.ended[id]++
	n.mu.Unlock()
	last, _ := record.EndEvent()
	return n.events.Publish(ctx, id, last)
}

func picture(id job.ID) []byte { return []byte("the picture of " + id) }

// submit puts jobs in line at one node after the other, again and again under
// the same id where it is not answered.
func (f *fleet) submit(name string, count int) {
	f.Helper()
	for i := range count {
		r := job.NewRequest(job.Transform, "m", "a lighthouse")
		r.ID, r.InputImage = job.ID(fmt.Sprintf("%s-%d", name, i)), picture("input")
		at := f.nodes[i%len(f.nodes)]
		f.try("submit "+string(r.ID), func(ctx context.Context) error {
			_, err := at.queue.Submit(ctx, r)
			return err
		})
		f.jobs = append(f.jobs, r.ID)
	}
}

// try does something until it succeeds; it must within calmLimit.
func (f *fleet) try(what string, do func(context.Context) error) {
	f.Helper()
	for deadline := time.Now().Add(calmLimit); ; time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(f.Context(), 30*time.Second)
		err := do(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			f.Fatalf("%s: %v", what, err)
		}
	}
}

// running waits until a node runs a job, and returns it.
func (f *fleet) running(n *node) (id job.ID) {
	f.Helper()
	f.try(n.name+" runs a job", func(context.Context) error {
		list, err := n.queue.List(f.Context(), queue.Filter{State: job.Running})
		for _, r := range list {
			if r.Node == n.name {
				id = r.ID
				return nil
			}
		}
		return errors.Join(err, errors.New("none"))
	})
	return id
}

// check waits until all jobs have ended and checks every trace of each.
func (f *fleet) check() {
	f.Helper()
	began := time.Now()
	for _, n := range f.nodes {
		if n.stop == nil {
			continue
		}
		for _, id := range f.jobs {
			f.try(fmt.Sprintf("%s knows of the end of %s", n.name, id), func(ctx context.Context) error {
				return n.knowsEnd(ctx, id)
			})
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range f.jobs {
		if f.ended[id] > 1 {
			f.Errorf("job %s was ended %d times", id, f.ended[id])
		}
	}
	f.jobs = nil
	f.Logf("all ended, and every node knew, %v after the fault was over", time.Since(began).Round(time.Millisecond))
}

// knowsEnd checks what a node knows of a job that must have been drawn.
func (n *node) knowsEnd(ctx context.Context, id job.ID) error {
	r, err := n.queue.Get(ctx, id)
	if err != nil {
		return err
	}
	if r.State != job.Complete {
		return fmt.Errorf("it is %s on %s, attempt %d, %v", r.State, r.Node, r.Attempt, r.Outcome)
	}
	list, err := n.queue.List(ctx, queue.Filter{State: job.Complete})
	known := false
	for _, l := range list {
		known = known || l.ID == id
	}
	if err != nil || !known {
		return fmt.Errorf("it is not in the list of those complete; %v", err)
	}
	if file, err := n.store.Get(ctx, id, 0); err != nil || string(file) != string(picture(id)) {
		return fmt.Errorf("its picture is %q, %v", file, err)
	}
	return n.readAll(ctx, id)
}

// readAll reads a job's events from the first to the end.
func (n *node) readAll(ctx context.Context, id job.ID) error {
	r, err := n.events.Read(ctx, id, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for want := 1; ; want++ {
		e, err := r.Next(ctx)
		if errors.Is(err, events.ErrEnd) && want == fleetSteps+2 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("event %d: %w", want, err)
		}
		if e.Number != uint64(want) || e.Final() != (want == fleetSteps+1) || !e.Final() && e.Step != want {
			n.Errorf("%s: event %d is %+v", id, want, e)
			return nil
		}
	}
}
