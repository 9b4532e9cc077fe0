package queue

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"waggle/internal/bus"
	"waggle/internal/job"
)

// clients are how many submit at the same time in the measurements.
const clients = 100

// submitAll submits n jobs by all clients and returns how long each took.
func submitAll(tb testing.TB, q Queue, n int) []time.Duration {
	took := make([]time.Duration, n)
	var work sync.WaitGroup
	for c := range clients {
		work.Go(func() {
			for i := c; i < n; i += clients {
				r := request("")
				r.Client, r.Prompt = fmt.Sprint("client ", c), "a small red circle in the middle, on a blue background, soft light"
				began := time.Now()
				if _, err := q.Submit(tb.Context(), r); err != nil {
					tb.Errorf("submit: %v", err)
					return
				}
				took[i] = time.Since(began)
			}
		})
	}
	work.Wait()
	slices.Sort(took)
	return took
}

// BenchmarkSubmit: durable submissions of 100 clients at the same time; with
// "always", each is on the disk before it is answered.
func BenchmarkSubmit(b *testing.B) {
	for name, always := range map[string]bool{"kernel": false, "always": true} {
		b.Run(name, func(b *testing.B) {
			at, err := bus.Open(bus.Options{Dir: b.TempDir(), SyncAlways: always})
			if err != nil {
				b.Fatal(err)
			}
			defer at.Close()
			q, err := Open(b.Context(), at.JetStream, Options{Length: b.N + clients})
			if err != nil {
				b.Fatal(err)
			}
			defer q.Close()
			began := time.Now()
			took := submitAll(b, q, b.N)
			b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "jobs/s")
			b.ReportMetric(float64(took[b.N/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[b.N*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}

// BenchmarkJob: a job from submission to its end without any work in it.
func BenchmarkJob(b *testing.B) {
	at, err := bus.Open(bus.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer at.Close()
	q, err := Open(b.Context(), at.JetStream, Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer q.Close()
	for b.Loop() {
		if _, err := q.Submit(b.Context(), request("")); err != nil {
			b.Fatal(err)
		}
		l, err := q.Next(b.Context(), Consumer{Node: "n"})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := l.Finish(b.Context(), job.Complete, job.Outcome{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWaiting: which of ten thousand jobs of as many clients, or of one, is
// first; asked by who takes all and by who takes only the last.
func BenchmarkWaiting(b *testing.B) {
	const n = 10_000
	for name, client := range map[string]func(int) string{
		"clients": func(i int) string { return fmt.Sprint("client ", i) },
		"client":  func(int) string { return "client" },
	} {
		x := newIndex(make(chan struct{}))
		for i := range n {
			s := stored{Record: newRecord(request(fmt.Sprint("j", i)), "d"), Client: client(i), Sequence: uint64(i + 1)}
			x.apply(s, uint64(i+1))
		}
		last := Consumer{Takes: func(r job.Record) bool { return r.ID == "j9999" }}
		b.Run(name+"/first", func(b *testing.B) {
			for b.Loop() {
				if r, any := x.waitingFor(Consumer{}); !any || r.ID != "j0" {
					b.Fatalf("%s is first", r.ID)
				}
			}
		})
		b.Run(name+"/last", func(b *testing.B) {
			for b.Loop() {
				x.waitingFor(last)
			}
		})
		b.Run(name+"/change", func(b *testing.B) {
			it, _ := x.get("j0")
			states := []job.State{job.Running, job.Queued}
			revision := uint64(n)
			for b.Loop() {
				revision++
				it.State = states[revision%2]
				x.apply(it.stored, revision)
			}
		})
	}
}

// TestTenThousand: ten thousand waiting jobs take little memory, and a restart
// with them little time.
func TestTenThousand(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("takes seconds, and is not itself with the race detector")
	}
	const n, memoryLimit, restartLimit = 10_000, 200 << 20, 5 * time.Second
	dir := t.TempDir()
	b := connect(t, dir)
	q := open(t, b, Options{Length: n})
	before := memory(t)
	took := submitAll(t, q, n)
	began := time.Now()
	for range n {
		q.Waiting(Consumer{})
	}
	if each := time.Since(began) / n; each > 10*time.Microsecond {
		t.Errorf("asking which job is first takes %v", each)
	}
	extra := memory(t) - before
	t.Logf("%d jobs: p50 %v, p99 %v, %d MiB in the process, %d MiB on disk", n, took[n/2], took[n*99/100], extra>>20, size(t, dir)>>20)
	if extra > memoryLimit {
		t.Errorf("%d waiting jobs take %d MiB", n, extra>>20)
	}
	q.Close()
	b.Close()

	began = time.Now()
	q = open(t, connect(t, dir), Options{Length: n})
	restart := time.Since(began)
	l := next(t, q, Consumer{Node: "a"})
	t.Logf("open again in %v, first job after %v", restart, time.Since(began))
	if restart > restartLimit {
		t.Errorf("opening %d jobs took %v", n, restart)
	}
	if list, _ := q.List(t.Context(), Filter{State: job.Queued}); len(list) != n-1 || l.Record().Attempt != 1 {
		t.Errorf("%d jobs wait, and the first to come is in attempt %d", len(list), l.Record().Attempt)
	}
}

// memory is what the process holds, in bytes: its resident size where the
// system tells, else the heap.
func memory(t *testing.T) int {
	t.Helper()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return int(m.HeapAlloc)
	}
	var total, resident int
	if _, err := fmt.Sscan(string(data), &total, &resident); err != nil {
		t.Fatalf("statm %s: %v", strconv.Quote(string(data)), err)
	}
	return resident * os.Getpagesize()
}

// size is what a folder's files take.
func size(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			n += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
