package queue

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"waggle/internal/job"
)

// TestDepth: jobs are counted where they stand, also by a process that comes later, and each change of a state is told once,
// by the process that wrote it.
func TestDepth(t *testing.T) {
	t.Parallel()
	b := connect(t, t.TempDir())
	var mu sync.Mutex
	var told []string
	q := open(t, b, Options{Changed: func(was, now job.Record) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, fmt.Sprintf("%s %s-%s", now.ID, was.State, now.State))
	}})
	for _, id := range []job.ID{"a", "b", "c", "d"} {
		r := request(string(id))
		if id == "a" {
			r.Priority = job.High
		}
		submit(t, q, r)
		submit(t, q, r) // the same job
	}
	l := next(t, q, Consumer{Node: "n"})
	if _, err := q.Cancel(t.Context(), "a"); err != nil { // it runs: this is a wish
		t.Fatal(err)
	}
	if _, err := q.Pause(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Cancel(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	want := Depth{{job.Running, job.High}: 1, {job.Paused, job.Normal}: 1, {job.Queued, job.Normal}: 1}
	if diff := cmp.Diff(want, without0(q.Depth())); diff != "" {
		t.Errorf("depth (-want +got):\n%s", diff)
	}
	later := open(t, b, Options{})
	if diff := cmp.Diff(want, without0(later.Depth())); diff != "" {
		t.Errorf("depth at one that came later (-want +got):\n%s", diff)
	}
	if _, err := l.Finish(t.Context(), job.Complete, job.Outcome{}); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Resume(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Depth{{job.Queued, job.Normal}: 2}, without0(q.Depth())); diff != "" {
		t.Errorf("depth in the end (-want +got):\n%s", diff)
	}
	mu.Lock()
	defer mu.Unlock()
	changes := []string{"a -queued", "b -queued", "c -queued", "d -queued", "a queued-running", "b queued-paused", "c queued-cancelled",
		"a running-complete", "b paused-queued"}
	if !slices.Equal(told, changes) {
		t.Errorf("told %q\nwant %q", told, changes)
	}
}

func without0(d Depth) Depth {
	for at, n := range d {
		if n == 0 {
			delete(d, at)
		}
	}
	return d
}
