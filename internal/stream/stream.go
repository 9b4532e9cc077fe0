// Package stream tells readers what becomes of a job in the queue: its events
// with the pictures that the event log leaves out, in order, up to one end. It
// is what all who serve event streams of such jobs have in common.
//
// Files: stream.go follows a job, wire.go and pictures.go put its events
// together, once for all readers; inputs.go looks at pictures that come with
// a job.
package stream

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"waggle/internal/events"
	"waggle/internal/job"
	"waggle/internal/queue"
	"waggle/internal/sse"
	"waggle/internal/store"
)

// Jobs tells of the jobs of a queue. All members are needed; it is used by
// pointer, for what it shares between readers.
type Jobs struct {
	Queue     queue.Queue
	Events    events.Log
	Store     store.Store
	KeepAlive time.Duration // silence before a comment line
	Log       *slog.Logger

	// PreviewBytes counts what previews had that readers took.
	PreviewBytes atomic.Int64

	previews previewCache
	wires    wireCache

	once     sync.Once     // makes decoding
	decoding chan struct{} // one token a picture that is decoded
}

// Reader delivers the events of one job in order.
type Reader = events.Reader

// Open begins to follow a job behind the event numbered after; 0 is from the
// first. Close the reader.
func (s *Jobs) Open(ctx context.Context, r job.Record, after uint64) (Reader, error) {
	if err := s.Settle(ctx, r); err != nil { // it may have ended with a process that could not say so
		s.Log.Warn("end a stream", "job", r.ID, "error", err)
	}
	return s.Events.Read(ctx, r.ID, after)
}

// Relay writes events up to the last one, which it returns; the end marker is
// left to the caller. An error means that ctx, the log or whoever reads the
// stream has gone before the end.
func (s *Jobs) Relay(ctx context.Context, out *sse.Writer, reader Reader, r job.Record) (last job.Event, err error) {
	for {
		e, err := s.Next(ctx, reader)
		switch {
		case errors.Is(err, ErrSilence):
			if err := out.Comment(); err != nil {
				return job.Event{}, err
			}
			s.CheckEnd(ctx, r.ID)
			continue
		case errors.Is(err, events.ErrEnd): // asked for what lies behind the last event
			return s.endOf(ctx, r.ID), nil
		case err != nil:
			return job.Event{}, err
		}
		w := s.Wire(ctx, r, e)
		if err := out.Event(sse.Event{Name: string(w.Type), ID: strconv.FormatUint(w.Number, 10), Data: w.Data}); err != nil {
			return job.Event{}, err
		}
		if w.Type == job.PreviewEvent {
			s.PreviewBytes.Add(int64(len(w.Data)))
		}
		if w.Final() {
			return w.Event, nil
		}
	}
}

// ErrSilence: nothing has happened for as long as a keep-alive may take.
var ErrSilence = errors.New("stream: nothing has happened")

// Next waits for an event, or ErrSilence.
func (s *Jobs) Next(ctx context.Context, reader Reader) (job.Event, error) {
	limited, cancel := context.WithTimeout(ctx, s.KeepAlive)
	defer cancel()
	e, err := reader.Next(limited)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = ErrSilence
	}
	return e, err
}

// Cancel ends a waiting or paused job, or asks the node that runs it to.
// queue.ErrNotFound for one unknown or ended.
func (s *Jobs) Cancel(ctx context.Context, id job.ID) error {
	record, err := s.Queue.Cancel(ctx, id)
	if err != nil {
		return err
	}
	return s.Settle(ctx, record)
}

// Settle sees to it that the stream of a job that has ended says so: nobody
// else does for a job that never ran. It does no harm to do it twice.
func (s *Jobs) Settle(ctx context.Context, r job.Record) error {
	last, ended := r.EndEvent()
	if !ended {
		return nil
	}
	return s.Events.Publish(ctx, r.ID, last)
}

// CheckEnd mends a stream whose job has ended without its last event, as can
// happen when a process dies between the two.
func (s *Jobs) CheckEnd(ctx context.Context, id job.ID) {
	if record, err := s.Queue.Get(ctx, id); err == nil {
		if err := s.Settle(ctx, record); err != nil {
			s.Log.Warn("end a stream", "job", id, "error", err)
		}
	}
}

func (s *Jobs) endOf(ctx context.Context, id job.ID) job.Event {
	record, err := s.Queue.Get(ctx, id)
	if err != nil {
		return job.Event{Type: job.ErrorEvent, Message: "the job has expired"}
	}
	e, _ := record.EndEvent()
	return e
}

// Report is a record as clients see it. How far a waiting job has come is not
// looked up: few have begun.
func (s *Jobs) Report(ctx context.Context, r job.Record) job.Report {
	shown := job.NewReport(r)
	if r.State != job.Running && r.State != job.Paused {
		return shown
	}
	var err error
	if shown.Step, shown.Total, err = s.Events.Reached(ctx, r.ID); err != nil {
		s.Log.Warn("find a job's last step", "job", r.ID, "error", err)
	}
	return shown
}

// Nodes are those who take jobs from the queue, with what they have to do.
func (s *Jobs) Nodes(ctx context.Context) ([]job.NodeReport, error) {
	nodes, err := s.Queue.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	waiting, err := s.Queue.List(ctx, queue.Filter{State: job.Queued})
	if err != nil {
		return nil, err
	}
	return job.ReportNodes(nodes, waiting), nil
}
