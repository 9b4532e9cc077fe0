// Package queue keeps jobs and their records from submission to expiry, and
// hands each to one node at a time.
//
// Queue is the interface everybody uses; JetStream keeps it on NATS, in this
// process or in a cluster, and Memory in fake time for tests. A job belongs to
// the queue and not to a connection: it waits, runs and stays readable whoever
// listens:
//
//   - a submission under an id is idempotent (same content, same job);
//   - a job that was taken is leased; the lease lasts until Finish, HandBack or
//     Pause and keeps itself alive, and a node that dies loses it;
//   - a paused job is in no line until it is resumed;
//   - records are read, listed and watched, never changed by a reader;
//   - a watcher sees the newest state of a record, not every state it had.
package queue

import (
	"context"
	"errors"

	"waggle/internal/job"
)

// Errors a caller decides on.
var (
	// ErrNotFound: no such job, or one that has ended and cannot be changed.
	ErrNotFound = errors.New("queue: job not found")
	// ErrFull: the queue takes no more jobs now; try again later.
	ErrFull = errors.New("queue: full")
	// ErrNoRoom: there is no room to keep the job.
	ErrNoRoom = errors.New("queue: no room to keep the job")
	// ErrUnavailable: the servers that keep the jobs do not answer; what was
	// asked for may have been done.
	ErrUnavailable = errors.New("queue: its servers do not answer")
	// ErrConflict: the id belongs to a job with other content.
	ErrConflict = errors.New("queue: id is taken by another job")
	// ErrUnfinished: only a job that has ended can be removed.
	ErrUnfinished = errors.New("queue: job has not ended")
	// ErrClosed: the queue was closed.
	ErrClosed = errors.New("queue: closed")
	// ErrNotWaiting: only a job that waits has a place in line.
	ErrNotWaiting = errors.New("queue: job does not wait in that line")
	// ErrLeaseLost: the job was given to somebody else, or has ended.
	ErrLeaseLost = errors.New("queue: lease lost")
)

// Queue keeps jobs and node records.
type Queue interface {
	// Submit adds a job and returns its record. A request without an id gets
	// one, and one without a seed gets a seed. Submitting an id again returns
	// the job it named, or ErrConflict if the content differs; ErrFull when
	// too much is waiting, ErrNoRoom when it cannot be kept.
	Submit(ctx context.Context, r job.Request) (job.Record, error)
	// Next waits for a job for this consumer and leases it: of the highest
	// priority, shared out between clients, the oldest. The job is then Running.
	Next(ctx context.Context, c Consumer) (Lease, error)
	// Take is Next without waiting: nil, nil when there is nothing for c now.
	Take(ctx context.Context, c Consumer) (Lease, error)
	// Waiting returns the job that Take would try first, false if there is
	// none. It asks nobody, and may be called at every step.
	Waiting(c Consumer) (job.Record, bool)
	// Cancel ends a waiting job at once and asks a running one to stop; the
	// record returned tells which. ErrNotFound for one unknown or ended.
	Cancel(ctx context.Context, id job.ID) (job.Record, error)
	// Pause takes a waiting job out of its line and asks a running one to pause;
	// the record returned tells which. Nothing changes for one that is paused.
	// ErrNotFound for one unknown or ended, ErrFull when too many are paused.
	Pause(ctx context.Context, id job.ID) (job.Record, error)
	// Resume puts a paused job at the end of its client's line, to run through,
	// and takes back what Pause asked of one that has not paused yet. Nothing
	// changes for others. ErrNotFound for one unknown or ended, ErrFull as Submit.
	Resume(ctx context.Context, id job.ID) (job.Record, error)
	// Move puts a waiting job right before another waiting job of the same
	// client and priority, or at the front of them if before is empty.
	// ErrNotFound if id is unknown, ErrNotWaiting if one of the two does not
	// wait in that line.
	Move(ctx context.Context, id, before job.ID) (job.Record, error)
	// Get returns a job's record, ErrNotFound if there is none. Pictures of the
	// request come with the lease alone.
	Get(ctx context.Context, id job.ID) (job.Record, error)
	// List returns records, newest first.
	List(ctx context.Context, f Filter) ([]job.Record, error)
	// Watch follows one job, or all when id is empty. Close the watcher.
	Watch(ctx context.Context, id job.ID) (Watcher, error)
	// Remove forgets an ended job; ErrUnfinished for any other.
	Remove(ctx context.Context, id job.ID) error

	// PutNode writes a node's record.
	PutNode(ctx context.Context, n job.Node) error
	// Nodes returns the records of all living nodes, ordered by id.
	Nodes(ctx context.Context) ([]job.Node, error)

	// Close wakes all who wait with ErrClosed and frees what the queue holds.
	Close() error
}

// Consumer is who takes jobs.
type Consumer struct {
	Node string // id of the node, written into the record
	// Takes says whether the node takes a job; nil takes every job. It is asked
	// about the first job of each client's line for a model: what stands behind
	// one that it refuses waits with it. It must not call the queue.
	Takes func(job.Record) bool
}

// Lease is the right to run one job. Exactly one of Finish, HandBack and Pause
// ends it; whichever comes first counts, after it all return ErrLeaseLost.
type Lease interface {
	// Record returns the job as it was when leased.
	Record() job.Record
	// Cancelled is closed when the job shall stop: it was cancelled, or the
	// lease is lost.
	Cancelled() <-chan struct{}
	// PauseAsked reports whether the job shall pause at its next step. It may
	// have been asked before the job was taken, and may be taken back.
	PauseAsked() bool
	// Finish ends the job in a final state with its outcome.
	Finish(ctx context.Context, s job.State, o job.Outcome) (job.Record, error)
	// HandBack puts the job at the head of its line again. It is not counted
	// as an attempt.
	HandBack(ctx context.Context) error
	// Pause takes the job out of its line until it is resumed. The record
	// returned tells what came of it: it is Cancelled if that was asked
	// meanwhile, and Queued, as handed back, if it was resumed meanwhile.
	Pause(ctx context.Context) (job.Record, error)
}

// Filter chooses records of a list.
type Filter struct {
	State  job.State // empty: any
	Before job.ID    // only jobs older than this one
	Limit  int       // at most so many; 0: all
}

// Watcher delivers changed records, each in its newest state. Slow readers
// miss states in between, never the last.
type Watcher interface {
	// Next waits for a change. The first calls deliver the records as they
	// are when a single job is watched.
	Next(ctx context.Context) (job.Record, error)
	Close()
}
