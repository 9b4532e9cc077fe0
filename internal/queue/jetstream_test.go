package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"waggle/internal/bus"
	"waggle/internal/job"
	"waggle/internal/natstest"
)

// short are times for tests.
var short = times{ack: time.Second, renew: 100 * time.Millisecond, rescue: 50 * time.Millisecond}

// nothing checks that there is no job to take.
func nothing(t *testing.T, q Queue, c Consumer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), quiet)
	defer cancel()
	if l, err := q.Next(ctx, c); err == nil {
		t.Errorf("job %s was handed out", l.Record().ID)
	}
}

func finish(t *testing.T, l Lease) {
	t.Helper()
	if _, err := l.Finish(t.Context(), job.Complete, job.Outcome{}); err != nil {
		t.Errorf("finish %s: %v", l.Record().ID, err)
	}
}

// TestRestart: after a crash a node has its own job back at once, before those
// that wait, with everything that came with it.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := connect(t, dir)
	q := open(t, b, Options{})
	for _, id := range []string{"one", "two", "three"} {
		r := request(id)
		r.Operation, r.Strength, r.InputImage, r.Client = job.Transform, 0.25, []byte(id), "c"
		submit(t, q, r)
	}
	before := next(t, q, Consumer{Node: "a"}).Record()
	q.Close() // without a word to the lease
	b.Close()

	b = connect(t, dir)
	q = open(t, b, Options{})
	began := time.Now()
	l := next(t, q, Consumer{Node: "a"})
	if took := time.Since(began); took > time.Second {
		t.Errorf("the job came back after %v", took)
	}
	r := l.Record()
	if r.ID != "one" || r.Attempt != 2 || r.Seed != before.Seed || !r.Created.Equal(before.Created) || r.Digest != before.Digest {
		t.Errorf("got %+v\nwant the second attempt of %+v", r, before)
	}
	if r.Request.Strength != 0.25 || string(r.Request.InputImage) != "one" || r.Request.Client != "c" {
		t.Errorf("the request came back as %+v", r.Request)
	}
	finish(t, l)
	if got := next(t, q, Consumer{Node: "a"}).Record(); got.ID != "two" || got.Attempt != 1 {
		t.Errorf("then came %s, attempt %d", got.ID, got.Attempt)
	}
	if list, err := q.List(t.Context(), Filter{}); err != nil || len(list) != 3 || list[0].ID != "three" {
		t.Errorf("the list has %d jobs, %v", len(list), err)
	}
}

// TestHandedBackRestart: a job handed back before the end is there at once
// after it, and it is still its first attempt.
func TestHandedBackRestart(t *testing.T) {
	t.Parallel()
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
	q = open(t, connect(t, dir), Options{})
	if r := next(t, q, Consumer{Node: "a"}).Record(); r.ID != "one" || r.Attempt != 1 {
		t.Errorf("got %s in attempt %d", r.ID, r.Attempt)
	}
}

// TestAttempts: a job whose node dies three times ends, and says why; one that
// was asked to stop is not begun again.
func TestAttempts(t *testing.T) {
	t.Parallel()
	b := connect(t, t.TempDir())
	var ended []job.Record
	o := Options{times: short, Ended: func(_ context.Context, r job.Record) { ended = append(ended, r) }}
	q := open(t, b, o)
	submit(t, q, request("bad"))
	submit(t, q, request("good"))
	for attempt := 1; attempt <= attemptsLimit; attempt++ {
		if r := next(t, q, Consumer{Node: "a"}).Record(); r.ID != "bad" || r.Attempt != attempt {
			t.Fatalf("got %s in attempt %d, want bad in %d", r.ID, r.Attempt, attempt)
		}
		q.Close()
		q = open(t, b, o)
	}
	l := next(t, q, Consumer{Node: "a"})
	if l.Record().ID != "good" {
		t.Errorf("then came %s", l.Record().ID)
	}
	r, err := q.Get(t.Context(), "bad")
	if err != nil || r.State != job.Failed || r.Kind != job.AttemptsExhausted || !strings.Contains(r.Message, "3 times") || r.Finished.IsZero() {
		t.Errorf("the bad job: %+v, %v", r, err)
	}
	if len(ended) != 1 || ended[0].ID != "bad" {
		t.Errorf("ended: %v", ended)
	}
	if _, err := q.Cancel(t.Context(), "good"); err != nil {
		t.Fatal(err)
	}
	q.Close()
	q = open(t, b, o)
	for deadline := time.Now().Add(10 * time.Second); state(t, q, "good") != job.Cancelled; {
		nothing(t, q, Consumer{Node: "a"})
		if time.Now().After(deadline) {
			t.Fatal("a job asked to stop before its node died did not end")
		}
	}
}

// TestAnotherNode: a node that lives keeps its job however long it takes; the
// job of one that dies goes to another, and the first has no say any more.
func TestAnotherNode(t *testing.T) {
	t.Parallel()
	b := connect(t, t.TempDir())
	one, two := open(t, b, Options{times: short}), open(t, b, Options{times: short})
	submit(t, one, request("j"))
	first := next(t, one, Consumer{Node: "one"})
	ctx, cancel := context.WithTimeout(t.Context(), 2*short.ack)
	defer cancel()
	if l, err := two.Next(ctx, Consumer{Node: "two"}); err == nil {
		t.Fatalf("a running job was given away: %+v", l.Record())
	}
	first.(*held).stopRenewing()
	second := next(t, two, Consumer{Node: "two"})
	if r := second.Record(); r.ID != "j" || r.Node != "two" || r.Attempt != 2 {
		t.Errorf("the other node got %+v", r)
	}
	select {
	case <-first.Cancelled():
	case <-time.After(5 * time.Second):
		t.Error("the first node is not told that it has lost the job")
	}
	if _, err := first.Finish(t.Context(), job.Complete, job.Outcome{}); !errors.Is(err, ErrLeaseLost) {
		t.Errorf("the first node ended the job: %v", err)
	}
	finish(t, second)
}

// stopRenewing lets a lease go silent, as if its node had died.
func (l *held) stopRenewing() {
	l.renewing.Lock()
	defer l.renewing.Unlock()
	close(l.until)
	l.until = make(chan struct{}) // for release
}

// TestCancelElsewhere: a cancel on one node stops the job on another.
func TestCancelElsewhere(t *testing.T) {
	t.Parallel()
	b := connect(t, t.TempDir())
	one, two := open(t, b, Options{}), open(t, b, Options{})
	submit(t, one, request("j"))
	l := next(t, one, Consumer{Node: "one"})
	if _, err := two.Cancel(t.Context(), "j"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-l.Cancelled():
	case <-time.After(5 * time.Second):
		t.Error("not told")
	}
}

// TestCancelFreesPlace: a cancelled job takes no place in line.
func TestCancelFreesPlace(t *testing.T) {
	t.Parallel()
	q := open(t, connect(t, t.TempDir()), Options{Length: 1})
	for i := range 3 {
		id := job.ID(fmt.Sprint("j", i))
		submit(t, q, request(string(id)))
		if _, err := q.Cancel(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSubmitAtOnce: of many submissions under one id at the same time one
// makes the job, and it is in line once.
func TestSubmitAtOnce(t *testing.T) {
	t.Parallel()
	q := open(t, connect(t, t.TempDir()), Options{})
	var mu sync.Mutex
	seeds := map[uint64]bool{}
	conflicts := 0
	var done sync.WaitGroup
	for i := range 20 {
		done.Go(func() {
			r := request("same")
			if i >= 18 {
				r.Steps = 3
			}
			record, err := q.Submit(t.Context(), r)
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(err, ErrConflict) {
				conflicts++
			} else if err != nil {
				t.Error(err)
			} else {
				seeds[record.Seed] = true
			}
		})
	}
	done.Wait()
	if len(seeds) != 1 || conflicts != 2 && conflicts != 18 {
		t.Errorf("seeds %v, %d conflicts", seeds, conflicts)
	}
	finish(t, next(t, q, Consumer{}))
	nothing(t, q, Consumer{})
	if info, err := q.jobs.Info(t.Context()); err != nil || info.State.Msgs != 0 {
		t.Errorf("%d messages are left, %v", info.State.Msgs, err)
	}
}

// TestHalfDone: whatever a crash left half done is put right.
func TestHalfDone(t *testing.T) {
	t.Parallel()
	q := open(t, connect(t, t.TempDir()), Options{})
	later := time.Now().Add(time.Hour)
	for name, row := range map[string]func(*testing.T){
		"message without record": func(t *testing.T) {
			s := stored{Record: newRecord(request("adopt"), "d")}
			data, err := s.encode()
			if err != nil {
				t.Fatal(err)
			}
			if err := q.announce(t.Context(), &s, data); err != nil {
				t.Fatal(err)
			}
			nothing(t, q, Consumer{}) // its submission may be under way
			if err := q.reconcile(t.Context(), later); err != nil {
				t.Fatal(err)
			}
			l := next(t, q, Consumer{})
			if r := l.Record(); r.ID != "adopt" || r.Seed != s.Seed {
				t.Errorf("got %+v", r)
			}
			finish(t, l)
		},
		"record without message": func(t *testing.T) {
			submit(t, q, request("restore"))
			it, _ := q.index.get("restore")
			q.unannounce(t.Context(), it.stored)
			nothing(t, q, Consumer{})
			if err := q.reconcile(t.Context(), later); err != nil {
				t.Fatal(err)
			}
			l := next(t, q, Consumer{})
			if r := l.Record(); r.ID != "restore" || r.Attempt != 1 {
				t.Errorf("got %+v", r)
			}
			finish(t, l)
		},
		"end without the message's": func(t *testing.T) {
			submit(t, q, request("ended"))
			it, _ := q.index.get("ended")
			if _, err := q.write(t.Context(), it.ended(job.Complete, job.Outcome{}), it.revision); err != nil {
				t.Fatal(err)
			}
			if err := q.reconcile(t.Context(), later); err != nil {
				t.Fatal(err)
			}
			nothing(t, q, Consumer{})
		},
		"pictures without a job": func(t *testing.T) {
			r := request("orphan")
			r.Operation, r.InputImage = job.Transform, []byte("picture")
			s := stored{Record: newRecord(r, "d")}
			if err := q.putInputs(t.Context(), &s); err != nil {
				t.Fatal(err)
			}
			r.ID = "waits"
			submit(t, q, r)
			if err := q.dropOrphans(t.Context(), later); err != nil {
				t.Fatal(err)
			}
			if _, err := q.getInputs(t.Context(), s); !errors.Is(err, errLost) {
				t.Errorf("they are still there: %v", err)
			}
			l := next(t, q, Consumer{})
			if string(l.Record().Request.InputImage) != "picture" {
				t.Error("a waiting job has lost its picture")
			}
			finish(t, l)
		},
		"message of nobody": func(t *testing.T) {
			m := &nats.Msg{Subject: lane{job.High, "x", "y", ""}.subject(), Data: []byte("what?")}
			if _, err := q.js.PublishMsg(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			if err := q.reconcile(t.Context(), later); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			row(t)
			if info, err := q.jobs.Info(t.Context()); err != nil || info.State.Msgs != 0 {
				t.Errorf("%d messages are left, %v", info.State.Msgs, err)
			}
		})
	}
}

// TestDamagedRecord: a job whose record cannot be read fails and says so; the
// others go on, now and after a restart.
func TestDamagedRecord(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := connect(t, dir)
	q := open(t, b, Options{})
	submit(t, q, request("bad"))
	submit(t, q, request("good"))
	for _, text := range []string{`{"id":"bad","state":"running","seed":`, "", `{"id":"good","state":"queued"}`, `[1]`} {
		if _, err := q.records.Put(t.Context(), "bad", []byte(text)); err != nil {
			t.Fatal(err)
		}
		r, err := q.Get(t.Context(), "bad")
		if err != nil || r.State != job.Failed || r.Kind != job.Internal || !strings.Contains(r.Message, "damaged") {
			t.Errorf("%q: %+v, %v", text, r, err)
		}
	}
	q.Close()
	b.Close()
	q = open(t, connect(t, dir), Options{})
	l := next(t, q, Consumer{})
	if l.Record().ID != "good" {
		t.Errorf("got %s", l.Record().ID)
	}
	finish(t, l)
	if r, err := q.Get(t.Context(), "bad"); err != nil || r.State != job.Failed {
		t.Errorf("%+v, %v", r, err)
	}
	if err := q.Remove(t.Context(), "bad"); err != nil {
		t.Error(err)
	}
	if _, err := q.Get(t.Context(), "bad"); !errors.Is(err, ErrNotFound) {
		t.Errorf("after it was removed: %v", err)
	}
}

// TestLostInputs: a job whose pictures are gone fails; the next one runs.
func TestLostInputs(t *testing.T) {
	t.Parallel()
	q := open(t, connect(t, t.TempDir()), Options{})
	r := request("bad")
	r.Operation, r.InputImage = job.Transform, []byte("picture")
	submit(t, q, r)
	submit(t, q, request("good"))
	it, _ := q.index.get("bad")
	q.dropInputs(t.Context(), it.stored)
	if got := next(t, q, Consumer{}).Record().ID; got != "good" {
		t.Errorf("got %s", got)
	}
	if got, err := q.Get(t.Context(), "bad"); err != nil || got.State != job.Failed || !strings.Contains(got.Message, "pictures") {
		t.Errorf("%+v, %v", got, err)
	}
}

// FuzzStored: no bytes in the bucket stop the queue from reading the rest.
func FuzzStored(f *testing.F) {
	s := stored{Record: newRecord(request("id"), "d"), Sequence: 3}
	data, err := s.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"id":"id","state":"queued","request":{"seed":-1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := decodeStored("id", data, time.Now())
		if s.ID != "id" || !s.State.Valid() || s.damaged && s.State != job.Failed {
			t.Errorf("read as %+v", s)
		}
		if _, err := s.encode(); err != nil {
			t.Errorf("what was read cannot be written: %v", err)
		}
	})
}

// TestGuest: a queue that is a guest takes as many jobs as its host's does, and
// drops none that have ended.
func TestGuest(t *testing.T) {
	t.Parallel()
	urls := natstest.StartCluster(t, 1).URLs()
	host := open(t, join(t, bus.Options{URLs: urls}), Options{Length: 2, Expiry: 48 * time.Hour})
	guest := open(t, join(t, bus.Options{URLs: urls, Guest: true}), Options{Length: 1, Finished: 1, Expiry: time.Millisecond, Guest: true})
	submit(t, guest, request("one"))
	submit(t, guest, request("two"))
	if _, err := guest.Submit(t.Context(), request("three")); !errors.Is(err, ErrFull) {
		t.Errorf("a third job: %v", err)
	}
	open(t, join(t, bus.Options{URLs: urls}), Options{Length: 3, Expiry: 48 * time.Hour}) // the host has more room now
	guest.tidy(t.Context(), time.Now(), false)
	submit(t, guest, request("three"))
	for range 3 {
		finish(t, next(t, host, Consumer{Node: "a"}))
	}
	for len(ended(t, guest)) < 3 {
		time.Sleep(time.Millisecond)
	}
	guest.tidy(t.Context(), time.Now().Add(time.Hour), true)
	if n := len(ended(t, guest)); n != 3 {
		t.Errorf("the guest has left %d jobs", n)
	}
	host.tidy(t.Context(), time.Now().Add(72*time.Hour), true)
	if n := len(ended(t, host)); n != 0 {
		t.Errorf("the host has left %d jobs", n)
	}
}

func ended(t *testing.T, q Queue) []job.Record {
	t.Helper()
	list, err := q.List(t.Context(), Filter{State: job.Complete})
	if err != nil {
		t.Fatal(err)
	}
	return list
}
