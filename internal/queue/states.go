package queue

import (
	"errors"
	"fmt"
	"time"

	"waggle/internal/job"
)

// The changes of a record's state. Each takes the record as it is and returns
// what it shall be, so that it can be made again when somebody else was faster.

// errUnchanged: the record says already what it shall.
var errUnchanged = errors.New("queue: nothing to change")

// started is the record when a node takes the job whose message has come to
// it. A job that was running until now was lost by a node: that is an attempt;
// one that was handed back was not.
func (s stored) started(node, lease, reply string) stored {
	if s.CancelRequested {
		return s.cancelled()
	}
	if s.State == job.Running {
		if s.Attempt >= attemptsLimit {
			return s.ended(job.Failed, job.Outcome{Kind: job.AttemptsExhausted, Message: fmt.Sprintf(
				"The server was interrupted %d times while it made this picture; it may be what stops it", s.Attempt)})
		}
		s.Attempt++
	}
	s.Attempt = max(s.Attempt, 1)
	s.State, s.Node, s.Started = job.Running, node, time.Now().UTC()
	s.Lease, s.Reply = lease, reply
	return s
}

// ended is the record of a job that has ended; it lets go of the pictures.
func (s stored) ended(state job.State, o job.Outcome) stored {
	s.State, s.Outcome, s.Finished = state, o, time.Now().UTC()
	s.Record.Request = s.Record.Request.WithoutPictures()
	s.PauseRequested, s.Reply = false, ""
	return s
}

// withoutInputs is the record of a job whose pictures are lost.
func (s stored) withoutInputs() stored {
	if s.State.Final() {
		return s
	}
	return s.ended(job.Failed, job.Outcome{Kind: job.Internal, Message: "The pictures sent with the job are lost on the server"})
}

func (s stored) cancelled() stored {
	return s.ended(job.Cancelled, job.Outcome{Kind: job.CancelledByUser, Message: job.CancelMessage})
}

// cancel ends a job that does not run and asks one that does to stop.
func (s stored) cancel() (stored, error) {
	switch {
	case s.State.Final():
		return s, ErrNotFound
	case s.State != job.Running:
		return s.cancelled(), nil
	case s.CancelRequested:
		return s, errUnchanged
	}
	s.CancelRequested = true
	return s, nil
}

// paused is the record of a job that is in no line. It names its last message
// still, which stands for nothing any more.
func (s stored) paused() stored {
	s.State, s.PauseRequested = job.Paused, false
	s.Moved, s.Reply = nil, ""
	return s
}

// inLine reports whether the job waits or runs: it has a message.
func (s stored) inLine() bool { return s.State == job.Queued || s.State == job.Running }

// pauses reports whether the job is paused or shall be.
func (s stored) pauses() bool {
	return s.State == job.Paused || !s.State.Final() && (s.PauseRequested || s.StopAt > 0)
}

// pause takes a job that waits out of its line and asks one that runs to pause.
func (s stored) pause() (stored, error) {
	switch {
	case s.State.Final():
		return s, ErrNotFound
	case s.State == job.Queued:
		return s.paused(), nil
	case s.State == job.Paused || s.PauseRequested:
		return s, errUnchanged
	}
	s.PauseRequested = true
	return s, nil
}

// resume lets a paused job wait again, and takes back a request to pause.
func (s stored) resume() (stored, error) {
	switch {
	case s.State.Final():
		return s, ErrNotFound
	case s.State == job.Paused:
		s.State, s.StopAt = job.Queued, 0
		return s, nil
	case !s.PauseRequested:
		return s, errUnchanged
	}
	s.PauseRequested = false
	return s, nil
}

// handedBack is the record of a job that its node does not run any more. One
// that was asked to stop ends.
func (s stored) handedBack() stored {
	if s.CancelRequested {
		return s.cancelled()
	}
	s.State = job.Queued
	return s
}

// laidDown is the record of a running job whose node pauses it. What was asked
// of it meanwhile counts.
func (s stored) laidDown() stored {
	if s.CancelRequested || !s.pauses() {
		return s.handedBack()
	}
	return s.paused()
}
