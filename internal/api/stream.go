package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"waggle/internal/events"
	"waggle/internal/job"
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

	out := newEventWriter(w)
	if r.Method == http.MethodHead {
		return
	}
	err = s.relay(ctx, out, reader, record.ID)
	left := err != nil && !s.closing()
	if left && r.URL.Query().Get("cancel_on_disconnect") == "1" {
		if err := s.cancel(context.WithoutCancel(r.Context()), record.ID); err != nil {
			s.Log.Debug("cancel after disconnect", "job", record.ID, "error", err)
		}
	}
}

// relay writes events until the last one; an error means that the reader of
// the stream or the server has gone before it.
func (s *Server) relay(ctx context.Context, out *eventWriter, reader events.Reader, id job.ID) error {
	for {
		e, err := s.nextOrSilence(ctx, reader)
		switch {
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			if err := out.comment(); err != nil {
				return err
			}
			s.checkEnd(ctx, id)
			continue
		case errors.Is(err, events.ErrEnd): // asked for what lies behind the last event
			return out.marker(s.endOf(ctx, id))
		case err != nil:
			return err
		}
		e = s.withPicture(ctx, id, e)
		if err := out.event(e); err != nil {
			return err
		}
		if e.Final() {
			return out.marker(e)
		}
	}
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

// eventWriter writes server-sent events. Each write has a time limit, so that
// a reader that has stopped reading is let go.
type eventWriter struct {
	w       io.Writer
	control *http.ResponseController
}

// newEventWriter sends the headers.
func newEventWriter(w http.ResponseWriter) *eventWriter {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no") // asks proxies not to hold events back
	w.WriteHeader(http.StatusOK)
	e := &eventWriter{w, http.NewResponseController(w)}
	_ = e.control.Flush()
	return e
}

func (o *eventWriter) event(e job.Event) error {
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return o.write("event: %s\nid: %d\ndata: %s\n\n", e.Type, e.Number, data)
}

func (o *eventWriter) marker(last job.Event) error {
	return o.write("data: %s\n\n", job.EndMarker(last))
}

func (o *eventWriter) comment() error { return o.write(":\n\n") }

func (o *eventWriter) write(format string, args ...any) error {
	_ = o.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := fmt.Fprintf(o.w, format, args...); err != nil {
		return err
	}
	return o.control.Flush()
}
