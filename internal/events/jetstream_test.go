package events

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"waggle/internal/job"
)

// TestRestart: events go on with the next number after a restart, and what was
// said before it is still there.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := connect(t, dir)
	l := open(t, b, time.Hour)
	steps(t, l, "a", 1, 30, 40)
	steps(t, l, "done", 1, 2, 2)
	publish(t, l, "done", complete)
	l.Close()
	b.Close()

	l = open(t, connect(t, dir), time.Hour)
	live := read(t, l, "a", 28)
	steps(t, l, "a", 1, 40, 40) // the job runs again from the start
	publish(t, l, "a", complete, complete)
	publish(t, l, "done", complete)
	got := rest(t, live, 13)
	if len(got) != 13 || got[0] != "29 progress 29" || got[12] != "41 complete 0" {
		t.Errorf("a reader behind event 28: %q", got)
	}
	all := rest(t, read(t, l, "a", 0), 41)
	for i, line := range all {
		if want := fmt.Sprint(i + 1); line[:len(want)] != want {
			t.Errorf("event %d: %q", i+1, line)
		}
	}
	if len(all) != 41 || all[30] != "31 progress 31" || all[39] != "40 preview 40" {
		t.Errorf("%d events from the start: %q", len(all), all)
	}
	if got := rest(t, read(t, l, "done", 0), 3); len(got) != 3 {
		t.Errorf("the job that had ended has events %q", got)
	}
}

// TestStatesRestart: after a restart what was told last is known, also where
// the event told last was written by a version that wrote events alone.
func TestStatesRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := connect(t, dir)
	l := open(t, b, time.Hour)
	steps(t, l, "a", 1, 3, 4)
	publish(t, l, "a", job.StateEvent(job.Paused))
	if _, err := b.JetStream.Publish(t.Context(), subject("old"), []byte(`{"number":1,"type":"progress","step":7,"total":9}`)); err != nil {
		t.Fatal(err)
	}
	l.Close()
	b.Close()

	l = open(t, connect(t, dir), time.Hour)
	for _, id := range []job.ID{"a", "old"} {
		publish(t, l, id, job.StateEvent(job.Paused))
		steps(t, l, id, 1, 8, 9)
	}
	if got, want := rest(t, read(t, l, "a", 3), 6), "4 paused 0"; got[0] != want || len(got) != 6 {
		t.Errorf("got %q, want %s and steps 4 to 8", got, want)
	}
	if got, want := rest(t, read(t, l, "old", 1), 2), []string{"2 paused 0", "3 progress 8"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestTwoWriters: two processes that report the same job leave one stream
// without gaps and nothing twice; both hear all of it, previews included.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	b := connect(t, t.TempDir())
	one, two := open(t, b, time.Hour), open(t, b, time.Hour)
	r, s := read(t, one, "a", 0), read(t, two, "a", 0)
	var done sync.WaitGroup
	for _, l := range []*JetStream{one, two} {
		done.Go(func() { steps(t, l, "a", 1, 50, 50) })
	}
	done.Wait()
	publish(t, one, "a", complete)
	publish(t, two, "a", complete)
	for name, r := range map[string]Reader{"one": r, "two": s} {
		got := rest(t, r, 51)
		if len(got) != 51 || got[50] != "51 complete 0" {
			t.Errorf("reader %s: %d events, %q", name, len(got), got)
		}
	}
	show(t, one, "b", 3, 9)
	watcher, err := two.Previews(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	if p, err := watcher.Next(t.Context()); err != nil || p.Step != 3 || p.Total != 9 || p.Latent.At(0, 0, 0) != 3 {
		t.Errorf("a preview shown elsewhere: %+v, %v", p, err)
	}
}

// TestForgottenElsewhere: a reader notices that another process dropped the events.
func TestForgottenElsewhere(t *testing.T) {
	t.Parallel()
	b := connect(t, t.TempDir())
	one, two := open(t, b, time.Hour), open(t, b, time.Hour)
	steps(t, one, "a", 1, 40, 99)
	if got := rest(t, read(t, two, "a", 0), 40); len(got) != 40 {
		t.Fatalf("got %q", got)
	}
	if err := one.Forget(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if got := rest(t, read(t, two, "a", 0), 0); len(got) != 0 {
		t.Errorf("after they were dropped: %q", got)
	}
}

// Test500Watchers: as many readers as that each get everything, one that never
// reads holds up nobody, and the writer does not wait for them.
func Test500Watchers(t *testing.T) {
	t.Parallel()
	l := open(t, connect(t, t.TempDir()), time.Hour)
	read(t, l, "a", 0) // never reads
	const watchers, total = 500, 50
	counts := make([]int, watchers)
	var done sync.WaitGroup
	for i := range counts {
		r := read(t, l, "a", 0)
		done.Go(func() {
			for {
				e, err := r.Next(t.Context())
				if errors.Is(err, ErrEnd) {
					return
				}
				if err != nil || int(e.Number) != counts[i]+1 {
					t.Errorf("reader %d: event %d after %d, %v", i, e.Number, counts[i], err)
					return
				}
				counts[i]++
			}
		})
	}
	var took []time.Duration
	for s := 1; s <= total; s++ {
		began := time.Now()
		publish(t, l, "a", job.StepEvent(s, total))
		took = append(took, time.Since(began))
	}
	publish(t, l, "a", complete)
	done.Wait()
	for i, n := range counts {
		if n != total+1 {
			t.Errorf("reader %d got %d events", i, n)
		}
	}
	slices.Sort(took)
	t.Logf("an event with %d watchers: median %v, longest %v", watchers, took[total/2], took[total-1])
}

func FuzzPreview(f *testing.F) {
	f.Add(encodePreview(job.Preview{Step: 1, Total: 2, Latent: job.NewLatent(1, 2, 2, make([]float32, 4))}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := decodePreview(data)
		if err == nil && string(encodePreview(p)) != string(data) {
			t.Error("what was read is written otherwise")
		}
		if err == nil && len(p.Latent.Data) != p.Latent.Channels*p.Latent.Height*p.Latent.Width {
			t.Errorf("%d values for %+v", len(p.Latent.Data), p.Latent)
		}
	})
}

// TestPreviewForm: sizes at the bounds and beyond.
func TestPreviewForm(t *testing.T) {
	p := job.Preview{Step: 7, Total: 20, Latent: job.NewLatent(2, 1, 3, []float32{1, 2, 3, 4, 5, float32(math.Inf(1))})}
	got, err := decodePreview(encodePreview(p))
	if err != nil || got.Step != 7 || got.Total != 20 || !slices.Equal(got.Latent.Data, p.Latent.Data) || got.Latent.Width != 3 {
		t.Errorf("got %+v, %v", got, err)
	}
	huge := encodePreview(p)
	huge[19] = 0x80 // a width of more than two milliards
	for name, data := range map[string][]byte{"short": {1, 2}, "cut": encodePreview(p)[:22], "huge": huge} {
		if _, err := decodePreview(data); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestPreviewOnItsWay: a preview that another process has shown may come behind
// the event that tells of it; one that was never shown is not waited for long.
func TestPreviewOnItsWay(t *testing.T) {
	t.Parallel()
	b := connect(t, t.TempDir())
	here, there := open(t, b, time.Hour), open(t, b, time.Hour)
	publish(t, there, "a", job.StepEvent(1, 9))
	if _, err := read(t, here, "a", 0).Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	came := make(chan bool)
	go func() {
		_, ok := here.Preview(t.Context(), "a", 1)
		came <- ok
	}()
	err := there.ShowPreview(t.Context(), "a", job.Preview{Step: 1, Total: 9, Latent: job.NewLatent(1, 2, 2, make([]float32, 4))})
	if ok := <-came; err != nil || !ok {
		t.Errorf("the preview came: %v, %v", ok, err)
	}
	if _, ok := here.Preview(t.Context(), "a", 2); ok {
		t.Error("a preview that nobody has shown")
	}
}
