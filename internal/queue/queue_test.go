package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"waggle/internal/bus"
	"waggle/internal/job"
	"waggle/internal/natstest"
)

func TestMain(m *testing.M) {
	natstest.Main()
	goleak.VerifyTestMain(m, natstest.Leaks()...)
}

// hosts are the queues every test of the interface runs on.
var hosts = map[string]func(*testing.T, Options) Queue{
	"memory":    func(_ *testing.T, o Options) Queue { return NewMemory(o) },
	"jetstream": func(t *testing.T, o Options) Queue { return open(t, connect(t, t.TempDir()), o) },
}

// eachHost runs a test on every kind of queue.
func eachHost(t *testing.T, o Options, test func(*testing.T, Queue)) {
	for name, open := range hosts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := open(t, o)
			defer q.Close()
			test(t, q)
		})
	}
}

// connect starts a server in this process on a folder.
func connect(t *testing.T, dir string) *bus.Bus {
	t.Helper()
	return join(t, bus.Options{Dir: dir})
}

func join(t *testing.T, o bus.Options) *bus.Bus {
	t.Helper()
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	b, err := bus.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func open(t *testing.T, b *bus.Bus, o Options) *JetStream {
	t.Helper()
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	q, err := Open(t.Context(), b.JetStream, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

// expire does what a queue does now and then, as if it were a later time.
func expire(t *testing.T, q Queue, later time.Duration) {
	switch q := q.(type) {
	case *Memory:
		q.expire(time.Now().Add(later), true)
	case *JetStream:
		q.expire(t.Context(), time.Now().Add(later), true)
	default:
		t.Fatalf("how does a %T expire?", q)
	}
}

// quiet is how long a test waits for what must not come.
const quiet = 200 * time.Millisecond

func request(id string, change ...func(*job.Request)) job.Request {
	r := job.NewRequest(job.Generation, "m", "a lighthouse")
	r.ID = job.ID(id)
	for _, c := range change {
		c(&r)
	}
	return r
}

func priority(p job.Priority) func(*job.Request) { return func(r *job.Request) { r.Priority = p } }

func model(name string) func(*job.Request) { return func(r *job.Request) { r.Model = name } }

func only(model string) func(job.Record) bool {
	return func(r job.Record) bool { return r.Request.Model == model }
}

func by(client string) func(*job.Request) { return func(r *job.Request) { r.Client = client } }

func submit(t *testing.T, q Queue, r job.Request) job.Record {
	t.Helper()
	record, err := q.Submit(t.Context(), r)
	if err != nil {
		t.Fatalf("submit %s: %v", r.ID, err)
	}
	return record
}

// next takes a job that must be there already.
func next(t *testing.T, q Queue, c Consumer) Lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	l, err := q.Next(ctx, c)
	if err != nil {
		t.Fatalf("next: %v", err)
	}
	return l
}

func state(t *testing.T, q Queue, id job.ID) job.State {
	t.Helper()
	r, err := q.Get(t.Context(), id)
	if err != nil {
		t.Fatalf("get %s: %v", id, err)
	}
	return r.State
}

func TestOrder(t *testing.T) {
	eachHost(t, Options{}, func(t *testing.T, q Queue) {
		for _, r := range []job.Request{
			request("n1"), request("l1", priority(job.Low)), request("n2"),
			request("h1", priority(job.High)), request("h2", priority(job.High)),
		} {
			submit(t, q, r)
		}
		var got []string
		for range 5 {
			l := next(t, q, Consumer{Node: "a"})
			got = append(got, string(l.Record().ID))
		}
		if want := []string{"h1", "h2", "n1", "n2", "l1"}; !slices.Equal(got, want) {
			t.Errorf("order %v, want %v", got, want)
		}
	})
}

// TestFairShares: within a priority each client gets its turn, however many
// jobs another has in line.
func TestFairShares(t *testing.T) {
	eachHost(t, Options{}, func(t *testing.T, q Queue) {
		for _, text := range []string{"a1", "a2", "a3", "a4", "b1", "b2", "c1"} {
			submit(t, q, request(text, by(text[:1])))
		}
		submit(t, q, request("a0", priority(job.High), by("a")))
		var got []string
		for range 8 {
			l := next(t, q, Consumer{Node: "n"})
			got = append(got, string(l.Record().ID))
			finish(t, l)
		}
		if want := []string{"a0", "b1", "c1", "a1", "b2", "a2", "a3", "a4"}; !slices.Equal(got, want) {
			t.Errorf("order %v, want %v", got, want)
		}
		for _, text := range []string{"a5", "a6", "b3"} {
			submit(t, q, request(text, by(text[:1])))
		}
		first := next(t, q, Consumer{Node: "n"}).Record().ID
		second := next(t, q, Consumer{Node: "n"}).Record().ID
		if first != "b3" || second != "a5" {
			t.Errorf("then %s and %s, want b3 and a5: b was served longest ago", first, second)
		}
	})
}

func TestModels(t *testing.T) {
	eachHost(t, Options{}, func(t *testing.T, q Queue) {
		submit(t, q, request("x", model("mx")))
		submit(t, q, request("y", model("my")))
		if got := next(t, q, Consumer{Node: "a", Takes: only("my")}).Record().ID; got != "y" {
			t.Errorf("a consumer of my got job %s", got)
		}
	})
}

func TestLifeOfAJob(t *testing.T) {
	eachHost(t, Options{}, func(t *testing.T, q Queue) {
		w, err := q.Watch(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		first := submit(t, q, request(""))
		if first.State != job.Queued || !job.ValidID(string(first.ID)) || first.Created.IsZero() {
			t.Errorf("submitted: %+v", first)
		}
		l := next(t, q, Consumer{Node: "a"})
		if r := l.Record(); r.State != job.Running || r.Node != "a" || r.Attempt != 1 || r.Seed != first.Seed {
			t.Errorf("leased: %+v", r)
		}
		done, err := l.Finish(t.Context(), job.Complete, job.Outcome{Pictures: []job.Picture{{Seed: 3}}})
		if err != nil || done.State != job.Complete || len(done.Pictures) != 1 || done.Finished.IsZero() {
			t.Errorf("finished: %+v, %v", done, err)
		}
		if _, err := l.Finish(t.Context(), job.Failed, job.Outcome{}); !errors.Is(err, ErrLeaseLost) {
			t.Errorf("second finish: %v", err)
		}
		if r, err := w.Next(t.Context()); err != nil || r.State != job.Complete {
			t.Errorf("a slow watcher must see the last state once, got %s, %v", r.State, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), quiet)
		defer cancel()
		if r, err := w.Next(ctx); err == nil {
			t.Errorf("nothing changed, yet the watcher got %s", r.State)
		}
	})
}

func TestSubmitTwice(t *testing.T) {
	eachHost(t, Options{}, func(t *testing.T, q Queue) {
		one := submit(t, q, request("mine"))
		two := submit(t, q, request("mine"))
		if one.Seed != two.Seed || !one.Created.Equal(two.Created) {
			t.Errorf("same id and content: %+v and %+v", one, two)
		}
		other := request("mine", func(r *job.Request) { r.Steps = 3 })
		if _, err := q.Submit(t.Context(), other); !errors.Is(err, ErrConflict) {
			t.Errorf("other content: %v", err)
		}
		if _, err := q.Submit(t.Context(), request("a b")); job.KindOf(err) != job.InvalidInput {
			t.Errorf("an id that is none: %v", err)
		}
		if list, _ := q.List(t.Context(), Filter{}); len(list) != 1 {
			t.Errorf("%d jobs, want 1", len(list))
		}
	})
}

func TestCancel(t *testing.T) {
	eachHost(t, Options{}, func(t *testing.T, q Queue) {
		submit(t, q, request("run"))
		submit(t, q, request("wait"))
		l := next(t, q, Consumer{Node: "a"})

		if r, err := q.Cancel(t.Context(), "wait"); err != nil || r.State != job.Cancelled {
			t.Errorf("waiting job: %s, %v", r.State, err)
		}
		if _, err := q.Cancel(t.Context(), "wait"); !errors.Is(err, ErrNotFound) {
			t.Errorf("ended job: %v", err)
		}
		for range 2 { // asking twice is no error
			if r, err := q.Cancel(t.Context(), "run"); err != nil || r.State != job.Running || !r.CancelRequested {
				t.Errorf("running job: %+v, %v", r, err)
			}
		}
		select {
		case <-l.Cancelled():
		default:
			t.Error("the lease does not say that the job shall stop")
		}
		if err := l.HandBack(t.Context()); err != nil || state(t, q, "run") != job.Cancelled {
			t.Errorf("handed back after a cancel: %s, %v", state(t, q, "run"), err)
		}
		if _, err := q.Cancel(t.Context(), "nobody"); !errors.Is(err, ErrNotFound) {
			t.Errorf("unknown job: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), quiet)
		defer cancel()
		if l, err := q.Next(ctx, Consumer{}); err == nil {
			t.Errorf("cancelled job %s was handed out", l.Record().ID)
		}
	})
}

func TestHandBack(t *testing.T) {
	eachHost(t, Options{}, func(t *testing.T, q Queue) {
		submit(t, q, request("one"))
		submit(t, q, request("two"))
		l := next(t, q, Consumer{Node: "a"})
		if err := l.HandBack(t.Context()); err != nil || state(t, q, "one") != job.Queued {
			t.Fatalf("%v", err)
		}
		again := next(t, q, Consumer{Node: "b"})
		if r := again.Record(); r.ID != "one" || r.Attempt != 1 || r.Node != "b" {
			t.Errorf("want job one again, first attempt, on b; got %+v", r)
		}
		if _, err := l.Finish(t.Context(), job.Complete, job.Outcome{}); !errors.Is(err, ErrLeaseLost) {
			t.Errorf("an old lease finished the job: %v", err)
		}
	})
}

func TestFull(t *testing.T) {
	eachHost(t, Options{Length: 2, Bytes: 100_000}, func(t *testing.T, q Queue) {
		big := func(r *job.Request) { r.InputImage = make([]byte, 90_000) }
		submit(t, q, request("big", big))
		if _, err := q.Submit(t.Context(), request("big2", big)); !errors.Is(err, ErrFull) {
			t.Errorf("too many bytes: %v", err)
		}
		submit(t, q, request("two"))
		if _, err := q.Submit(t.Context(), request("three")); !errors.Is(err, ErrFull) {
			t.Errorf("too many jobs: %v", err)
		}
		if _, err := next(t, q, Consumer{}).Finish(t.Context(), job.Failed, job.Outcome{}); err != nil {
			t.Fatal(err)
		}
		r := submit(t, q, request("big2", big))
		if got, _ := q.Get(t.Context(), "big"); got.Request.InputImage != nil || r.Request.InputImage == nil {
			t.Error("an ended job must let go of its picture, a submitted one has it")
		}
		next(t, q, Consumer{}) // job two
		if got := next(t, q, Consumer{}).Record(); got.ID != "big2" || len(got.Request.InputImage) != 90_000 {
			t.Errorf("job %s comes with a picture of %d bytes", got.ID, len(got.Request.InputImage))
		}
	})
}

func TestList(t *testing.T) {
	eachHost(t, Options{}, func(t *testing.T, q Queue) {
		for i := range 5 {
			submit(t, q, request(fmt.Sprint("j", i)))
		}
		if _, err := q.Cancel(t.Context(), "j1"); err != nil {
			t.Fatal(err)
		}
		for _, row := range []struct {
			filter Filter
			want   []job.ID
		}{
			{Filter{}, []job.ID{"j4", "j3", "j2", "j1", "j0"}},
			{Filter{Limit: 2}, []job.ID{"j4", "j3"}},
			{Filter{Limit: 2, Before: "j3"}, []job.ID{"j2", "j1"}},
			{Filter{State: job.Queued, Before: "j3"}, []job.ID{"j2", "j0"}},
			{Filter{State: job.Cancelled}, []job.ID{"j1"}},
		} {
			list, err := q.List(t.Context(), row.filter)
			var got []job.ID
			for _, r := range list {
				got = append(got, r.ID)
			}
			if err != nil || !slices.Equal(got, row.want) {
				t.Errorf("%+v: got %v (%v), want %v", row.filter, got, err, row.want)
			}
		}
		if _, err := q.List(t.Context(), Filter{Before: "nobody"}); !errors.Is(err, ErrNotFound) {
			t.Errorf("unknown cursor: %v", err)
		}
	})
}

func TestRemoveAndExpiry(t *testing.T) {
	eachHost(t, Options{Expiry: time.Hour, Finished: 2}, func(t *testing.T, q Queue) {
		submit(t, q, request("wait"))
		if err := q.Remove(t.Context(), "wait"); !errors.Is(err, ErrUnfinished) {
			t.Errorf("remove a waiting job: %v", err)
		}
		for i := range 4 {
			id := fmt.Sprint("end", i)
			submit(t, q, request(id))
			if _, err := q.Cancel(t.Context(), job.ID(id)); err != nil {
				t.Fatal(err)
			}
		}
		if err := q.Remove(t.Context(), "end3"); err != nil {
			t.Error(err)
		}
		expire(t, q, 10*time.Minute)
		if _, err := q.Get(t.Context(), "end0"); !errors.Is(err, ErrNotFound) {
			t.Errorf("the oldest of three ended jobs is kept where two may be: %v", err)
		}
		if state(t, q, "end2") != job.Cancelled {
			t.Error("a young ended job is gone")
		}
		expire(t, q, 2*time.Hour)
		if list, _ := q.List(t.Context(), Filter{}); len(list) != 1 || list[0].ID != "wait" {
			t.Errorf("after the expiry only the waiting job stays, got %d", len(list))
		}
	})
}

func TestNodes(t *testing.T) {
	eachHost(t, Options{}, func(t *testing.T, q Queue) {
		for _, n := range []job.Node{{ID: "b"}, {ID: "a"}, {ID: "b", Status: job.Ready}} {
			if err := q.PutNode(t.Context(), n); err != nil {
				t.Fatal(err)
			}
		}
		nodes, err := q.Nodes(t.Context())
		if err != nil || len(nodes) != 2 || nodes[0].ID != "a" || nodes[1].Status != job.Ready || time.Since(nodes[1].Seen) > nodeTTL {
			t.Errorf("%+v, %v", nodes, err)
		}
	})
}

// TestManyConsumers: each job is handed to exactly one consumer, and closing
// wakes those who wait.
func TestManyConsumers(t *testing.T) {
	eachHost(t, Options{}, func(t *testing.T, q Queue) {
		const jobs = 200
		var mu sync.Mutex
		taken := map[job.ID]int{}
		var done sync.WaitGroup
		for i := range 8 {
			done.Go(func() {
				for {
					l, err := q.Next(t.Context(), Consumer{Node: fmt.Sprint(i)})
					if err != nil {
						if !errors.Is(err, ErrClosed) {
							t.Errorf("next: %v", err)
						}
						return
					}
					mu.Lock()
					taken[l.Record().ID]++
					mu.Unlock()
					if _, err := l.Finish(t.Context(), job.Complete, job.Outcome{}); err != nil {
						t.Errorf("finish: %v", err)
					}
				}
			})
		}
		for range jobs {
			submit(t, q, request(""))
		}
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			ended, _ := q.List(t.Context(), Filter{State: job.Complete})
			if len(ended) == jobs || time.Now().After(deadline) {
				break
			}
		}
		q.Close()
		done.Wait()
		for id, n := range taken {
			if n != 1 {
				t.Errorf("job %s was handed out %d times", id, n)
			}
		}
		if len(taken) != jobs {
			t.Errorf("%d jobs taken, want %d", len(taken), jobs)
		}
		if _, err := q.Submit(t.Context(), request("")); !errors.Is(err, ErrClosed) {
			t.Errorf("submit after close: %v", err)
		}
	})
}
