package queue

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"waggle/internal/job"
)

// atOnce does things at the same time and waits for them.
func atOnce(things ...func()) {
	var all sync.WaitGroup
	begin := make(chan struct{})
	for _, do := range things {
		all.Go(func() {
			<-begin
			do()
		})
	}
	close(begin)
	all.Wait()
}

// races is how often a race is run.
const races = 30

// TestPauseWhileTaken: a job that is paused and taken at the same time is
// paused, or runs and knows that it shall pause.
func TestPauseWhileTaken(t *testing.T) {
	eachHost(t, Options{}, func(t *testing.T, q Queue) {
		for i := range races {
			id := job.ID(fmt.Sprint("j", i))
			submit(t, q, request(string(id)))
			var l Lease
			var r job.Record
			var paused, taken error
			atOnce(
				func() { r, paused = q.Pause(t.Context(), id) },
				func() { l, taken = q.Take(t.Context(), Consumer{Node: "n"}) })
			must(t, errors.Join(paused, taken))
			switch {
			case l == nil && r.State == job.Paused && state(t, q, id) == job.Paused:
			case l != nil && r.State == job.Running && r.PauseRequested && l.PauseAsked():
				finish(t, l)
			default:
				t.Fatalf("the lease is %v, the record %+v", l, r)
			}
			nothingNow(t, q)
		}
	})
}

// nothingNow checks that no job can be taken at once.
func nothingNow(t *testing.T, q Queue) {
	t.Helper()
	if l, err := q.Take(t.Context(), Consumer{}); l != nil || err != nil {
		t.Errorf("took %v, %v", l, err)
	}
}

// TestPauseWhileFinished: a job that ends while it is asked to pause, has ended.
func TestPauseWhileFinished(t *testing.T) {
	eachHost(t, Options{}, func(t *testing.T, q Queue) {
		for i := range races {
			id := job.ID(fmt.Sprint("j", i))
			submit(t, q, request(string(id)))
			l := next(t, q, Consumer{})
			var paused error
			atOnce(func() { _, paused = q.Pause(t.Context(), id) }, func() { finish(t, l) })
			r, err := q.Get(t.Context(), id)
			if err != nil || r.State != job.Complete || r.PauseRequested || paused != nil && !errors.Is(paused, ErrNotFound) {
				t.Fatalf("%+v, %v; pause: %v", r, err, paused)
			}
			nothingNow(t, q)
		}
	})
}

// TestCancelWhilePaused: a cancel counts, before the pause and after it.
func TestCancelWhilePaused(t *testing.T) {
	eachHost(t, Options{}, func(t *testing.T, q Queue) {
		for i := range races {
			id := job.ID(fmt.Sprint("j", i))
			submit(t, q, request(string(id), stopAt(1)))
			l := next(t, q, Consumer{})
			var cancelled, paused error
			atOnce(
				func() { _, cancelled = q.Cancel(t.Context(), id) },
				func() { _, paused = l.Pause(t.Context()) })
			must(t, errors.Join(cancelled, paused))
			if got := state(t, q, id); got != job.Cancelled {
				t.Fatalf("the job is %s", got)
			}
		}
	})
}

// TestResumeTwice: a job that is resumed by several at the same time is in
// line once.
func TestResumeTwice(t *testing.T) {
	eachHost(t, Options{}, func(t *testing.T, q Queue) {
		for i := range races {
			id := job.ID(fmt.Sprint("j", i))
			submit(t, q, request(string(id)))
			_, err := q.Pause(t.Context(), id)
			must(t, err)
			resume := func() {
				if r, err := q.Resume(t.Context(), id); err != nil || r.State != job.Queued && r.State != job.Running {
					t.Errorf("resumed: %+v, %v", r, err)
				}
			}
			atOnce(resume, resume, resume)
			finish(t, next(t, q, Consumer{}))
			nothingNow(t, q)
		}
		if q, ok := q.(*JetStream); ok && messages(t, q) != 0 {
			t.Errorf("%d messages are left", messages(t, q))
		}
	})
}

// TestMoveWhileTaken: jobs that are moved while others are taken are handed
// out once each.
func TestMoveWhileTaken(t *testing.T) {
	eachHost(t, Options{}, func(t *testing.T, q Queue) {
		taken := map[job.ID]int{}
		for i := range races {
			for k := range 3 {
				submit(t, q, request(fmt.Sprintf("j%d-%d", i, k)))
			}
			atOnce(
				func() {
					for {
						l, err := q.Take(t.Context(), Consumer{})
						if l == nil || err != nil {
							break
						}
						taken[l.Record().ID]++
						finish(t, l)
					}
				},
				func() {
					for k := range 3 {
						_, err := q.Move(t.Context(), job.ID(fmt.Sprintf("j%d-%d", i, k)), "")
						if err != nil && !errors.Is(err, ErrNotWaiting) {
							t.Errorf("move: %v", err)
						}
					}
				})
			for _, id := range drain(t, q, Consumer{}) {
				taken[job.ID(id)]++
			}
		}
		for i := range races {
			for k := range 3 {
				if id := job.ID(fmt.Sprintf("j%d-%d", i, k)); taken[id] != 1 || state(t, q, id) != job.Complete {
					t.Errorf("%s was handed out %d times and is %s", id, taken[id], state(t, q, id))
				}
			}
		}
	})
}

// TestMovesAtRandom: any moves give the order that the same moves of a list give.
func TestMovesAtRandom(t *testing.T) {
	eachHost(t, Options{}, func(t *testing.T, q Queue) {
		random := rand.New(rand.NewPCG(1, 2))
		var want []string
		for i := range 12 {
			want = append(want, fmt.Sprint("j", i))
			submit(t, q, request(want[i], model(fmt.Sprint("m", i%3))))
		}
		for range 150 {
			id := want[random.IntN(len(want))]
			want = slices.DeleteFunc(want, func(o string) bool { return o == id })
			at := random.IntN(len(want))
			before := want[at]
			if at == 0 && random.IntN(2) == 0 {
				before = ""
			}
			want = slices.Insert(want, at, id)
			_, err := q.Move(t.Context(), job.ID(id), job.ID(before))
			must(t, err)
		}
		if got := drain(t, q, Consumer{}); !slices.Equal(got, want) {
			t.Errorf("order %v, want %v", got, want)
		}
	})
}

// TestManyMovesToOneSpot: a place between two others is found a thousand times,
// then there is an error and not a record that grows without end.
func TestManyMovesToOneSpot(t *testing.T) {
	for name, left := range map[string]bool{"after the last": false, "before the last": true} {
		t.Run(name, func(t *testing.T) {
			low, high := place{Rank: 3}, place{Rank: 4}
			n := 0
			for ; n < 100_000; n++ {
				p, ok := low.between(high)
				if !ok {
					break
				}
				if low.compare(p) >= 0 || p.compare(high) >= 0 || len(p.Part) > partLimit || strings.HasSuffix(p.Part, string(firstDigit)) {
					t.Fatalf("%+v is not between %+v and %+v", p, low, high)
				}
				if left {
					high = p
				} else {
					low = p
				}
			}
			if n < 1000 || n == 100_000 {
				t.Errorf("%d places between two neighbours", n)
			}
		})
	}
}

// FuzzPlace: any two places that records tell have one between them, or none.
func FuzzPlace(f *testing.F) {
	f.Add(int64(1), "", int64(2), "")
	f.Add(int64(1), "0", int64(1), "01")
	f.Add(int64(1), "\xff", int64(1), "\xffz")
	f.Fuzz(func(t *testing.T, r1 int64, p1 string, r2 int64, p2 string) {
		p, ok := place{r1, p1}.between(place{r2, p2})
		if ok && len(p.Part) > partLimit {
			t.Errorf("%+v", p)
		}
	})
}

// TestMoveBeforeEqualPlaces: two nodes that moved two jobs at the same time
// gave them one place. A third can be moved before either.
func TestMoveBeforeEqualPlaces(t *testing.T) {
	t.Parallel()
	q := open(t, connect(t, t.TempDir()), Options{})
	for _, id := range []string{"a", "b", "c", "d"} {
		submit(t, q, request(id))
	}
	first, _ := q.index.get("a")
	for _, id := range []job.ID{"b", "c"} {
		it, _ := q.index.get(id)
		s := it.stored
		s.Moved = &place{Rank: first.place().Rank, Part: "5"}
		_, err := q.write(t.Context(), s, it.revision)
		must(t, err)
	}
	for _, before := range []job.ID{"b", "c"} {
		it, _ := q.index.get("d")
		s, err := q.index.move(it.stored, before)
		must(t, err)
		tied, _ := q.index.get(before)
		if at := *s.Moved; at.compare(first.place()) <= 0 || at.compare(tied.place()) >= 0 {
			t.Errorf("before %s: place %v, want one between %v and %v", before, at, first.place(), tied.place())
		}
	}
}
