package queen

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"waggle/internal/door"
	"waggle/internal/job"
	"waggle/internal/queue"
)

// listed is a job in a list, and how it is shown.
type listed struct {
	created time.Time
	id      job.ID
	show    func() any
}

// newestFirst orders a list.
func newestFirst(a, b listed) int {
	return cmp.Or(b.created.Compare(a.created), cmp.Compare(b.id, a.id))
}

// listJobs is GET /v1/jobs?state=&before=&limit=: the newest first, those of
// the cluster too.
func (q *Queen) listJobs(w http.ResponseWriter, r *http.Request) {
	f, err := queue.FilterOf(r.URL.Query())
	var all []listed
	if err == nil {
		all, err = q.list(r.Context(), f)
	}
	if err != nil {
		q.fail(w, err)
		return
	}
	page := jobList{Jobs: []any{}}
	for _, j := range all[:min(len(all), f.Limit)] {
		page.Jobs = append(page.Jobs, j.show())
	}
	door.WriteJSON(w, http.StatusOK, page)
}

// list returns the jobs that a filter lets through, as many as there are.
func (q *Queen) list(ctx context.Context, f queue.Filter) ([]listed, error) {
	var all []listed
	for _, j := range q.shelf.list() {
		if f.State == "" || j.State == f.State {
			all = append(all, listed{j.Created, j.ID, func() any { return j }})
		}
	}
	c, records := q.sharedRecords(ctx, queue.Filter{State: f.State})
	for _, r := range records {
		all = append(all, listed{r.Created, r.ID, func() any { return c.report(ctx, r) }})
	}
	slices.SortFunc(all, newestFirst)
	if f.Before == "" {
		return all, nil
	}
	last, err := q.placeOf(ctx, f.Before)
	return slices.DeleteFunc(all, func(j listed) bool { return newestFirst(last, j) >= 0 }), err
}

// placeOf is where a job stands in lists.
func (q *Queen) placeOf(ctx context.Context, id job.ID) (listed, error) {
	if j, ok := q.shelf.get(id); ok {
		return listed{created: j.Created, id: id}, nil
	}
	_, r, err := q.find(ctx, id)
	if errors.Is(err, queue.ErrNotFound) {
		err = queue.ErrBefore
	}
	return listed{created: r.Created, id: id}, err
}
