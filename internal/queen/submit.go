package queen

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"

	"waggle/internal/door"
	"waggle/internal/job"
	"waggle/internal/queue"
)

// submission is an operation as it came, and who sent it.
type submission struct {
	id     job.ID // of the client's choice; empty: the job gets one
	body   []byte
	client string
	digest [sha256.Size]byte // of the body without the space between its values, where there is an id
}

// newSubmission reads under which id an operation shall be known: its own
// member id, or a client's Idempotency-Key. Whoever runs the operation judges
// an id that cannot be one.
func newSubmission(body []byte, key, client string) (submission, error) {
	s := submission{body: body, client: client}
	if op, err := parseOperation(body); err == nil && job.ValidID(op.id) {
		s.id = job.ID(op.id)
	}
	r := job.Request{ID: s.id}
	if err := r.UseKey(key); err != nil {
		return s, err
	}
	if s.id = r.ID; s.id != "" {
		var dense bytes.Buffer
		if err := json.Compact(&dense, body); err != nil {
			return s, err
		}
		s.digest = sha256.Sum256(dense.Bytes())
	}
	return s, nil
}

// postJob is POST /v1/jobs. What the cluster shall do is in its queue when the
// answer comes; anything else is kept here, and read when its stream is opened.
func (q *Queen) postJob(w http.ResponseWriter, r *http.Request) {
	body, ok := q.readJSON(w, r, q.limits.bodyBytes)
	if !ok {
		return
	}
	s, err := newSubmission(body, r.Header.Get("Idempotency-Key"), q.door.ClientOf(r))
	var id job.ID
	if err == nil {
		id, err = q.keep(r.Context(), s)
	}
	if err != nil {
		q.fail(w, err)
		return
	}
	door.WriteJSON(w, http.StatusOK, job.Accept(id))
}

// keep keeps an operation where it belongs, and returns the job that it is.
func (q *Queen) keep(ctx context.Context, s submission) (job.ID, error) {
	if id, err := q.shelf.again(s); id != "" || err != nil {
		return id, err
	}
	id, err := q.putInLine(ctx, s)
	if errors.Is(err, errNotForLine) {
		if id, err = q.shelf.add(s); err == nil {
			q.Log.Info("job submitted", "job", id, "client", s.client, "bytes", len(s.body))
		}
	}
	return id, err
}

// fail answers why something cannot be done.
func (q *Queen) fail(w http.ResponseWriter, err error) {
	var known door.Problem
	switch {
	case errors.As(err, &known):
	case job.KindOf(err) == job.InvalidInput:
		known = door.Problemf(http.StatusBadRequest, "%v", err)
	case errors.Is(err, queue.ErrConflict):
		known = door.Problemf(http.StatusConflict, "This id belongs to a job with other content")
	case errors.Is(err, queue.ErrNotFound):
		known = door.Problemf(http.StatusNotFound, "Job not found")
	default:
		q.Log.Warn("a request could not be served", "error", err)
		unavailable(w, err)
		return
	}
	known.Answer(w)
}
