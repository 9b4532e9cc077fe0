package api

import (
	"errors"
	"net/http"
	"strconv"

	"waggle/internal/door"
	"waggle/internal/job"
	"waggle/internal/queue"
)

const (
	listDefault = 50
	listLimit   = 500
)

// listJobs is GET /v1/jobs?state=&before=&limit=, the newest first.
func (s *Server) listJobs(w http.ResponseWriter, r *http.Request) {
	filter, err := listFilter(r)
	if err != nil {
		s.fail(w, err)
		return
	}
	records, err := s.Queue.List(r.Context(), filter)
	if errors.Is(err, queue.ErrNotFound) {
		err = job.Errorf(job.InvalidInput, "Invalid input: before names no job")
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	list := make([]job.Report, len(records))
	for i, record := range records {
		list[i] = s.jobs.Report(r.Context(), record)
	}
	door.WriteJSON(w, http.StatusOK, job.ReportList{Jobs: list})
}

func listFilter(r *http.Request) (queue.Filter, error) {
	q := r.URL.Query()
	f := queue.Filter{State: job.State(q.Get("state")), Before: job.ID(q.Get("before")), Limit: listDefault}
	if f.State != "" && !f.State.Valid() {
		return f, job.Errorf(job.InvalidInput, "Invalid input: state must be one of queued, running, paused, complete, failed, cancelled")
	}
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > listLimit {
			return f, job.Errorf(job.InvalidInput, "Invalid input: limit must be 1 to %d", listLimit)
		}
		f.Limit = n
	}
	return f, nil
}

// getJob is GET /v1/jobs/{id}.
func (s *Server) getJob(w http.ResponseWriter, r *http.Request) {
	record, err := s.Queue.Get(r.Context(), job.ID(r.PathValue("id")))
	if err != nil {
		s.fail(w, err)
		return
	}
	door.WriteJSON(w, http.StatusOK, s.jobs.Report(r.Context(), record))
}
