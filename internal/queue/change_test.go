package queue

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"waggle/internal/job"
)

func stopAt(step int) func(*job.Request) { return func(r *job.Request) { r.StopAtStep = step } }

// drain takes and ends all jobs that wait, and returns them in order. What
// Waiting says comes first must come first.
func drain(t *testing.T, q Queue, c Consumer) (ids []string) {
	t.Helper()
	for {
		first, any := q.Waiting(c)
		l, err := q.Take(t.Context(), c)
		if err != nil {
			t.Fatalf("take: %v", err)
		}
		if l == nil {
			if any {
				t.Errorf("nothing to take, while %s waits", first.ID)
			}
			return ids
		}
		if id := l.Record().ID; !any || first.ID != id {
			t.Errorf("%q should be first, %s was taken", first.ID, id)
		}
		ids = append(ids, string(l.Record().ID))
		finish(t, l)
	}
}

func TestTake(t *testing.T) {
	eachHost(t, Options{}, func(t *testing.T, q Queue) {
		c := Consumer{Node: "a"}
		if l, err := q.Take(t.Context(), c); l != nil || err != nil {
			t.Errorf("an empty queue gave %v, %v", l, err)
		}
		if r, any := q.Waiting(c); any {
			t.Errorf("%s waits in an empty queue", r.ID)
		}
		submit(t, q, request("x", model("mx")))
		submit(t, q, request("low", model("my"), priority(job.Low)))
		if r, any := q.Waiting(c); !any || r.ID != "x" || r.State != job.Queued {
			t.Errorf("waiting: %+v", r)
		}
		mine := Consumer{Node: "a", Takes: only("my")}
		if r, any := q.Waiting(mine); !any || r.ID != "low" {
			t.Errorf("of my models waits %q", r.ID)
		}
		if got := drain(t, q, mine); !slices.Equal(got, []string{"low"}) {
			t.Errorf("took %v", got)
		}
		if got := drain(t, q, Consumer{Takes: only("mz")}); got != nil {
			t.Errorf("took %v", got)
		}
		q.Close()
		if _, err := q.Take(t.Context(), c); !errors.Is(err, ErrClosed) {
			t.Errorf("take after close: %v", err)
		}
	})
}

func TestPauseWaiting(t *testing.T) {
	eachHost(t, Options{}, func(t *testing.T, q Queue) {
		for _, id := range []string{"one", "two", "three"} {
			submit(t, q, request(id, func(r *job.Request) { r.Operation, r.InputImage = job.Transform, []byte(id) }))
		}
		for range 2 {
			if r, err := q.Pause(t.Context(), "one"); err != nil || r.State != job.Paused || state(t, q, "one") != job.Paused {
				t.Errorf("pause: %+v, %v", r, err)
			}
		}
		if r, any := q.Waiting(Consumer{}); !any || r.ID != "two" {
			t.Errorf("%q waits", r.ID)
		}
		for range 2 {
			if r, err := q.Resume(t.Context(), "one"); err != nil || r.State != job.Queued || state(t, q, "one") != job.Queued {
				t.Errorf("resume: %+v, %v", r, err)
			}
		}
		for _, want := range []string{"two", "three", "one"} {
			l := next(t, q, Consumer{})
			if r := l.Record(); string(r.ID) != want || string(r.Request.InputImage) != want || r.Attempt != 1 {
				t.Errorf("got %+v, want %s", r, want)
			}
			finish(t, l)
		}
		for _, id := range []job.ID{"one", "nobody", ""} {
			_, paused := q.Pause(t.Context(), id)
			_, resumed := q.Resume(t.Context(), id)
			if !errors.Is(paused, ErrNotFound) || !errors.Is(resumed, ErrNotFound) {
				t.Errorf("job %q: pause %v, resume %v", id, paused, resumed)
			}
		}
	})
}

func TestPauseRunning(t *testing.T) {
	eachHost(t, Options{}, func(t *testing.T, q Queue) {
		submit(t, q, request("j"))
		l := next(t, q, Consumer{Node: "a"})
		for _, ask := range []bool{true, true, false, false, true} {
			change := q.Resume
			if ask {
				change = q.Pause
			}
			r, err := change(t.Context(), "j")
			if err != nil || r.State != job.Running || r.PauseRequested != ask || l.PauseAsked() != ask {
				t.Errorf("asked %v: %+v, %v, the lease says %v", ask, r, err, l.PauseAsked())
			}
		}
		if r, err := l.Pause(t.Context()); err != nil || r.State != job.Paused || r.PauseRequested {
			t.Errorf("paused: %+v, %v", r, err)
		}
		select {
		case <-l.Cancelled():
			t.Error("a pause is no cancel")
		default:
		}
		if err := l.HandBack(t.Context()); !errors.Is(err, ErrLeaseLost) {
			t.Errorf("handed back after a pause: %v", err)
		}
		nothing(t, q, Consumer{})
		if _, err := q.Resume(t.Context(), "j"); err != nil {
			t.Fatal(err)
		}
		again := next(t, q, Consumer{Node: "b"})
		if r := again.Record(); r.Attempt != 1 || r.Node != "b" || again.PauseAsked() {
			t.Errorf("resumed: %+v, asked to pause: %v", r, again.PauseAsked())
		}
		finish(t, again)
	})
}

// TestPauseOvertaken: what was asked of a job meanwhile counts more than the
// pause that its node is about to make.
func TestPauseOvertaken(t *testing.T) {
	for name, row := range map[string]struct {
		ask  func(*testing.T, Queue)
		want job.State
	}{
		"cancelled": {func(t *testing.T, q Queue) { _, err := q.Cancel(t.Context(), "j"); must(t, err) }, job.Cancelled},
		"resumed":   {func(t *testing.T, q Queue) { _, err := q.Resume(t.Context(), "j"); must(t, err) }, job.Queued},
	} {
		t.Run(name, func(t *testing.T) {
			eachHost(t, Options{}, func(t *testing.T, q Queue) {
				submit(t, q, request("j"))
				l := next(t, q, Consumer{})
				_, err := q.Pause(t.Context(), "j")
				must(t, err)
				row.ask(t, q)
				if r, err := l.Pause(t.Context()); err != nil || r.State != row.want || state(t, q, "j") != row.want {
					t.Errorf("%+v, %v", r, err)
				}
			})
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestStopAt: a job that stops at a step pauses there once; resumed, it runs
// through.
func TestStopAt(t *testing.T) {
	eachHost(t, Options{}, func(t *testing.T, q Queue) {
		if r := submit(t, q, request("j", stopAt(7))); r.StopAt != 7 {
			t.Errorf("submitted: %+v", r)
		}
		l := next(t, q, Consumer{})
		if r, err := l.Pause(t.Context()); err != nil || r.State != job.Paused || r.StopAt != 7 {
			t.Errorf("paused: %+v, %v", r, err)
		}
		if r, err := q.Resume(t.Context(), "j"); err != nil || r.StopAt != 0 || r.Request.StopAtStep != 7 {
			t.Errorf("resumed: %+v, %v", r, err)
		}
		finish(t, next(t, q, Consumer{}))
	})
}

// TestPausedBound: no more are paused than may wait, and what must pause counts.
func TestPausedBound(t *testing.T) {
	eachHost(t, Options{Length: 2}, func(t *testing.T, q Queue) {
		submit(t, q, request("a"))
		_, err := q.Pause(t.Context(), "a")
		must(t, err)
		submit(t, q, request("b", stopAt(1)))
		submit(t, q, request("c"))
		if _, err := q.Pause(t.Context(), "c"); !errors.Is(err, ErrFull) {
			t.Errorf("one paused too many: %v", err)
		}
		if _, err := q.Pause(t.Context(), "b"); err != nil {
			t.Errorf("one that will pause anyway: %v", err)
		}
		submit(t, q, request("d"))
		if _, err := q.Resume(t.Context(), "a"); !errors.Is(err, ErrFull) || state(t, q, "a") != job.Paused {
			t.Errorf("resumed into a full queue: %v", err)
		}
		if got := drain(t, q, Consumer{}); !slices.Equal(got, []string{"c", "d"}) {
			t.Errorf("then came %v", got)
		}
		if _, err := q.Submit(t.Context(), request("e", stopAt(1))); !errors.Is(err, ErrFull) {
			t.Errorf("one that will pause too many: %v", err)
		}
		_, err = q.Cancel(t.Context(), "a")
		must(t, err)
		submit(t, q, request("e", stopAt(1)))
	})
}

// placed returns the waiting jobs of normal priority by the places that records tell.
func placed(t *testing.T, q Queue) (ids []string) {
	t.Helper()
	list, err := q.List(t.Context(), Filter{})
	must(t, err)
	slices.SortFunc(list, func(a, b job.Record) int { return strings.Compare(a.Place, b.Place) })
	for _, r := range list {
		if (r.State == job.Queued) != (r.Place != "") {
			t.Errorf("%s is %s and has the place %q", r.ID, r.State, r.Place)
		}
		if one, err := q.Get(t.Context(), r.ID); err != nil || one.Place != r.Place {
			t.Errorf("%s has the place %q in the list, and %q alone; %v", r.ID, r.Place, one.Place, err)
		}
		if r.State == job.Queued && r.Request.Priority == job.Normal {
			ids = append(ids, string(r.ID))
		}
	}
	return ids
}

func TestMove(t *testing.T) {
	eachHost(t, Options{Length: 9}, func(t *testing.T, q Queue) {
		for _, id := range []string{"a", "b", "c", "d", "e", "f"} {
			submit(t, q, request(id, model("m"+id[:1]), by("one")))
		}
		submit(t, q, request("other", by("two"), priority(job.Low)))
		submit(t, q, request("low", by("one"), priority(job.Low)))
		submit(t, q, request("paused", by("one")))
		_, err := q.Pause(t.Context(), "paused")
		must(t, err)
		for _, m := range []struct{ id, before job.ID }{
			{"c", ""}, {"d", ""}, {"a", "f"}, {"b", "a"}, {"b", "a"}, {"d", "f"}, {"c", "c"}, {"low", ""}, {"c", "b"}, {"b", ""}, {"b", ""},
		} {
			if r, err := q.Move(t.Context(), m.id, m.before); err != nil || r.ID != m.id || r.State != job.Queued {
				t.Errorf("move %s before %q: %+v, %v", m.id, m.before, r, err)
			}
		}
		for _, m := range []struct{ id, before job.ID }{{"a", "other"}, {"a", "low"}, {"a", "paused"}, {"a", "nobody"}, {"paused", ""}, {"paused", "a"}} {
			if _, err := q.Move(t.Context(), m.id, m.before); !errors.Is(err, ErrNotWaiting) {
				t.Errorf("move %s before %q: %v", m.id, m.before, err)
			}
		}
		if _, err := q.Move(t.Context(), "nobody", ""); !errors.Is(err, ErrNotFound) {
			t.Errorf("move nobody: %v", err)
		}
		if got, want := placed(t, q), []string{"b", "e", "c", "a", "d", "f"}; !slices.Equal(got, want) {
			t.Errorf("by their places they stand %v, want %v", got, want)
		}
		if got, want := drain(t, q, Consumer{}), []string{"b", "e", "c", "a", "d", "f", "other", "low"}; !slices.Equal(got, want) {
			t.Errorf("order %v, want %v", got, want)
		}
	})
}
