package queue

import (
	"net/url"
	"strconv"

	"waggle/internal/job"
)

// Jobs in a list that was asked for over HTTP: if it does not say, and at most.
const (
	ListDefault = 50
	ListLimit   = 500
)

// ErrBefore: a list shall begin behind a job that is not there.
var ErrBefore = job.Errorf(job.InvalidInput, "Invalid input: before names no job")

// FilterOf reads the parameters state, before and limit of a list.
func FilterOf(q url.Values) (Filter, error) {
	f := Filter{State: job.State(q.Get("state")), Before: job.ID(q.Get("before")), Limit: ListDefault}
	if f.State != "" && !f.State.Valid() {
		return f, job.Errorf(job.InvalidInput, "Invalid input: state must be one of queued, running, paused, complete, failed, cancelled")
	}
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > ListLimit {
			return f, job.Errorf(job.InvalidInput, "Invalid input: limit must be 1 to %d", ListLimit)
		}
		f.Limit = n
	}
	return f, nil
}
