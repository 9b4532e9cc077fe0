// Package events carries what a job reports to everybody who listens.
//
// Each job has a stream of events, numbered from 1, kept and replayable from
// any number; and a preview, of which only the newest counts. Readers pull at
// their own pace: none ever makes the writer wait, and none misses an event.
package events

import (
	"context"
	"errors"

	"waggle/internal/job"
)

// Errors of this package.
var (
	// ErrEnd: the job's last event has been delivered.
	ErrEnd = errors.New("events: end of stream")
	// ErrClosed: the log was closed.
	ErrClosed = errors.New("events: closed")
)

// Log keeps the events and previews of all jobs.
type Log interface {
	// Publish appends an event. An event of a step already reported, one of the
	// state that was told last (at first: queued), and any after the last one
	// is dropped: a job that is run again from an earlier step does not repeat
	// itself.
	Publish(ctx context.Context, id job.ID, e job.Event) error
	// ShowPreview offers the latent after a step. To be found with its event
	// it must be shown before the event is published. It takes ownership.
	ShowPreview(ctx context.Context, id job.ID, p job.Preview) error

	// Read opens the stream of a job behind the event numbered after; 0 reads
	// from the first. A reader is told of previews older than the newest one
	// at this moment as plain progress. Close the reader.
	Read(ctx context.Context, id job.ID, after uint64) (Reader, error)
	// Reached returns the last step reported, and of how many; 0 if none was.
	Reached(ctx context.Context, id job.ID) (step, total int, err error)
	// Preview returns what was shown for a step, if it is still kept. The
	// newest one is, and some before it while the job runs.
	Preview(ctx context.Context, id job.ID, step int) (job.Preview, bool)
	// Previews follows the previews of a job. Close the reader.
	Previews(ctx context.Context, id job.ID) (PreviewReader, error)

	// Forget drops all of a job.
	Forget(ctx context.Context, id job.ID) error
	// Close wakes all readers with ErrClosed.
	Close() error
}

// Reader delivers the events of one job in order.
type Reader interface {
	// Next waits for the next event; ErrEnd after the last one.
	Next(ctx context.Context) (job.Event, error)
	Close()
}

// PreviewReader delivers the newest preview of one job.
type PreviewReader interface {
	// Next waits for a preview newer than the one it returned last; ErrEnd
	// when the job has ended and there will be none.
	Next(ctx context.Context) (job.Preview, error)
	Close()
}
