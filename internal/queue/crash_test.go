package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"waggle/internal/job"
)

// messages is how many messages are in line.
func messages(t *testing.T, q *JetStream) uint64 {
	t.Helper()
	info, err := q.jobs.Info(t.Context())
	must(t, err)
	return info.State.Msgs
}

// mended does what is done every minute, as if it were later.
func mended(t *testing.T, q *JetStream) {
	t.Helper()
	must(t, q.reconcile(t.Context(), time.Now().Add(time.Hour)))
}

// TestPausedRestart: a paused job stays paused over a restart and keeps its
// pictures; a moved one keeps its place.
func TestPausedRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := connect(t, dir)
	q := open(t, b, Options{})
	for _, id := range []string{"a", "b", "c", "d", "e", "f"} {
		submit(t, q, request(id, func(r *job.Request) { r.Operation, r.InputImage = job.Transform, []byte(id) }))
	}
	for _, id := range []job.ID{"a", "f"} {
		_, err := q.Pause(t.Context(), id)
		must(t, err)
	}
	running := next(t, q, Consumer{Node: "n"})
	_, err := q.Pause(t.Context(), running.Record().ID)
	must(t, err)
	for _, m := range [][2]job.ID{{"e", ""}, {"d", "c"}} {
		_, err := q.Move(t.Context(), m[0], m[1])
		must(t, err)
	}
	q.Close()
	b.Close()

	q = open(t, connect(t, dir), Options{})
	again := next(t, q, Consumer{Node: "n"})
	if r := again.Record(); r.ID != "b" || r.Attempt != 2 || !again.PauseAsked() {
		t.Errorf("the lost job came back as %+v, asked to pause: %v", r, again.PauseAsked())
	}
	r, err := again.Pause(t.Context())
	if err != nil || r.State != job.Paused {
		t.Errorf("paused at last: %+v, %v", r, err)
	}
	if state(t, q, "a") != job.Paused || state(t, q, "f") != job.Paused {
		t.Errorf("a is %s and f is %s", state(t, q, "a"), state(t, q, "f"))
	}
	_, err = q.Resume(t.Context(), "f")
	must(t, err)
	_, err = q.Resume(t.Context(), "a")
	must(t, err)
	for _, want := range []string{"e", "d", "c", "f", "a"} {
		l := next(t, q, Consumer{Node: "n"})
		if r := l.Record(); string(r.ID) != want || string(r.Request.InputImage) != want {
			t.Errorf("got %s with picture %q, want %s", r.ID, r.Request.InputImage, want)
		}
		finish(t, l)
	}
	if n := messages(t, q); n != 0 {
		t.Errorf("%d messages are left", n)
	}
}

// TestHalfChanged: a change of a job that a crash has cut off between its
// message and its record is made or not, never half.
func TestHalfChanged(t *testing.T) {
	t.Parallel()
	q := open(t, connect(t, t.TempDir()), Options{})
	for name, row := range map[string]struct {
		half func(*testing.T)
		want []string // what is handed out then
	}{
		"paused, its message there": {func(t *testing.T) {
			it, _ := q.index.get("a")
			_, err := q.write(t.Context(), it.paused(), it.revision)
			must(t, err)
		}, []string{"b"}},
		"resumed, not in its record": {func(t *testing.T) {
			_, err := q.Pause(t.Context(), "a")
			must(t, err)
			it, _ := q.index.get("a")
			s, err := it.resume()
			must(t, err)
			must(t, q.announce(t.Context(), &s, nil))
		}, []string{"b"}},
		"moved, not in its record": {func(t *testing.T) {
			it, _ := q.index.get("b")
			s, err := q.index.move(it.stored, "")
			must(t, err)
			must(t, q.announce(t.Context(), &s, nil))
		}, []string{"a", "b"}},
		"moved, its old message there": {func(t *testing.T) {
			it, _ := q.index.get("b")
			s, err := q.index.move(it.stored, "")
			must(t, err)
			must(t, q.announce(t.Context(), &s, nil))
			_, err = q.write(t.Context(), s, it.revision)
			must(t, err)
		}, []string{"b", "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			submit(t, q, request("a"))
			submit(t, q, request("b"))
			row.half(t)
			mended(t, q)
			if got := drain(t, q, Consumer{}); !slices.Equal(got, row.want) {
				t.Errorf("got %v, want %v", got, row.want)
			}
			if n := messages(t, q); n != 0 {
				t.Errorf("%d messages are left", n)
			}
			for _, id := range []job.ID{"a", "b"} {
				if state(t, q, id) == job.Paused {
					_, err := q.Cancel(t.Context(), id)
					must(t, err)
				}
				must(t, q.Remove(t.Context(), id))
			}
		})
	}
}

// TestMessageBeforeRecord: a message that its record does not name yet is not
// dropped by who meets it in between.
func TestMessageBeforeRecord(t *testing.T) {
	t.Parallel()
	q := open(t, connect(t, t.TempDir()), Options{})
	submit(t, q, request("j"))
	_, err := q.Pause(t.Context(), "j")
	must(t, err)
	it, _ := q.index.get("j")
	s, err := it.resume()
	must(t, err)
	must(t, q.announce(t.Context(), &s, nil))
	submit(t, q, request("other")) // in the same lane, so that it is asked
	l := next(t, q, Consumer{})
	if got := l.Record().ID; got != "other" {
		t.Fatalf("%s was handed out", got)
	}
	finish(t, l)
	_, err = q.write(t.Context(), s, it.revision)
	must(t, err)
	l = next(t, q, Consumer{})
	if got := l.Record().ID; got != "j" {
		t.Errorf("%s was handed out", got)
	}
	finish(t, l)
}

// TestRecordFromMessage: a submission whose record a node has read from its
// message leaves that message where it is.
func TestRecordFromMessage(t *testing.T) {
	t.Parallel()
	q := open(t, connect(t, t.TempDir()), Options{})
	s := stored{Record: newRecord(request("j"), "d")}
	must(t, q.putInputs(t.Context(), &s))
	data, err := s.encode()
	must(t, err)
	must(t, q.announce(t.Context(), &s, data))
	_, err = q.adopt(t.Context(), "j", data, s.Sequence)
	must(t, err)
	if r, err := q.late(t.Context(), s); err != nil || r.ID != "j" {
		t.Errorf("%+v, %v", r, err)
	}
	if n := messages(t, q); n != 1 {
		t.Errorf("%d messages in line", n)
	}
	finish(t, next(t, q, Consumer{}))
}

// TestRemovedStaysRemoved: a message left over of a job that was removed does
// not bring it back.
func TestRemovedStaysRemoved(t *testing.T) {
	t.Parallel()
	q := open(t, connect(t, t.TempDir()), Options{})
	submit(t, q, request("j"))
	it, _ := q.index.get("j")
	data, err := it.encode()
	must(t, err)
	_, err = q.Cancel(t.Context(), "j")
	must(t, err)
	must(t, q.Remove(t.Context(), "j"))
	s := it.stored
	must(t, q.announce(t.Context(), &s, data))
	mended(t, q)
	if r, err := q.Get(t.Context(), "j"); !errors.Is(err, ErrNotFound) || messages(t, q) != 0 {
		t.Errorf("%+v, %v, %d messages", r, err, messages(t, q))
	}
	submit(t, q, request("j")) // its client may use the id again
	finish(t, next(t, q, Consumer{}))
}

// TestMendEqualNumbers: a record without a message and a message without a
// record are found though there are as many of one as of the other.
func TestMendEqualNumbers(t *testing.T) {
	t.Parallel()
	q := open(t, connect(t, t.TempDir()), Options{})
	submit(t, q, request("restore", by("one")))
	it, _ := q.index.get("restore")
	q.unannounce(t.Context(), it.stored)
	s := stored{Record: newRecord(request("adopt"), "d"), Client: "two"}
	data, err := s.encode()
	must(t, err)
	must(t, q.announce(t.Context(), &s, data))
	mended(t, q)
	got := drain(t, q, Consumer{})
	slices.Sort(got)
	if want := []string{"adopt", "restore"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestClockSetBack: what was written at a time that has not come yet is mended
// all the same.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	q := open(t, connect(t, t.TempDir()), Options{})
	s := stored{Record: newRecord(request("adopt"), "d")}
	data, err := s.encode()
	must(t, err)
	must(t, q.announce(t.Context(), &s, data))
	must(t, q.reconcile(t.Context(), time.Now().Add(-24*time.Hour)))
	if got := drain(t, q, Consumer{}); !slices.Equal(got, []string{"adopt"}) {
		t.Errorf("got %v", got)
	}
}

// TestAges: records are dropped for their age only when the clock has been
// right for a while.
func TestAges(t *testing.T) {
	t.Parallel()
	a := newAges(Options{Expiry: 24 * time.Hour})
	wall, up := a.wall, time.Duration(0)
	for i, step := range []struct {
		wall, up time.Duration
		want     bool
	}{
		{time.Minute, time.Minute, false}, // the process has just begun
		{59 * time.Minute, 59 * time.Minute, true},
		{30 * time.Second, 0, true}, // a small correction
		{24 * time.Hour, time.Minute, false},
		{-24 * time.Hour, time.Minute, false},
		{time.Hour, time.Hour, true},
		{-24 * time.Hour, time.Minute, true}, // nothing looks older than it is
	} {
		wall, up = wall.Add(step.wall), up+step.up
		if got := a.trust(wall, up); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
}

// TestRedeliveredToItself: when the server gives out the message of a job that
// runs here, because its clock has leapt, the job runs on as it was.
func TestRedeliveredToItself(t *testing.T) {
	t.Parallel()
	q := open(t, connect(t, t.TempDir()), Options{})
	submit(t, q, request("runs"))
	submit(t, q, request("waits"))
	l := next(t, q, Consumer{Node: "n"})
	must(t, q.nak(t.Context(), l.(*held).stored.Reply))
	other := next(t, q, Consumer{Node: "n"})
	if got := other.Record().ID; got != "waits" {
		t.Errorf("%s was handed out", got)
	}
	finish(t, other)
	finish(t, l)
	if r, err := q.Get(t.Context(), "runs"); err != nil || r.Attempt != 1 || r.State != job.Complete || messages(t, q) != 0 {
		t.Errorf("%+v, %v, %d messages", r, err, messages(t, q))
	}
}

// TestRescueTakes: the job of a dead node goes to one that takes it, and jobs
// that wait behind it do not go out of their turn.
func TestRescueTakes(t *testing.T) {
	t.Parallel()
	b := connect(t, t.TempDir())
	o := Options{times: short}
	one, two := open(t, b, o), open(t, b, o)
	submit(t, one, request("lost", model("mx"), by("a")))
	submit(t, one, request("behind", model("mx"), by("a")))
	submit(t, one, request("y", model("my"), by("b")))
	dead := next(t, one, Consumer{Node: "one"})
	dead.(*held).stopRenewing()
	one.Close()
	y := Consumer{Node: "two", Takes: only("my")}
	finish(t, next(t, two, y))
	for end := time.Now().Add(2 * short.ack); time.Now().Before(end); {
		nothing(t, two, y)
	}
	if r, err := two.Get(t.Context(), "lost"); err != nil || r.Attempt != 1 || r.State != job.Running {
		t.Errorf("who does not take the job changed it: %+v, %v", r, err)
	}
	l := next(t, two, Consumer{Node: "two", Takes: only("mx")})
	if r := l.Record(); r.ID != "lost" || r.Attempt != 2 {
		t.Errorf("got %s in attempt %d", r.ID, r.Attempt)
	}
	finish(t, l)
	if got := drain(t, two, Consumer{}); !slices.Equal(got, []string{"behind"}) {
		t.Errorf("then came %v", got)
	}
}

// TestServerBehind: a record of which the server knows less than this process
// is an error, and no endless loop.
func TestServerBehind(t *testing.T) {
	t.Parallel()
	q := open(t, connect(t, t.TempDir()), Options{})
	submit(t, q, request("j"))
	it, _ := q.index.get("j")
	q.index.apply(it.stored, it.revision+100)
	if _, err := q.Cancel(t.Context(), "j"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("cancel: %v", err)
	}
	nothing(t, q, Consumer{})
}

// TestDropFails: a record that could not be removed is still known.
func TestDropFails(t *testing.T) {
	t.Parallel()
	q := open(t, connect(t, t.TempDir()), Options{})
	submit(t, q, request("j"))
	_, err := q.Cancel(t.Context(), "j")
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	q.expire(ctx, time.Now().Add(1000*time.Hour), true)
	if list, err := q.List(t.Context(), Filter{}); err != nil || len(list) != 1 {
		t.Errorf("%d jobs are listed, %v", len(list), err)
	}
	q.expire(t.Context(), time.Now().Add(1000*time.Hour), true)
	if list, err := q.List(t.Context(), Filter{}); err != nil || len(list) != 0 {
		t.Errorf("%d jobs are listed, %v", len(list), err)
	}
}

// TestRefusal: what the server says becomes an error that a caller decides on.
func TestRefusal(t *testing.T) {
	for want, errs := range map[error][]error{
		ErrFull:        {&jetstream.APIError{ErrorCode: 10077, Description: "maximum messages exceeded"}, &jetstream.APIError{ErrorCode: 10077, Description: "maximum bytes exceeded"}},
		ErrNoRoom:      {&jetstream.APIError{ErrorCode: 10077, Description: "no space left on device"}, &jetstream.APIError{ErrorCode: 10047}},
		ErrUnavailable: {context.DeadlineExceeded, jetstream.ErrNoStreamResponse},
	} {
		for _, err := range errs {
			if got := refusal(fmt.Errorf("put: %w", err)); !errors.Is(got, want) {
				t.Errorf("%v became %v, want %v", err, got, want)
			}
		}
	}
	if err := errors.New("else"); refusal(err) != err {
		t.Error("an error of another kind was changed")
	}
}

// TestDoubt: a job whose beginning was written, though the server's answer was
// lost, was never begun.
func TestDoubt(t *testing.T) {
	t.Parallel()
	q := open(t, connect(t, t.TempDir()), Options{})
	submit(t, q, request("j"))
	l := next(t, q, Consumer{Node: "n"}).(*held)
	l.end()
	l.release()
	q.doubt(l.stored)
	must(t, q.nak(t.Context(), l.stored.Reply))
	again := next(t, q, Consumer{Node: "n"})
	if r := again.Record(); r.Attempt != 1 {
		t.Errorf("attempt %d", r.Attempt)
	}
	q.forgetDoubts()
	if len(q.unsure) != 0 {
		t.Errorf("still in doubt: %v", q.unsure)
	}
	finish(t, again)
}

// TestCancelledAndLost: a job that was cancelled when its node had died is
// ended by any node, even one that would not run it.
func TestCancelledAndLost(t *testing.T) {
	t.Parallel()
	b := connect(t, t.TempDir())
	o := Options{times: short}
	one, two := open(t, b, o), open(t, b, o)
	submit(t, one, request("j", model("mx")))
	next(t, one, Consumer{Node: "one"}).(*held).stopRenewing()
	one.Close()
	if r, err := two.Cancel(t.Context(), "j"); err != nil || r.State != job.Running {
		t.Errorf("%+v, %v", r, err)
	}
	for end := time.Now().Add(10 * time.Second); state(t, two, "j") != job.Cancelled; {
		nothing(t, two, Consumer{Node: "two", Takes: only("my")})
		if time.Now().After(end) {
			t.Fatal("it did not end")
		}
	}
}

// TestNoConnection: without a connection there is nothing to take, and that is
// known at once.
func TestNoConnection(t *testing.T) {
	t.Parallel()
	b := connect(t, t.TempDir())
	q := open(t, b, Options{})
	for i := range 5 {
		submit(t, q, request("", by(fmt.Sprint(i))))
	}
	b.Close()
	began := time.Now()
	if l, err := q.Take(t.Context(), Consumer{}); l != nil || err != nil || time.Since(began) > time.Second {
		t.Errorf("%v, %v after %v", l, err, time.Since(began))
	}
	if _, err := q.Submit(t.Context(), request("")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("submit: %v", err)
	}
	if _, err := q.Pause(t.Context(), "j"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("pause: %v", err)
	}
}

// TestDropStale: an old record that this process still believes in, while its
// id is another job's by now, takes nothing of that job away.
func TestDropStale(t *testing.T) {
	t.Parallel()
	var dropped []job.ID
	q := open(t, connect(t, t.TempDir()), Options{Dropped: func(_ context.Context, id job.ID) { dropped = append(dropped, id) }})
	submit(t, q, request("j"))
	_, err := q.Cancel(t.Context(), "j")
	must(t, err)
	old, _ := q.index.get("j")
	must(t, q.Remove(t.Context(), "j"))
	submit(t, q, request("j"))
	young, _ := q.index.get("j")
	q.index.purged("j", young.revision)
	q.index.gone = map[job.ID]uint64{}
	q.index.apply(old.stored, old.revision)
	q.expire(t.Context(), time.Now().Add(1000*time.Hour), true)
	if len(dropped) != 0 {
		t.Errorf("dropped %v", dropped)
	}
	if r, err := q.Get(t.Context(), "j"); err != nil || r.State != job.Queued {
		t.Errorf("%+v, %v", r, err)
	}
}

// mute is a bucket whose answers are lost.
type mute struct{ jetstream.KeyValue }

func (mute) Get(ctx context.Context, _ string) (jetstream.KeyValueEntry, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (mute) Update(ctx context.Context, _ string, _ []byte, _ uint64) (uint64, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

// TestLostAnswers: an answer is not waited for as long as the caller has time.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	times := short
	times.answer = 50 * time.Millisecond
	q := open(t, connect(t, t.TempDir()), Options{times: times})
	r := submit(t, q, request("j"))
	it, _ := q.index.get(r.ID)
	q.records = mute{q.records}
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	for name, ask := range map[string]func() error{
		"get":   func() error { _, err := q.Get(ctx, r.ID); return err },
		"pause": func() error { _, err := q.Pause(ctx, r.ID); return err },
		"write": func() error { _, err := q.write(ctx, it.stored, it.revision); return err },
	} {
		began := time.Now()
		if err := ask(); !errors.Is(err, ErrUnavailable) || time.Since(began) > 10*time.Second {
			t.Errorf("%s: %v after %v", name, err, time.Since(began))
		}
	}
}
