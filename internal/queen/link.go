package queen

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"waggle/internal/job"
	"waggle/internal/sse"
)

// A stream that broke is opened again after rejoinFirst, then after twice as
// long each time, up to rejoinMost.
const (
	rejoinFirst = 250 * time.Millisecond
	rejoinMost  = 5 * time.Second
)

// link is the stream of a worker's job. When it breaks it is opened again, as
// after a restart of the worker, behind the event that came last.
type link struct {
	queen *Queen
	ctx   context.Context // of the run, as long as the link
	url   string
	tell  func(action, format string, args ...any)

	events *sse.Reader
	close  func()

	last     string    // id of the last event that has one
	unmarked bool      // an event came that has none: it could not be told from those that come again
	broken   time.Time // since when nothing new has come; zero while it does
	wait     time.Duration
}

// open opens the stream behind the event that came last.
func (l *link) open() error {
	events, closeStream, err := l.queen.openStream(l.ctx, request{
		url: l.url, token: l.queen.WorkerToken, after: l.last, quiet: l.queen.timing.jobQuiet, limit: l.queen.limits.eventBytes,
	})
	if err == nil {
		l.events, l.close = events, closeStream
	}
	return err
}

// begin opens the stream for the first time. A worker that has the job and is
// away is waited for: another would do the job twice.
func (l *link) begin() error {
	err := l.open()
	var unreached dialError
	switch {
	case errors.As(err, &unreached):
		return l.reopen(unreached.error)
	case err != nil:
		return refused(err)
	}
	return nil
}

// next returns the next event, each once, however often the stream breaks.
func (l *link) next() (sse.Event, error) {
	for {
		e, err := l.events.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the worker ended it before the job was done")
		}
		if err != nil {
			if err := l.reopen(err); err != nil {
				return sse.Event{}, err
			}
			continue
		}
		if l.isNew(e) {
			l.broken, l.wait = time.Time{}, 0
			return e, nil
		}
	}
}

// isNew notes an event and reports whether it has not come before.
func (l *link) isNew(e sse.Event) bool {
	if e.ID == "" {
		l.unmarked = true
		return true
	}
	number, err := strconv.ParseUint(e.ID, 10, 64)
	last, lastErr := strconv.ParseUint(l.last, 10, 64)
	if err == nil && lastErr == nil && number <= last {
		return false
	}
	l.last = e.ID
	return true
}

// reopen tries to go on behind a break, for a while. The error is the job's.
func (l *link) reopen(broke error) error {
	failure := job.Errorf(job.Internal, "Error reading stream: %w", broke)
	var large *sse.TooLargeError
	if l.unmarked || errors.As(broke, &large) || l.ctx.Err() != nil {
		return failure
	}
	l.close()
	if l.broken.IsZero() {
		l.broken, l.wait = time.Now(), rejoinFirst
		l.tell("rejoin", "The worker's stream broke (%s); trying for %v to go on", plain(broke.Error(), 200), l.queen.timing.rejoin)
	}
	for time.Since(l.broken) < l.queen.timing.rejoin {
		select {
		case <-time.After(l.wait):
		case <-l.ctx.Done():
			return l.ctx.Err()
		}
		l.wait = min(2*l.wait, rejoinMost)
		err := l.open()
		if err == nil {
			l.tell("streaming", "Relaying the worker's events again")
			return nil
		}
		var answer statusError
		if errors.As(err, &answer) && answer.status < http.StatusInternalServerError { // it does not know the job, or lets nobody read it twice
			return failure
		}
	}
	return failure
}
