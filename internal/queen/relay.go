package queen

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"waggle/internal/job"
)

const (
	postTimeout   = 5 * time.Minute // for a body with pictures on a slow network
	cancelTimeout = 5 * time.Second
)

// send gives an operation to a worker, or to the next if the first cannot be
// reached, and relays what it reports. verb is the first word of what is
// narrated: image or infer.
func (q *Queen) send(ctx context.Context, t *task, op operation, verb string) error {
	q.tell(t, actorQueen, verb+"_schedule", "Looking for a worker with model '%s'", plain(op.model, nameLimit))
	failure := q.noWorker(ctx, op)
	for tried := q.doubles(ctx, op.model); ctx.Err() == nil; {
		if c := q.lineFor(ctx, op, tried); c != nil {
			return q.passOn(ctx, c, t)
		}
		w, release, ok := q.fleet.claim(op.wanted, tried)
		if !ok {
			return failure
		}
		tried[w.URL] = true
		q.shelf.change(t, func(j *Job) { j.Worker, j.WorkerURL = w.IDs[0], w.URL })
		q.tell(t, actorQueen, verb+"_worker_sel", "Worker %s at %s", w.IDs[0], w.URL)
		q.Log.Info("job started", "job", t.ID, "worker", w.IDs[0], "url", w.URL)
		err := q.employ(ctx, t, w, verb)
		release()
		var unreached dialError
		if !errors.As(err, &unreached) {
			return err
		}
		failure = job.Errorf(job.Internal, "Failed to connect to worker %s: %w", w.IDs[0], unreached.error)
		q.Log.Warn("worker not reached", "worker", w.URL, "error", unreached.error)
	}
	return ctx.Err()
}

// accepted is a worker's answer to a submission.
type accepted struct {
	JobID  string `json:"job_id"`
	SSEURL string `json:"sse_url"`
}

// employ has one worker do a job.
func (q *Queen) employ(ctx context.Context, t *task, w Worker, verb string) error {
	ctx = toward(ctx, w)
	body := q.shelf.bodyOf(t)
	if body == nil {
		return errCancelled
	}
	q.tell(t, actorQueen, verb+"_post_start", "POST %s/v1/jobs", w.URL)
	a, err := q.post(w, body)
	if err != nil {
		return err
	}
	ended := false // there, as its stream has told
	defer func() {
		if !ended {
			q.cancelAt(w, a.JobID)
		}
	}()
	q.tell(t, actorQueen, verb+"_job_created", "Worker's job %s", plain(a.JobID, 100))
	stream, err := streamOf(w, a)
	if err != nil {
		return err
	}
	l := &link{queen: q, ctx: ctx, url: stream, close: func() {}, tell: func(action, format string, args ...any) {
		q.tell(t, actorQueen, verb+"_"+action, format, args...)
	}}
	defer func() { l.close() }()
	if err := l.begin(); err != nil {
		return err
	}
	l.tell("streaming", "Relaying the worker's events")
	if ended, err = q.relay(t, l, verb); err != nil {
		return err
	}
	q.tell(t, actorQueen, verb+"_complete", "Worker %s is done", w.IDs[0])
	return nil
}

// post submits an operation as it came. It is not ended by a cancel, so that
// the worker's job is known and can be cancelled there.
func (q *Queen) post(w Worker, body []byte) (a accepted, err error) {
	ctx, cancel := context.WithTimeout(toward(q.ctx, w), postTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL+"/v1/jobs", bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	r.Header.Set("Content-Type", "application/json")
	bearer(r, q.WorkerToken)
	response, err := q.http.Do(r)
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		return a, refused(statusError{response.StatusCode, someOf(response.Body)})
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, answerLimit))
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	if err != nil || a.JobID == "" || len(a.JobID) > nameLimit || a.SSEURL == "" { // else the id is the worker's own business
		return a, job.Errorf(job.Internal, "Failed to parse the worker's answer: %s", plain(string(text), 200))
	}
	return a, nil
}

// refused says in the protocol's words that a worker answered no.
func refused(err error) error {
	var s statusError
	if errors.As(err, &s) {
		return job.Errorf(job.Internal, "Worker returned error %s", s.Error())
	}
	return job.Errorf(job.Internal, "Error reading stream: %w", err)
}

// streamOf is the address of the job's events: on the worker itself, whatever it says.
func streamOf(w Worker, a accepted) (string, error) {
	base, err := url.Parse(w.URL)
	if err != nil {
		return "", err
	}
	stream, err := base.Parse(a.SSEURL)
	if err != nil || stream.Host != base.Host || stream.Scheme != base.Scheme || stream.User != nil {
		return "", job.Errorf(job.Internal, "Worker answered a stream that is not its own: %s", plain(a.SSEURL, 200))
	}
	return stream.String(), nil
}

// cancelAt cancels a job at its worker, as nobody waits for it any more. When
// the queen herself ends, what workers have begun goes on.
func (q *Queen) cancelAt(w Worker, id string) {
	if q.ctx.Err() != nil {
		return
	}
	limit, cancel := context.WithTimeout(toward(q.ctx, w), cancelTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(limit, http.MethodDelete, w.URL+"/v1/jobs/"+url.PathEscape(id), nil)
	if err == nil {
		bearer(r, q.WorkerToken)
		var response *http.Response
		if response, err = q.http.Do(r); err == nil {
			response.Body.Close()
		}
	}
	if err != nil {
		q.Log.Warn("cancel at the worker", "worker", w.URL, "job", id, "error", err)
	}
}

// relay passes a worker's events on until the last one. It reports whether the
// worker has ended the job, by whatever its stream said last.
func (q *Queen) relay(t *task, events *link, verb string) (ended bool, err error) {
	for {
		next, err := events.next()
		if err != nil {
			return false, err
		}
		e := entry{name: next.Name, data: next.Data}
		if done, err := markerMeans(e, verb); done {
			return true, err
		}
		seen := glance(e)
		if e.name == string(job.CompleteEvent) && seen.problem != nil { // clients would take it for one
			return true, seen.problem
		}
		if err := q.shelf.say(t, e); err != nil {
			return false, job.Errorf(job.Internal, "Error reading stream: %w", err)
		}
		switch job.EventType(e.name) {
		case job.CompleteEvent:
			return true, nil
		case job.ErrorEvent:
			return true, seen.failure()
		case job.ProgressEvent, job.PreviewEvent:
			q.shelf.change(t, func(j *Job) { j.Step, j.Total = seen.Step, seen.Total })
		}
	}
}

// markerMeans reads the end marker of a stream. Images end with an event
// before it, so that one without is lost.
func markerMeans(e entry, verb string) (done bool, err error) {
	text := string(e.data[:min(len(e.data), 2048)])
	switch reason, failed := strings.CutPrefix(text, job.MarkError); {
	case e.name != "":
		return false, nil
	case failed:
		return true, job.Errorf(job.Internal, "Worker failed: %s", plain(strings.TrimSpace(reason), 1000))
	case text == job.MarkCancelled:
		return true, job.Errorf(job.CancelledByUser, job.CancelMessage)
	case text == job.MarkDone && verb == "image":
		return true, job.Errorf(job.Internal, "Error reading stream: [DONE] without a picture")
	}
	return text == job.MarkDone, nil
}

// seen is what the queen understands of an event.
type seen struct {
	Step    int      `json:"step"`
	Total   int      `json:"total"`
	Message string   `json:"message"`
	Kind    job.Kind `json:"kind"`

	problem error
}

func glance(e entry) (s seen) {
	if err := json.Unmarshal(e.data, &s); err != nil {
		s.problem = job.Errorf(job.Internal, "Error reading stream: event %s is no JSON object: %w", plain(e.name, 50), err)
	} else if e.name == string(job.CompleteEvent) && !pictured(e.data) {
		s.problem = job.Errorf(job.Internal, "Error reading stream: event complete carries no PNG")
	}
	return s
}

// pictured reports whether an event carries a picture.
func pictured(data []byte) bool {
	var e struct {
		Image string `json:"image"`
	}
	return json.Unmarshal(data, &e) == nil && e.Image != ""
}

func (s seen) failure() error {
	switch {
	case s.problem != nil:
		return s.problem
	case s.Kind == job.CancelledByUser || s.Message == job.CancelMessage:
		return job.Errorf(job.CancelledByUser, job.CancelMessage)
	}
	return job.Errorf(job.Internal, "Worker failed: %s", plain(s.Message, 1000))
}
