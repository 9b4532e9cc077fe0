package queen

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"waggle/internal/door"
	"waggle/internal/job"
	"waggle/internal/sse"
)

// listLimit is the most jobs of one list.
const listLimit = 100

// postJob is POST /v1/jobs: the operation is kept, and read when its stream is opened.
func (q *Queen) postJob(w http.ResponseWriter, r *http.Request) {
	body, ok := q.readJSON(w, r, q.limits.bodyBytes)
	if !ok {
		return
	}
	id, err := q.shelf.add(body)
	if err != nil {
		unavailable(w, err)
		return
	}
	door.WriteJSON(w, http.StatusOK, accepted{string(id), "/v1/jobs/" + string(id) + "/stream"})
}

// listJobs is GET /v1/jobs: the newest first.
func (q *Queen) listJobs(w http.ResponseWriter, _ *http.Request) {
	list := q.shelf.list()
	door.WriteJSON(w, http.StatusOK, map[string]any{"jobs": list[:min(len(list), listLimit)]})
}

// getJob is GET /v1/jobs/{id}.
func (q *Queen) getJob(w http.ResponseWriter, r *http.Request) {
	j, ok := q.shelf.get(job.ID(r.PathValue("id")))
	if !ok {
		http.Error(w, "Job not found", http.StatusNotFound)
		return
	}
	door.WriteJSON(w, http.StatusOK, j)
}

// deleteJob is DELETE /v1/jobs/{id}: cancel, here and at the worker.
func (q *Queen) deleteJob(w http.ResponseWriter, r *http.Request) {
	id := job.ID(r.PathValue("id"))
	if !q.shelf.abandon(id) {
		http.Error(w, fmt.Sprintf("Job %s not found or cannot be cancelled", id), http.StatusNotFound)
		return
	}
	door.WriteJSON(w, http.StatusOK, map[string]any{"job_id": id, "status": "cancelled"})
}

// streamJob is GET /v1/jobs/{id}/stream: the first reader starts the job, any
// number may follow it, at any time while it is kept.
func (q *Queen) streamJob(w http.ResponseWriter, r *http.Request) {
	id := job.ID(r.PathValue("id"))
	t := q.shelf.find(id)
	if t == nil {
		http.Error(w, fmt.Sprintf("Job %s not found or already streaming", id), http.StatusNotFound)
		return
	}
	leave, ok := q.readers.Take(w, q.door.ClientOf(r))
	if !ok {
		return
	}
	defer leave()
	out := sse.NewWriter(w)
	if r.Method == http.MethodHead {
		return
	}
	q.start(t)
	after, _ := strconv.Atoi(r.Header.Get("Last-Event-ID")) // 0, all, if it is no number
	whole := q.write(r.Context(), out, t, max(0, after))
	if !whole && r.URL.Query().Get("cancel_on_disconnect") == "1" && q.ctx.Err() == nil {
		q.shelf.abandon(id)
	}
}

// write writes what was and will be said of a job, after the first n entries.
// It reports whether the reader has got the end marker.
func (q *Queen) write(ctx context.Context, out *sse.Writer, t *task, n int) (whole bool) {
	silence := time.NewTicker(q.timing.keepAlive)
	defer silence.Stop()
	for {
		list, marker, more := q.shelf.read(t, n)
		for _, e := range list {
			n++
			number := n
			if e.name == "" { // an id would be one more line for readers of lines
				number = 0
			}
			if out.Event(e.event(number)) != nil {
				return false
			}
			silence.Reset(q.timing.keepAlive)
		}
		if marker != "" {
			return out.Event(sse.Event{Data: []byte(marker)}) == nil
		}
		select {
		case <-more:
		case <-silence.C:
			if out.Comment() != nil {
				return false
			}
		case <-ctx.Done():
			return false
		case <-q.ctx.Done():
			return false
		}
	}
}
