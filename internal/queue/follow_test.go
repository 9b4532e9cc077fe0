package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"waggle/internal/job"
)

// deafBucket is a bucket whose watches can be made to hear nothing.
type deafBucket struct {
	jetstream.KeyValue

	mu      sync.Mutex
	watches []*deafWatch
}

type deafWatch struct {
	jetstream.KeyWatcher
	out  chan jetstream.KeyValueEntry
	deaf chan struct{} // closed: what comes is swallowed
}

func (w *deafWatch) Updates() <-chan jetstream.KeyValueEntry { return w.out }

func (b *deafBucket) WatchAll(ctx context.Context, o ...jetstream.WatchOpt) (jetstream.KeyWatcher, error) {
	inner, err := b.KeyValue.WatchAll(ctx, o...)
	if err != nil {
		return nil, err
	}
	w := &deafWatch{KeyWatcher: inner, out: make(chan jetstream.KeyValueEntry), deaf: make(chan struct{})}
	go func() {
		defer close(w.out)
		for e := range inner.Updates() {
			if isClosed(w.deaf) {
				continue
			}
			select {
			case w.out <- e:
			case <-w.deaf:
			}
		}
	}()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watches = append(b.watches, w)
	return w, nil
}

func (b *deafBucket) newest() *deafWatch {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.watches[len(b.watches)-1]
}

// TestFollower: a watch that ends, or hears nothing any more, is opened again,
// and what came and went meanwhile is known.
func TestFollower(t *testing.T) {
	b := connect(t, t.TempDir())
	kv, err := b.JetStream.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	bucket := &deafBucket{KeyValue: kv}
	var mu sync.Mutex
	known := map[string]string{}
	f := &follower{
		bucket: bucket, log: slog.New(slog.NewTextHandler(t.Output(), nil)), every: 50 * time.Millisecond,
		tell: func(e jetstream.KeyValueEntry) {
			mu.Lock()
			defer mu.Unlock()
			if known[e.Key()] = string(e.Value()); e.Operation() != jetstream.KeyValuePut {
				delete(known, e.Key())
			}
		},
		all: func(present map[string]bool, _ uint64) {
			mu.Lock()
			defer mu.Unlock()
			for key := range known {
				if !present[key] {
					delete(known, key)
				}
			}
		},
	}
	put := func(key, value string) {
		t.Helper()
		if _, err := kv.PutString(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	knows := func(want string) {
		t.Helper()
		eventually(t, want, func() error {
			mu.Lock()
			defer mu.Unlock()
			var got []string
			for _, key := range []string{"a", "b", "c"} {
				got = append(got, known[key])
			}
			if text := strings.Join(got, " "); text != want {
				return errors.New(text)
			}
			return nil
		})
	}
	put("a", "1")
	put("b", "1")
	if err := f.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { f.run(stop) })
	defer running.Wait()
	defer close(stop)
	knows("1 1 ")
	put("c", "1")
	knows("1 1 1")

	if err := bucket.newest().Stop(); err != nil {
		t.Fatal(err)
	}
	put("a", "2")
	if err := kv.Purge(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	knows("2  1")

	close(bucket.newest().deaf)
	put("a", "3")
	put("b", "3")
	knows("3 3 1")
	put("c", "4")
	knows("3 3 4")
	if n := len(bucket.watches); n != 3 {
		t.Errorf("%d watches were opened, want 3: one at first, one each after it ended and fell silent", n)
	}
}

// awayInputs cannot be read for a while.
type awayInputs struct {
	jetstream.ObjectStore
	fail chan error
}

func (a awayInputs) GetBytes(ctx context.Context, name string, o ...jetstream.GetObjectOpt) ([]byte, error) {
	select {
	case err := <-a.fail:
		return nil, err
	default:
		return a.ObjectStore.GetBytes(ctx, name, o...)
	}
}

// TestInputsAway: a job whose pictures cannot be read at the moment waits; it
// neither fails nor loses an attempt.
func TestInputsAway(t *testing.T) {
	q := open(t, connect(t, t.TempDir()), Options{times: short})
	away := awayInputs{q.inputs, make(chan error, 5)}
	for range cap(away.fail) {
		away.fail <- nats.ErrTimeout
	}
	q.inputs = away
	submit(t, q, request("a", func(r *job.Request) { r.InputImage, r.Operation = []byte("picture"), job.Transform }))
	l := next(t, q, Consumer{Node: "n"})
	if r := l.Record(); string(r.Request.InputImage) != "picture" || r.Attempt != 1 || len(away.fail) != 0 {
		t.Errorf("got %+v, attempt %d, %d failures left", r.Request.InputImage, r.Attempt, len(away.fail))
	}
	finish(t, l)
}

// TestSilentLane: a job whose message nobody gets is taken all the same.
func TestSilentLane(t *testing.T) {
	times := short
	times.silence = 200 * time.Millisecond
	b := connect(t, t.TempDir())
	q := open(t, b, Options{times: times})
	times.ack = time.Hour
	other := open(t, b, Options{times: times})
	for name, hide := range map[string]func(job.ID){
		"given to somebody who is gone": func(id job.ID) { // and who keeps it for a long time
			it, _ := q.index.get(id)
			m, err := other.fetch(t.Context(), laneOf(it.stored))
			if err != nil || m == nil {
				t.Errorf("fetch: %v, %v", m, err)
			}
		},
		"gone": func(id job.ID) {
			it, _ := q.index.get(id)
			if err := q.jobs.DeleteMsg(t.Context(), it.Sequence); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := submit(t, q, request(""))
			hide(r.ID)
			l := next(t, q, Consumer{Node: "n"})
			if l.Record().ID != r.ID || l.Record().Attempt != 1 {
				t.Errorf("got %+v, want %s", l.Record(), r.ID)
			}
			finish(t, l)
			nothing(t, q, Consumer{Node: "n"})
		})
	}
}

// eventually tries until there is no error.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for err := try(); err != nil; err = try() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestLostRun: a job that ran on a node which is gone is run again though its
// message does not come again, and so is one of this node in an earlier life;
// one whose node lives is let be.
func TestLostRun(t *testing.T) {
	times := short
	times.ack, times.silence = time.Hour, 300*time.Millisecond
	b := connect(t, t.TempDir())
	dead := open(t, b, Options{times: times})
	q := open(t, b, Options{times: times})
	for id, node := range map[string]string{"a": "dead", "b": "alive", "c": "n"} {
		submit(t, dead, request(id, model(node)))
		if l := next(t, dead, Consumer{Node: node, Takes: only(node)}); l.Record().ID != job.ID(id) {
			t.Fatalf("got %s", l.Record().ID)
		}
	}
	for _, id := range []string{"alive", "n"} {
		if err := q.PutNode(t.Context(), job.Node{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	dead.Close()
	q.reclaimed["n"] = true // asked for in vain
	var got []string
	for range 2 {
		r := next(t, q, Consumer{Node: "n"}).Record()
		got = append(got, fmt.Sprint(r.ID, r.Attempt))
	}
	slices.Sort(got)
	if want := []string{"a2", "c2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	nothing(t, q, Consumer{Node: "n"})
}

// TestLeftToItsNode: a message that was not renewed in time is left to the node
// that runs its job, if that lives: the job is not begun again.
func TestLeftToItsNode(t *testing.T) {
	slow := short
	slow.renew = 3 * time.Second / 2
	b := connect(t, t.TempDir())
	one := open(t, b, Options{times: slow}) // it is late with its first word
	two := open(t, b, Options{times: short})
	submit(t, one, request("a"))
	if err := one.PutNode(t.Context(), job.Node{ID: "one"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "two knows of one", func() error {
		if !two.nodes.lives("one", time.Now()) {
			return errors.New("it does not")
		}
		return nil
	})
	l := next(t, one, Consumer{Node: "one"})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if other, err := two.Next(ctx, Consumer{Node: "two"}); err == nil {
		t.Errorf("%s was given out again, attempt %d", other.Record().ID, other.Record().Attempt)
	}
	if r, err := l.Finish(t.Context(), job.Complete, job.Outcome{}); err != nil || r.Attempt != 1 {
		t.Errorf("finish: %v, attempt %d", err, r.Attempt)
	}
}
