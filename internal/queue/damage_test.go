package queue

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"waggle/internal/job"
)

// TestDamagedConsumer: a lane goes on whose consumer's file is cut short, as a
// power cut may leave it; after another restart too.
func TestDamagedConsumer(t *testing.T) {
	dir := t.TempDir()
	b := connect(t, dir)
	q := open(t, b, Options{})
	submit(t, q, request("one"))
	submit(t, q, request("two"))
	if err := next(t, q, Consumer{Node: "a"}).HandBack(t.Context()); err != nil {
		t.Fatal(err)
	}
	q.Close()
	b.Close()
	files, err := filepath.Glob(filepath.Join(dir, "jetstream", "jetstream", "*", "streams", jobStream, "obs", "*", "o.dat"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files of consumers %q, %v", files, err)
	}
	info, err := os.Stat(files[0])
	if err == nil {
		err = os.Truncate(files[0], info.Size()/2)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []job.ID{"one", "two"} {
		b := connect(t, dir)
		q := open(t, b, Options{})
		l := next(t, q, Consumer{Node: "a"})
		if l.Record().ID != want {
			t.Errorf("got %s, want %s", l.Record().ID, want)
		}
		finish(t, l)
		q.Close()
		b.Close()
	}
}

// TestNumberGivenAgain: the stream lost its end and gave the number of a job's
// message to another's. Each keeps its own place in line.
func TestNumberGivenAgain(t *testing.T) {
	q := open(t, connect(t, t.TempDir()), Options{})
	submit(t, q, request("old"))
	submit(t, q, request("new"))
	old, err := q.load(t.Context(), "old")
	if err != nil {
		t.Fatal(err)
	}
	newer, err := q.load(t.Context(), "new")
	if err != nil {
		t.Fatal(err)
	}
	q.unannounce(t.Context(), old.stored)
	lost := old.stored
	lost.Sequence = newer.Sequence
	if _, err := q.write(t.Context(), lost, old.revision); err != nil {
		t.Fatal(err)
	}
	q.unannounce(t.Context(), lost)
	if err := q.reconcile(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	got := map[job.ID]bool{}
	for range 2 {
		l := next(t, q, Consumer{Node: "a"})
		got[l.Record().ID] = true
		finish(t, l)
	}
	if !got["old"] || !got["new"] {
		t.Errorf("got %v, want both jobs", got)
	}
}

// TestLostParts: a job whose pictures have lost a part fails at once, and does
// not hold up the next.
func TestLostParts(t *testing.T) {
	t.Parallel()
	q := open(t, connect(t, t.TempDir()), Options{})
	submit(t, q, request("bad", func(r *job.Request) { r.Operation, r.InputImage = job.Transform, make([]byte, 300<<10) }))
	submit(t, q, request("good"))
	must(t, q.parts.Purge(t.Context(), jetstream.WithPurgeSubject("$O."+inputBucket+".C.>"), jetstream.WithPurgeKeep(1)))
	began := time.Now()
	l := next(t, q, Consumer{})
	if got := l.Record().ID; got != "good" || time.Since(began) > 2*time.Second {
		t.Errorf("got %s after %v", got, time.Since(began))
	}
	if r, err := q.Get(t.Context(), "bad"); err != nil || r.State != job.Failed || !strings.Contains(r.Message, "pictures") {
		t.Errorf("%+v, %v", r, err)
	}
	finish(t, l)
}
