package queen

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"waggle/internal/job"
	"waggle/internal/queue"
)

// listed asks for a list and returns the ids in it.
func (h *harness) listed(query string) (ids []string) {
	h.Helper()
	status, text := h.call(http.MethodGet, "/v1/jobs?"+query)
	var page struct{ Jobs []struct{ ID string } }
	if err := json.Unmarshal([]byte(text), &page); err != nil || status != http.StatusOK {
		h.Fatalf("?%s: %d %s", query, status, text)
	}
	for _, j := range page.Jobs {
		ids = append(ids, j.ID)
	}
	return ids
}

// A list of the queen's jobs and the cluster's is one: its pages come one behind the other, and state chooses among all.
func TestList(t *testing.T) {
	c := newCommons(t, queue.Options{})
	c.bee(job.Ready, "m")
	h := c.queen()
	var all []string
	for i := range 6 {
		more := ""
		if i%2 == 0 {
			more = `,"worker_id":"w"` // is kept here
		}
		_, id := h.submit(more)
		all = append([]string{id}, all...)
	}
	h.shelf.abandon(job.ID(all[3]))
	if status, text := h.call(http.MethodDelete, "/v1/jobs/"+all[0]); status != http.StatusOK {
		t.Fatal(text)
	}
	if got := h.listed(""); !slices.Equal(got, all) {
		t.Errorf("all: %q, want %q", got, all)
	}
	var paged []string
	for before := ""; len(paged) < 10; before = "&before=" + paged[len(paged)-1] {
		page := h.listed("limit=2" + before)
		if len(page) == 0 {
			break
		}
		paged = append(paged, page...)
	}
	if !slices.Equal(paged, all) {
		t.Errorf("page by page: %q, want %q", paged, all)
	}
	if got, want := h.listed("state=cancelled"), []string{all[0], all[3]}; !slices.Equal(got, want) {
		t.Errorf("cancelled: %q, want %q", got, want)
	}
	if got, want := h.listed("state=queued&before="+all[3]), []string{all[4], all[5]}; !slices.Equal(got, want) {
		t.Errorf("older ones that wait: %q, want %q", got, want)
	}
	for _, query := range []string{"state=asleep", "limit=0", "limit=501", "limit=x", "before=nobody"} {
		if status, text := h.call(http.MethodGet, "/v1/jobs?"+query); status != http.StatusBadRequest {
			t.Errorf("?%s: %d %s", query, status, text)
		}
	}
}
