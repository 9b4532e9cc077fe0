package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"waggle/internal/events"
	"waggle/internal/job"
	"waggle/internal/sse"
)

// stream is GET /v1/jobs/{id}/stream: the job's events as they happen, from
// the first or from the one after Last-Event-ID, then one end marker. The
// stream also ends, without a marker, when the server closes: the job goes on.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	record, err := s.Queue.Get(r.Context(), job.ID(r.PathValue("id")))
	if err != nil {
		http.Error(w, fmt.Sprintf("Job %s not found or already streaming", r.PathValue("id")), http.StatusNotFound)
		return
	}
	if err := s.settle(r.Context(), record); err != nil { // it may have ended with a process that could not say so
		s.Log.Warn("end a stream", "job", record.ID, "error", err)
	}
	after, _ := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64) // 0, all events, if it is no number
	reader, err := s.Events.Read(r.Context(), record.ID, after)
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
	err = s.relay(ctx, out, reader, record)
	left := err != nil && !s.closing()
	if left && r.URL.Query().Get("cancel_on_disconnect") == "1" {
		if err := s.cancel(context.WithoutCancel(r.Context()), record.ID); err != nil {
			s.Log.Debug("cancel after disconnect", "job", record.ID, "error", err)
		}
	}
}

// relay writes events until the last one; an error means that the reader of
// the stream or the server has gone before it.
func (s *Server) relay(ctx context.Context, out *sse.Writer, reader events.Reader, r job.Record) error {
	for {
		e, err := s.nextOrSilence(ctx, reader)
		switch {
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			if err := out.Comment(); err != nil {
				return err
			}
			s.checkEnd(ctx, r.ID)
			continue
		case errors.Is(err, events.ErrEnd): // asked for what lies behind the last event
			return writeEnd(out, s.endOf(ctx, r.ID))
		case err != nil:
			return err
		}
		w := s.wire(ctx, r, e)
		if err := out.Event(sse.Event{Name: string(w.Type), ID: strconv.FormatUint(w.Number, 10), Data: w.data}); err != nil {
			return err
		}
		if w.Final() {
			return writeEnd(out, w.Event)
		}
	}
}

// writeEnd writes the end marker.
func writeEnd(out *sse.Writer, last job.Event) error {
	return out.Event(sse.Event{Data: []byte(job.EndMarker(last))})
}

// nextOrSilence waits for an event no longer than a keep-alive may take.
func (s *Server) nextOrSilence(ctx context.Context, reader events.Reader) (job.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, s.KeepAlive)
	defer cancel()
	return reader.Next(ctx)
}

// checkEnd mends a stream whose job has ended without its last event, as can
// happen when a process dies between the two.
func (s *Server) checkEnd(ctx context.Context, id job.ID) {
	if record, err := s.Queue.Get(ctx, id); err == nil {
		if err := s.settle(ctx, record); err != nil {
			s.Log.Warn("end a stream", "job", id, "error", err)
		}
	}
}

func (s *Server) endOf(ctx context.Context, id job.ID) job.Event {
	record, err := s.Queue.Get(ctx, id)
	if err != nil {
		return job.Event{Type: job.ErrorEvent, Message: "the job has expired"}
	}
	e, _ := record.EndEvent()
	return e
}
