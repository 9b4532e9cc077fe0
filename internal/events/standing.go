package events

import "waggle/internal/job"

// standing is how far a job's stream has come. It decides what a further event
// has to say; the stream keeps it beside each event.
type standing struct {
	Step  int       `json:"step,omitempty"` // of the last step event
	Total int       `json:"total,omitempty"`
	State job.State `json:"state,omitempty"` // of the last state event; queued if there was none
	ended bool
}

// after returns the standing behind an event, and whether the event is news: a
// step beyond the last, another state, or the first end.
func (s standing) after(e job.Event) (next standing, news bool) {
	switch next = s; {
	case s.ended:
	case e.Final():
		next.ended = true
	case e.Type == job.ChangeEvent && e.State != s.state():
		next.State = e.State
	case e.Type != job.ChangeEvent && e.Step > s.Step:
		next.Step, next.Total = e.Step, e.Total
	}
	return next, next != s
}

func (s standing) state() job.State {
	if s.State == "" {
		return job.Queued
	}
	return s.State
}
