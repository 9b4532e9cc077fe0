package api

import (
	"encoding/json"
	"errors"
	"net/http"

	"waggle/internal/job"
	"waggle/internal/queue"
	"waggle/internal/store"
)

// retryAfterSeconds is what a client is told to wait when the queue is full.
const retryAfterSeconds = "5"

// problem is an answer that is not a success: a status and a text.
type problem struct {
	status  int
	message string
}

func (p problem) Error() string { return p.message }

// problemOf is the one table from errors to answers. What it does not know is
// the server's own fault: logged in full, shown as such.
func (s *Server) problemOf(err error) problem {
	var e *job.Error
	var known problem
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &e) && e.Kind == job.InvalidInput:
		return problem{http.StatusBadRequest, e.Message}
	case errors.As(err, &e) && e.Kind == job.ModelNotFound:
		return problem{http.StatusNotFound, e.Message}
	case errors.Is(err, queue.ErrFull):
		return problem{http.StatusServiceUnavailable, "Failed to add request to queue: the queue is full"}
	case errors.Is(err, queue.ErrNoRoom):
		return problem{http.StatusServiceUnavailable, "Failed to add request to queue: the server's disk is full"}
	case errors.Is(err, queue.ErrUnavailable):
		return s.unreachable(err)
	case errors.Is(err, queue.ErrClosed):
		return problem{http.StatusServiceUnavailable, "Failed to queue request: the server is stopping"}
	case errors.Is(err, queue.ErrConflict):
		return problem{http.StatusConflict, "This id belongs to a job with other content"}
	case errors.Is(err, queue.ErrUnfinished):
		return problem{http.StatusConflict, "The job has not ended; cancel it first"}
	case errors.Is(err, queue.ErrNotFound):
		return problem{http.StatusNotFound, "Job not found"}
	case errors.Is(err, store.ErrNotFound):
		return problem{http.StatusNotFound, "Picture not found"}
	}
	if s.Reachable != nil && s.Reachable() != nil {
		return s.unreachable(err)
	}
	s.Log.Error("request failed", "error", err)
	return problem{http.StatusInternalServerError, "internal error"}
}

// unreachable is the answer while the servers that keep jobs are away.
func (s *Server) unreachable(err error) problem {
	s.Log.Warn("a request could not be served: the servers that keep the jobs do not answer", "error", err)
	return problem{http.StatusServiceUnavailable, "The servers that keep the jobs cannot be reached; try again"}
}

// fail answers with a problem as plain text.
func (s *Server) fail(w http.ResponseWriter, err error) {
	p := s.problemOf(err)
	if p.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfterSeconds)
	}
	http.Error(w, p.message, p.status)
}

// writeJSON answers with a value. An error here means the client has gone.
func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if w.Header().Get("Cache-Control") == "" {
		w.Header().Set("Cache-Control", "no-store")
	}
	w.WriteHeader(status)
	w.Write(append(b, '\n'))
}
