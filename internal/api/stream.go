package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"waggle/internal/door"
	"waggle/internal/job"
	"waggle/internal/queue"
	"waggle/internal/sse"
)

// stream is GET /v1/jobs/{id}/stream: the job's events as they happen, from
// the first or from the one after Last-Event-ID, then one end marker. The
// stream also ends, without a marker, when the server closes: the job goes on.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	record, err := s.Queue.Get(r.Context(), job.ID(r.PathValue("id")))
	if errors.Is(err, queue.ErrNotFound) {
		err = door.Problemf(http.StatusNotFound, "Job %s not found or already streaming", r.PathValue("id"))
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	leave, ok := s.streams.Take(w, s.door.ClientOf(r))
	if !ok {
		return
	}
	defer leave()
	after, _ := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64) // 0, all events, if it is no number
	reader, err := s.jobs.Open(r.Context(), record, after)
	if err != nil {
		s.fail(w, err)
		return
	}
	defer reader.Close()
	ctx, cancel := s.until(r.Context())
	defer cancel()

	out := sse.NewWriter(w)
	if r.Method == http.MethodHead {
		return
	}
	last, err := s.jobs.Relay(ctx, out, reader, record)
	if err == nil {
		err = out.Event(sse.Event{Data: []byte(job.EndMarker(last))})
	}
	left := err != nil && !s.closing()
	if left && r.URL.Query().Get("cancel_on_disconnect") == "1" {
		if err := s.jobs.Cancel(context.WithoutCancel(r.Context()), record.ID); err != nil {
			s.Log.Debug("cancel after disconnect", "job", record.ID, "error", err)
		}
	}
}
