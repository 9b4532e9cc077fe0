package api

import (
	"errors"
	"net/http"

	"waggle/internal/door"
	"waggle/internal/job"
	"waggle/internal/queue"
)

// listJobs is GET /v1/jobs?state=&before=&limit=, the newest first.
func (s *Server) listJobs(w http.ResponseWriter, r *http.Request) {
	filter, err := queue.FilterOf(r.URL.Query())
	if err != nil {
		s.fail(w, err)
		return
	}
	records, err := s.Queue.List(r.Context(), filter)
	if errors.Is(err, queue.ErrNotFound) {
		err = queue.ErrBefore
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

// getJob is GET /v1/jobs/{id}.
func (s *Server) getJob(w http.ResponseWriter, r *http.Request) {
	record, err := s.Queue.Get(r.Context(), job.ID(r.PathValue("id")))
	if err != nil {
		s.fail(w, err)
		return
	}
	door.WriteJSON(w, http.StatusOK, s.jobs.Report(r.Context(), record))
}
