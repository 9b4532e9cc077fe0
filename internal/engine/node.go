package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"waggle/internal/job"
	"waggle/internal/queue"
)

// Node is the record of this process in the queue, shared by its engines: each
// has a seat and tells there how it is; together they make what others read.
type Node struct {
	queue queue.Queue
	log   *slog.Logger
	dirty chan struct{} // the record shall be written at once

	mu       sync.Mutex
	record   job.Node
	fallback string          // the model of jobs that name none that is known
	present  map[string]bool // models that are there, usable or not
	others   map[string]bool // models of other nodes
	seats    []*seat
	watch    func(job.Node) // may be nil
	stale    bool           // the load in the record that was written is not what it is
}

// seat is one engine's part of the record.
type seat struct {
	node    *Node
	adapter string // its name; what was asked for until it is open
	status  job.Status
	reason  string
	running int // jobs
	hold
}

// othersEvery is how often it is looked at what other nodes have, and the
// record is written for the load alone.
const othersEvery = time.Second

// NewNode returns a node whose engines are still to come. fallback is the model
// that jobs run on whose own no node has.
func NewNode(q queue.Queue, record job.Node, fallback string, log *slog.Logger) *Node {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	record.Since = time.Now().UTC()
	record.Samplers, record.Schedules = Choices()
	return &Node{queue: q, log: log, dirty: make(chan struct{}, 1), record: record, fallback: fallback}
}

// Watch has the record told to a function whenever it has changed, before it is
// written. The function must not wait.
func (n *Node) Watch(tell func(job.Node)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.watch = tell
}

// SetModels says which models can be used, the fallback first, and the names
// of all that are there, those that have not been looked into and broken ones
// too: a job that names one of them is drawn with it or not at all.
func (n *Node) SetModels(list []job.ModelInfo, present map[string]bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.record.Models, n.present = slices.Clone(list), present
	n.changed()
}

// describe says what a loaded model is that SetModels did not name.
func (n *Node) describe(name string, m job.ModelInfo) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if m.Name = name; n.has(name) {
		return
	}
	if name == n.fallback {
		n.record.Models = append([]job.ModelInfo{m}, n.record.Models...)
	} else {
		n.record.Models = append(slices.Clone(n.record.Models), m)
	}
	n.changed()
}

// join gives a new engine its seat.
func (n *Node) join(adapter string) *seat {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := &seat{node: n, adapter: adapter, status: job.Starting}
	n.seats = append(n.seats, s)
	return s
}

// tell says how an engine is. One that stops does not start again.
func (s *seat) tell(status job.Status, reason string) {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	if s.status == job.Stopping && status != job.Stopped || s.status == status && s.reason == reason {
		return
	}
	s.status, s.reason = status, reason
	s.node.changed()
}

// name says what the adapter is called.
func (s *seat) name(adapter string) {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	s.adapter = adapter
	s.node.changed()
}

// holds says what is on the device. It is called at every step.
func (s *seat) holds(h hold) {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	same := slices.Equal(s.names, h.names)
	if s.hold = h; !same {
		s.node.changed()
	}
}

// draws says how many jobs are under way. It is called at every step.
func (s *seat) draws(jobs int) {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	s.node.stale = s.node.stale || s.running != jobs
	s.running = jobs
}

// idleBeside reports whether another engine of this process waits for work,
// and will take what is in line.
func (s *seat) idleBeside() bool {
	return s.beside(func(o *seat) bool { return o.status == job.Ready })
}

// usableBeside reports whether another engine of this process can work, or soon
// will.
func (s *seat) usableBeside() bool {
	return s.beside(func(o *seat) bool { return o.status.Available() || o.status == job.Starting && o.reason == "" })
}

func (s *seat) beside(is func(*seat) bool) bool {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	return slices.ContainsFunc(s.node.seats, func(o *seat) bool { return o != s && is(o) })
}

// model is what a job runs on that names a model: that one, or the fallback,
// which has a second name in the record: the operator's.
func (n *Node) model(name string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if name != n.record.ModelID && (n.has(name) || n.present[name]) {
		return name
	}
	return n.fallback
}

// has is called with mu held.
func (n *Node) has(name string) bool {
	return slices.ContainsFunc(n.record.Models, func(m job.ModelInfo) bool { return m.Name == name })
}

// takes reports whether a job is for this node: its model is here, or nowhere.
// The queue asks it.
func (n *Node) takes(r job.Record) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	name := r.Request.Model
	return name == n.record.ModelID || n.has(name) || !n.others[name]
}

// lookAround learns the models of other nodes that take jobs.
func (n *Node) lookAround(ctx context.Context) {
	nodes, err := n.queue.Nodes(ctx)
	if err != nil {
		return // what was known will do
	}
	models := map[string]bool{}
	for _, node := range nodes {
		if node.ID == n.record.ID || !node.Status.Available() {
			continue
		}
		models[node.ModelID] = true
		for _, m := range node.Models {
			models[m.Name] = true
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.others = models
}

// changed has the record written. Called with mu held.
func (n *Node) changed() {
	select {
	case n.dirty <- struct{}{}:
	default:
	}
}

// keep writes the record whenever it has changed and looks around, until ctx
// ends; then it writes once more, within limit.
func (n *Node) keep(ctx context.Context, limit time.Duration) {
	tick := time.NewTicker(othersEvery)
	defer tick.Stop()
	for {
		select {
		case <-n.dirty:
			n.write(ctx)
		case <-tick.C:
			if n.isStale() {
				n.write(ctx)
			}
			n.lookAround(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
			defer cancel()
			n.write(last)
			return
		}
	}
}

func (n *Node) isStale() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stale
}

func (n *Node) write(ctx context.Context) {
	n.mu.Lock()
	record, tell := n.compose(), n.watch
	n.stale = false
	n.mu.Unlock()
	if tell != nil {
		tell(record)
	}
	if err := n.queue.PutNode(ctx, record); err != nil && ctx.Err() == nil && !errors.Is(err, queue.ErrClosed) {
		n.log.Error("write the node's record", "error", err)
	}
}

// compose makes the record out of what the engines told. Called with mu held.
func (n *Node) compose() job.Node {
	r := n.record
	r.Status = n.status()
	r.Models = slices.Clone(r.Models)
	var names, reasons []string
	for _, s := range n.seats {
		names = append(names, s.adapter)
		r.Load.Running += s.running
		r.Devices = append(r.Devices, job.Device{Name: s.adapter, Status: s.status, Reason: s.reason})
		if s.reason != "" {
			reasons = append(reasons, s.because(len(n.seats)))
		}
		for i, m := range r.Models {
			r.Models[i].Loaded = m.Loaded || slices.Contains(s.names, m.Name)
		}
	}
	r.Device, r.Reason = strings.Join(names, ", "), strings.Join(reasons, "; ")
	return r
}

// because names the adapter, where there are several.
func (s *seat) because(seats int) string {
	if seats == 1 {
		return s.reason
	}
	return fmt.Sprintf("adapter %s: %s", s.adapter, s.reason)
}

// status is the best of the engines': ready if one waits for work.
func (n *Node) status() job.Status {
	for _, status := range []job.Status{job.Ready, job.Busy, job.Starting, job.Stopping} {
		if slices.ContainsFunc(n.seats, func(s *seat) bool { return s.status == status }) {
			return status
		}
	}
	return job.Stopped
}
