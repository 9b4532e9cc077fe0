//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestSoak serves a steady mix of clients, good and bad, for the time that SOAK says, and measures the server all along:
// nothing of it may grow.
func TestSoak(t *testing.T) {
	needAdapter(t)
	length, err := time.ParseDuration(os.Getenv("SOAK"))
	if err != nil {
		t.Skip("SOAK says for how long: make soak")
	}
	stats := filepath.Join(t.TempDir(), "stats")
	command := commandFor(t, length+10*time.Minute, "serve", "--port", "0", "--data", t.TempDir(), "--keep-jobs", "100", "--keep-mib", "16")
	command.Path = buildWith(t, map[string]string{"tell_stats.go": telling})
	command.Env = append(command.Env, "WAGGLE_TEST_STATS="+stats)
	s := startCommand(t, command)
	s.ready()
	m := &meter{server: s, stats: stats, data: argument(command.Args, "--data")}
	_, stream := s.post(star(fields{"steps": 2}))
	s.finished(stream)
	time.Sleep(2 * time.Second) // the server tells of itself twice a second
	idle := m.measure()
	ctx, stop := context.WithTimeout(t.Context(), length)
	defer stop()
	mix := &mix{server: s}
	var clients sync.WaitGroup
	for n, client := range mix.clients() {
		rng := rand.New(rand.NewPCG(1, uint64(n)))
		clients.Go(func() { client(ctx, rng) })
	}
	list := m.follow(ctx, length, mix)
	clients.Wait()
	mix.report()
	judgeGrowth(t, list)
	m.settles(idle)
}

func argument(args []string, name string) string { return args[slices.Index(args, name)+1] }

// telling is a source file that makes the program write down what only it knows of itself.
const telling = `package main

import (
	"encoding/json"
	"os"
	"runtime/metrics"
	"time"
)

func init() {
	file := os.Getenv("WAGGLE_TEST_STATS")
	tell := func() {
		m := []metrics.Sample{{Name: "/sched/goroutines:goroutines"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
		metrics.Read(m)
		text, _ := json.Marshal(map[string]uint64{"Goroutines": m[0].Value.Uint64(), "Live": m[1].Value.Uint64(), "Go": m[2].Value.Uint64() - m[3].Value.Uint64()})
		if os.WriteFile(file+".new", text, 0o600) == nil {
			os.Rename(file+".new", file)
		}
	}
	tell()
	go func() {
		for range time.Tick(500 * time.Millisecond) {
			tell()
		}
	}()
}
`

// sample is the server at one moment.
type sample struct {
	at         time.Duration
	resident   int // MiB
	live       int // MiB of Go values at the last collection
	goMemory   int // MiB that the Go runtime holds
	goroutines int
	threads    int
	files      int // open ones
	disk       int // MiB in the data folder
}

// meter measures a server.
type meter struct {
	*server
	stats, data string
}

func (m *meter) measure() (x sample) {
	m.Helper()
	var inside struct{ Goroutines, Live, Go int }
	text, err := os.ReadFile(m.stats)
	if err == nil {
		err = json.Unmarshal(text, &inside)
	}
	if err != nil {
		m.Fatalf("what the server tells of itself: %v", err)
	}
	x = sample{goroutines: inside.Goroutines, live: inside.Live >> 20, goMemory: inside.Go >> 20, resident: m.resident() >> 10}
	process := fmt.Sprint("/proc/", m.cmd.Process.Pid)
	threads, _ := os.ReadDir(process + "/task")
	files, _ := os.ReadDir(process + "/fd")
	x.threads, x.files = len(threads), len(files)
	var bytes int64
	_ = filepath.WalkDir(m.data, func(_ string, e os.DirEntry, err error) error {
		if err == nil {
			if info, err := e.Info(); err == nil {
				bytes += info.Size()
			}
		}
		return nil
	})
	x.disk = int(bytes >> 20)
	return x
}

const sampleEvery = 10 * time.Second

// follow measures until ctx ends, and prints a table of about thirty lines.
func (m *meter) follow(ctx context.Context, length time.Duration, mix *mix) (list []sample) {
	fmt.Printf("%8s %9s %7s %7s %11s %8s %6s %8s %s\n", "time", "resident", "live", "Go", "goroutines", "threads", "files", "on disk", "done until then")
	began := time.Now()
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for next := time.Duration(0); ; {
		select {
		case <-ctx.Done():
			return list
		case <-tick.C:
		}
		x := m.measure()
		x.at = time.Since(began)
		list = append(list, x)
		if x.at >= next {
			fmt.Printf("%8s %5d MiB %3d MiB %3d MiB %11d %8d %6d %4d MiB %s\n", x.at.Round(time.Second), x.resident, x.live, x.goMemory, x.goroutines, x.threads, x.files, x.disk, mix)
			next += max(length/30, sampleEvery)
		}
	}
}

// bound is how much more of something there may be in the second half than in the first: both on top of the first.
type bound struct {
	name    string
	of      func(sample) int
	percent int
	more    int
}

var bounds = []bound{
	{"MiB resident", func(x sample) int { return x.resident }, 5, 8},
	{"MiB of live Go values", func(x sample) int { return x.live }, 10, 4},
	{"goroutines", func(x sample) int { return x.goroutines }, 10, 5},
	{"threads", func(x sample) int { return x.threads }, 0, 3},
	{"open files", func(x sample) int { return x.files }, 10, 5},
	{"MiB on disk", func(x sample) int { return x.disk }, 20, 16},
}

// judgeGrowth compares the medians of both halves of what was measured, the first tenth left out.
func judgeGrowth(t testing.TB, list []sample) {
	list = list[len(list)/10:]
	if len(list) < 4 {
		t.Fatalf("%d samples are too few to see growth: give it more time", len(list))
	}
	half := len(list) / 2
	for _, b := range bounds {
		before, after := middle(list[:half], b.of), middle(list[half:], b.of)
		limit := before + before*b.percent/100 + b.more
		fmt.Printf("%s: %d in the first half, %d in the second, at most %d\n", b.name, before, after, limit)
		if after > limit {
			t.Errorf("%s grew from %d to %d", b.name, before, after)
		}
	}
}

func middle(list []sample, of func(sample) int) int {
	var values []int
	for _, x := range list {
		values = append(values, of(x))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// settles waits until the server, with nobody there any more, has no more goroutines and files than before anybody came.
func (m *meter) settles(idle sample) {
	m.Helper()
	const spare = 10 // NATS and the queue keep some for later; consumers of lanes that nobody asks for ten minutes
	x := m.measure()
	for deadline := time.Now().Add(12 * time.Minute); time.Now().Before(deadline); time.Sleep(time.Second) {
		if x = m.measure(); x.goroutines <= idle.goroutines+spare && x.files <= idle.files+spare {
			fmt.Printf("afterwards: %d goroutines and %d open files; before: %d and %d\n", x.goroutines, x.files, idle.goroutines, idle.files)
			return
		}
	}
	m.Errorf("afterwards: %d goroutines and %d open files; before: %d and %d", x.goroutines, x.files, idle.goroutines, idle.files)
}

// TestGrowth: growth is found, and noise is not taken for it.
func TestGrowth(t *testing.T) {
	for name, row := range map[string]struct {
		at    func(i int) int
		grows bool
	}{
		"flat":  {func(i int) int { return 100 + i%3 }, false},
		"grows": {func(i int) int { return 100 + i }, true},
	} {
		var list []sample
		for i := range 60 {
			list = append(list, sample{resident: 100, goroutines: row.at(i)})
		}
		r := &recorder{TB: t}
		judgeGrowth(r, list)
		if r.failed != row.grows {
			t.Errorf("%s: found growth: %v", name, r.failed)
		}
	}
}

// recorder notes that a test would have failed.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Errorf(string, ...any) { r.failed = true }
