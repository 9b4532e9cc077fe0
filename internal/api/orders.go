package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"waggle/internal/door"
	"waggle/internal/job"
	"waggle/internal/queue"
)

// deleteJob is DELETE /v1/jobs/{id}: cancel.
func (s *Server) deleteJob(w http.ResponseWriter, r *http.Request) {
	id := job.ID(r.PathValue("id"))
	err := s.jobs.Cancel(r.Context(), id)
	switch {
	case errors.Is(err, queue.ErrNotFound):
		http.Error(w, fmt.Sprintf("Job %s not found or cannot be cancelled", id), http.StatusNotFound)
	case err != nil:
		s.fail(w, err)
	default:
		door.WriteJSON(w, http.StatusOK, job.Changed{JobID: id, Status: "cancelled"})
	}
}

// changeJob is POST /v1/jobs/{id}/pause, /resume, or /front[?before={id}].
func (s *Server) changeJob(order string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, before := job.ID(r.PathValue("id")), job.ID(r.URL.Query().Get("before"))
		record, err := s.change(r.Context(), order, id, before)
		if err != nil {
			s.fail(w, err)
			return
		}
		status := string(record.State)
		if record.State == job.Running && record.PauseRequested {
			status = "pausing"
		}
		door.WriteJSON(w, http.StatusOK, job.Changed{JobID: id, Status: status})
	}
}

// change carries out an order, tells the job's readers what came of it, and
// returns the record.
func (s *Server) change(ctx context.Context, order string, id, before job.ID) (r job.Record, err error) {
	switch order {
	case "pause":
		r, err = s.Queue.Pause(ctx, id)
	case "resume":
		r, err = s.Queue.Resume(ctx, id)
	case "front":
		r, err = s.Queue.Move(ctx, id, before)
	}
	if errors.Is(err, queue.ErrNotFound) || errors.Is(err, queue.ErrNotWaiting) {
		return r, s.whyNot(ctx, order, id, before)
	}
	if err != nil || order == "front" {
		return r, err
	}
	return r, s.tell(ctx, r)
}

// tell publishes a job's change of state. A node that takes the job at the same
// moment may have told of a later one already; then that is told again.
func (s *Server) tell(ctx context.Context, r job.Record) error {
	for {
		if r.State.Final() {
			return s.jobs.Settle(ctx, r)
		}
		if err := s.Events.Publish(ctx, r.ID, job.StateEvent(r.State)); err != nil {
			return err
		}
		now, err := s.Queue.Get(ctx, r.ID)
		if errors.Is(err, queue.ErrNotFound) || err == nil && now.State == r.State {
			return nil
		}
		if err != nil {
			return err
		}
		r = now
	}
}

// whyNot explains why a job cannot be changed.
func (s *Server) whyNot(ctx context.Context, order string, id, before job.ID) error {
	verb := map[string]string{"pause": "paused", "resume": "resumed", "front": "moved"}[order]
	r, err := s.Queue.Get(ctx, id)
	switch {
	case errors.Is(err, queue.ErrNotFound):
		return door.Problemf(http.StatusNotFound, "Job %s not found", id)
	case err != nil:
		return err
	case r.State.Final():
		return door.Problemf(http.StatusConflict, "Job %s has ended (%s) and cannot be %s", id, r.State, verb)
	case r.State != job.Queued:
		return door.Problemf(http.StatusConflict, "Job %s is %s; only a job that waits can be %s", id, r.State, verb)
	}
	return door.Problemf(http.StatusConflict, "Job %.64q does not wait in the same line: want one of the same client and priority", before)
}
