package queen

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"waggle/internal/door"
	"waggle/internal/job"
	"waggle/internal/queue"
	"waggle/internal/sse"
)

// getJob is GET /v1/jobs/{id}.
func (q *Queen) getJob(w http.ResponseWriter, r *http.Request) {
	id := job.ID(r.PathValue("id"))
	if j, ok := q.shelf.get(id); ok {
		door.WriteJSON(w, http.StatusOK, j)
		return
	}
	c, record, err := q.find(r.Context(), id)
	if err != nil {
		q.fail(w, err)
		return
	}
	door.WriteJSON(w, http.StatusOK, c.report(r.Context(), record))
}

// deleteJob is DELETE /v1/jobs/{id}: cancel, here and at the worker, or in the
// queue of the cluster.
func (q *Queen) deleteJob(w http.ResponseWriter, r *http.Request) {
	id := job.ID(r.PathValue("id"))
	err := error(nil)
	if !q.shelf.abandon(id) {
		err = q.cancelShared(r.Context(), id)
	}
	if errors.Is(err, queue.ErrNotFound) {
		err = door.Problemf(http.StatusNotFound, "Job %s not found or cannot be cancelled", id)
	}
	if err != nil {
		q.fail(w, err)
		return
	}
	door.WriteJSON(w, http.StatusOK, job.Changed{JobID: id, Status: "cancelled"})
}

func (q *Queen) cancelShared(ctx context.Context, id job.ID) error {
	if _, ended := q.shelf.get(id); ended {
		return queue.ErrNotFound
	}
	c, _, err := q.find(ctx, id)
	if err != nil {
		return err
	}
	return c.Jobs.Cancel(ctx, id)
}

// streamJob is GET /v1/jobs/{id}/stream: the first reader starts a job that is
// kept here, any number may follow any, at any time while it is kept.
func (q *Queen) streamJob(w http.ResponseWriter, r *http.Request) {
	id := job.ID(r.PathValue("id"))
	t := q.shelf.find(id)
	var c *Cluster
	var record job.Record
	if t == nil {
		var err error
		if c, record, err = q.find(r.Context(), id); errors.Is(err, queue.ErrNotFound) {
			err = door.Problemf(http.StatusNotFound, "Job %s not found or already streaming", id)
		}
		if err != nil {
			q.fail(w, err)
			return
		}
	}
	leave, ok := q.readers.Take(w, q.door.ClientOf(r))
	if !ok {
		return
	}
	defer leave()
	if t == nil {
		q.streamShared(w, r, c, record)
		return
	}
	q.streamKept(w, r, t)
}

// streamKept streams a job of the shelf, and what becomes of it elsewhere.
func (q *Queen) streamKept(w http.ResponseWriter, r *http.Request, t *task) {
	out := sse.NewWriter(w)
	if r.Method == http.MethodHead {
		return
	}
	q.start(t)
	after, _ := strconv.Atoi(r.Header.Get("Last-Event-ID")) // 0, all, if it is no number
	switch q.write(r.Context(), out, t, max(0, after)) {
	case passedOn:
		q.goOn(out, r, t.ID)
	case left:
		if r.URL.Query().Get("cancel_on_disconnect") == "1" && q.ctx.Err() == nil {
			q.shelf.abandon(t.ID)
		}
	}
}

// ending is how the writing of a stream has ended.
type ending int

const (
	whole    ending = iota // with the end marker
	left                   // the reader, or the queen, has gone
	passedOn               // the job is in the queue of the cluster
)

// write writes what was and will be said of a job, after the first n entries.
func (q *Queen) write(ctx context.Context, out *sse.Writer, t *task, n int) ending {
	silence := time.NewTicker(q.timing.keepAlive)
	defer silence.Stop()
	for {
		said := q.shelf.read(t, n)
		for _, e := range said.entries {
			n++
			number := n
			if e.name == "" { // an id would be one more line for readers of lines
				number = 0
			}
			if out.Event(e.event(number)) != nil {
				return left
			}
			silence.Reset(q.timing.keepAlive)
		}
		switch {
		case said.passed:
			return passedOn
		case said.marker != "" && out.Event(sse.Event{Data: []byte(said.marker)}) != nil:
			return left
		case said.marker != "":
			return whole
		}
		select {
		case <-said.more:
		case <-silence.C:
			if out.Comment() != nil {
				return left
			}
		case <-ctx.Done():
			return left
		case <-q.ctx.Done():
			return left
		}
	}
}
