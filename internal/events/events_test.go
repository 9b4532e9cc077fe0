package events

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
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hosts are the logs every test runs on.
var hosts = map[string]func(t *testing.T, expiry time.Duration) Log{
	"memory":    func(_ *testing.T, expiry time.Duration) Log { return NewMemory(expiry) },
	"jetstream": func(t *testing.T, expiry time.Duration) Log { return open(t, connect(t, t.TempDir()), expiry) },
}

func eachHost(t *testing.T, test func(*testing.T, Log)) {
	for name, open := range hosts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := open(t, time.Hour)
			defer l.Close()
			test(t, l)
		})
	}
}

// connect starts a server in this process on a folder.
func connect(t *testing.T, dir string) *bus.Bus {
	t.Helper()
	b, err := bus.Open(bus.Options{Dir: dir, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func open(t *testing.T, b *bus.Bus, expiry time.Duration) *JetStream {
	t.Helper()
	l, err := Open(t.Context(), b.JetStream, Options{Expiry: expiry, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// expire does what a log does now and then, as if it were a later time.
func expire(t *testing.T, l Log, later time.Duration) {
	switch l := l.(type) {
	case *Memory:
		l.expire(time.Now().Add(later))
	case *JetStream:
		l.expire(t.Context(), time.Now().Add(later))
	default:
		t.Fatalf("how does a %T expire?", l)
	}
}

// quiet is how long a test waits for what must not come.
const quiet = 200 * time.Millisecond

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

func publish(t *testing.T, l Log, id job.ID, events ...job.Event) {
	t.Helper()
	for _, e := range events {
		if err := l.Publish(t.Context(), id, e); err != nil {
			t.Fatal(err)
		}
	}
}

// steps publishes the events and previews of steps from…to of total.
func steps(t *testing.T, l Log, id job.ID, from, to, total int) {
	t.Helper()
	for s := from; s <= to; s++ {
		show(t, l, id, s, total)
		publish(t, l, id, job.StepEvent(s, total))
	}
}

func show(t *testing.T, l Log, id job.ID, step, total int) {
	t.Helper()
	latent := job.NewLatent(1, 1, 1, []float32{float32(step)})
	if err := l.ShowPreview(t.Context(), id, job.Preview{Step: step, Total: total, Latent: latent}); err != nil {
		t.Fatal(err)
	}
}

// rest waits for n events of a stream, and a moment for more of them that must
// not come. Each stands as "number type step", a change of state as the state.
func rest(t *testing.T, r Reader, n int) (lines []string) {
	t.Helper()
	for {
		limit := quiet
		if len(lines) < n {
			limit = patience
		}
		e, err := within(t, limit, r)
		if err != nil {
			if !errors.Is(err, ErrEnd) && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("next: %v", err)
			}
			return lines
		}
		what := string(e.Type)
		if e.Type == job.ChangeEvent {
			what = string(e.State)
		}
		lines = append(lines, fmt.Sprint(e.Number, " ", what, " ", e.Step))
	}
}

func within(t *testing.T, limit time.Duration, r Reader) (job.Event, error) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return r.Next(ctx)
}

func read(t *testing.T, l Log, id job.ID, after uint64) Reader {
	t.Helper()
	r, err := l.Read(t.Context(), id, after)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

var complete = job.Event{Type: job.CompleteEvent}

func TestReplay(t *testing.T) {
	eachHost(t, func(t *testing.T, l Log) {
		live := read(t, l, "a", 0)
		steps(t, l, "a", 1, 7, 7)
		publish(t, l, "a", complete)
		all := []string{"1 preview 1", "2 progress 2", "3 progress 3", "4 progress 4", "5 progress 5", "6 preview 6", "7 preview 7", "8 complete 0"}
		late := slices.Clone(all)
		late[0], late[5] = "1 progress 1", "6 progress 6"
		for _, row := range []struct {
			name   string
			reader Reader
			want   []string
		}{
			{"reader from the start", live, all},
			{"late reader", read(t, l, "a", 0), late},
			{"late reader after 5", read(t, l, "a", 5), late[5:]},
			{"after the last", read(t, l, "a", 8), nil},
			{"after one that never was", read(t, l, "a", 1<<63), nil},
			{"other job", read(t, l, "b", 0), nil},
		} {
			if got := rest(t, row.reader, len(row.want)); !slices.Equal(got, row.want) {
				t.Errorf("%s: got %q, want %q", row.name, got, row.want)
			}
		}
		if _, err := live.Next(t.Context()); !errors.Is(err, ErrEnd) {
			t.Errorf("after the last event: %v", err)
		}
	})
}

func TestNothingTwice(t *testing.T) {
	eachHost(t, func(t *testing.T, l Log) {
		steps(t, l, "a", 1, 3, 4)
		steps(t, l, "a", 1, 4, 4) // run again from the start
		publish(t, l, "a", complete, job.Event{Type: job.ErrorEvent}, job.StepEvent(5, 9))
		want := []string{"1 progress 1", "2 progress 2", "3 progress 3", "4 preview 4", "5 complete 0"}
		if got := rest(t, read(t, l, "a", 0), len(want)); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestStates: a change of state is told once, and does not make the log forget
// the step before it.
func TestStates(t *testing.T) {
	eachHost(t, func(t *testing.T, l Log) {
		publish(t, l, "a", job.StateEvent(job.Queued)) // as every job begins
		for range 2 {
			publish(t, l, "a", job.StateEvent(job.Running))
			steps(t, l, "a", 1, 2, 4)
			publish(t, l, "a", job.StateEvent(job.Running))
		}
		publish(t, l, "a", job.StateEvent(job.Paused), job.StateEvent(job.Paused), job.StateEvent(job.Queued), job.StateEvent(job.Running))
		steps(t, l, "a", 2, 3, 4)
		publish(t, l, "a", complete, job.StateEvent(job.Queued))
		want := []string{"1 running 0", "2 preview 1", "3 progress 2", "4 paused 0", "5 queued 0", "6 running 0", "7 progress 3", "8 complete 0"}
		if got := rest(t, read(t, l, "a", 0), len(want)); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if step, total, err := l.Reached(t.Context(), "a"); step != 3 || total != 4 || err != nil {
			t.Errorf("reached step %d of %d, %v", step, total, err)
		}
		if step, _, err := l.Reached(t.Context(), "never"); step != 0 || err != nil {
			t.Errorf("a job without events reached step %d, %v", step, err)
		}
		if got := rest(t, read(t, l, "a", 4), len(want)-4); !slices.Equal(got, want[4:]) {
			t.Errorf("after event 4: got %q, want %q", got, want[4:])
		}
	})
}

func TestPreviews(t *testing.T) {
	eachHost(t, func(t *testing.T, l Log) {
		r, err := l.Previews(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		steps(t, l, "a", 1, 12, 20)
		if p, err := r.Next(t.Context()); err != nil || p.Step != 12 || p.Latent.At(0, 0, 0) != 12 {
			t.Errorf("a slow reader gets the newest preview only: step %d, %v", p.Step, err)
		}
		var showing sync.WaitGroup
		showing.Go(func() {
			time.Sleep(20 * time.Millisecond)
			show(t, l, "a", 13, 20)
		})
		if p, err := r.Next(t.Context()); err != nil || p.Step != 13 {
			t.Errorf("waiting reader: step %d, %v", p.Step, err)
		}
		showing.Wait()
		for step, want := range map[int]bool{13: true, 11: true, 1: false, 14: false} {
			if _, ok := l.Preview(t.Context(), "a", step); ok != want {
				t.Errorf("preview of step %d kept: %v, want %v", step, ok, want)
			}
		}
		publish(t, l, "a", complete)
		if _, err := r.Next(t.Context()); !errors.Is(err, ErrEnd) {
			t.Errorf("after the end: %v", err)
		}
		late, _ := l.Previews(t.Context(), "a")
		if p, err := late.Next(t.Context()); err != nil || p.Step != 13 {
			t.Errorf("late watcher: step %d, %v", p.Step, err)
		}
		expire(t, l, 2*time.Minute)
		_, newest := l.Preview(t.Context(), "a", 13)
		_, older := l.Preview(t.Context(), "a", 12)
		if !newest || older {
			t.Errorf("an ended job keeps its newest preview (%v) and no other (%v)", newest, !older)
		}
	})
}

// TestManyReaders: readers of different speed each get everything in order, and
// the writer waits for none: they stop until it is done.
func TestManyReaders(t *testing.T) {
	eachHost(t, func(t *testing.T, l Log) {
		var got sync.Map
		var done sync.WaitGroup
		written := make(chan struct{})
		for i := range 10 {
			r := read(t, l, "a", 0)
			done.Go(func() {
				var numbers []uint64
				for {
					e, err := r.Next(t.Context())
					if err != nil {
						break
					}
					if numbers = append(numbers, e.Number); len(numbers) == 10*i {
						<-written
					}
				}
				got.Store(i, numbers)
			})
		}
		steps(t, l, "a", 1, 100, 100)
		publish(t, l, "a", complete)
		close(written)
		done.Wait()
		for i := range 10 {
			numbers, _ := got.Load(i)
			if n := numbers.([]uint64); len(n) != 101 || !slices.IsSorted(n) {
				t.Errorf("reader %d got %d events, want 101 in order", i, len(n))
			}
		}
	})
}

func TestForgetExpireClose(t *testing.T) {
	eachHost(t, func(t *testing.T, l Log) {
		steps(t, l, "old", 1, 2, 4)
		publish(t, l, "old", complete)
		steps(t, l, "waits", 1, 2, 4)
		steps(t, l, "gone", 1, 2, 4)
		if err := l.Forget(t.Context(), "gone"); err != nil {
			t.Fatal(err)
		}
		if got := rest(t, read(t, l, "gone", 0), 0); got != nil {
			t.Errorf("a forgotten job has events %q", got)
		}
		expire(t, l, 6*time.Hour)
		if got := rest(t, read(t, l, "old", 0), 3); len(got) != 3 {
			t.Errorf("a job that was not forgotten lost its events: %q", got)
		}
		if got := rest(t, read(t, l, "waits", 0), 2); len(got) != 2 {
			t.Errorf("a job that has not ended lost its events: %q", got)
		}
		expire(t, l, 8*time.Hour)
		if got := rest(t, read(t, l, "old", 0), 0); got != nil {
			t.Errorf("an expired job has events %q", got)
		}
		waiting := read(t, l, "new", 0)
		ended := make(chan error)
		go func() {
			_, err := waiting.Next(context.WithoutCancel(t.Context()))
			ended <- err
		}()
		time.Sleep(20 * time.Millisecond) // until it waits
		l.Close()
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("a waiting reader of a closed log: %v", err)
		}
		if err := l.Publish(t.Context(), "new", complete); !errors.Is(err, ErrClosed) {
			t.Errorf("publish after close: %v", err)
		}
	})
}
