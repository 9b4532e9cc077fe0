package api

import (
	"errors"
	"net/http"

	"waggle/internal/door"
	"waggle/internal/job"
	"waggle/internal/queue"
	"waggle/internal/store"
)

// problemOf is the one table from errors to answers. What it does not know is
// the server's own fault: logged in full, shown as such.
func (s *Server) problemOf(err error) door.Problem {
	var e *job.Error
	var known door.Problem
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &e) && e.Kind == job.InvalidInput:
		return door.Problemf(http.StatusBadRequest, "%s", e.Message)
	case errors.As(err, &e) && e.Kind == job.ModelNotFound:
		return door.Problemf(http.StatusNotFound, "%s", e.Message)
	case errors.Is(err, queue.ErrFull):
		return door.Problemf(http.StatusServiceUnavailable, "Failed to add request to queue: the queue is full")
	case errors.Is(err, queue.ErrNoRoom):
		return door.Problemf(http.StatusServiceUnavailable, "Failed to add request to queue: the server's disk is full")
	case errors.Is(err, queue.ErrUnavailable):
		return s.unreachable(err)
	case errors.Is(err, queue.ErrClosed):
		return door.Problemf(http.StatusServiceUnavailable, "Failed to queue request: the server is stopping")
	case errors.Is(err, queue.ErrConflict):
		return door.Problemf(http.StatusConflict, "This id belongs to a job with other content")
	case errors.Is(err, queue.ErrUnfinished):
		return door.Problemf(http.StatusConflict, "The job has not ended; cancel it first")
	case errors.Is(err, queue.ErrNotFound):
		return door.Problemf(http.StatusNotFound, "Job not found")
	case errors.Is(err, store.ErrNotFound):
		return door.Problemf(http.StatusNotFound, "Picture not found")
	}
	if s.Reachable != nil && s.Reachable() != nil {
		return s.unreachable(err)
	}
	s.Log.Error("request failed", "error", err)
	return door.Problemf(http.StatusInternalServerError, "internal error")
}

// unreachable is the answer while the servers that keep jobs are away.
func (s *Server) unreachable(err error) door.Problem {
	s.Log.Warn("a request could not be served: the servers that keep the jobs do not answer", "error", err)
	return door.Problemf(http.StatusServiceUnavailable, "The servers that keep the jobs cannot be reached; try again")
}

// fail answers with a problem as plain text.
func (s *Server) fail(w http.ResponseWriter, err error) { s.problemOf(err).Answer(w) }
