package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"waggle/internal/job"
	"waggle/internal/queue"
)

// signed checks a signature as a receiver does that knows only the document.
func signed(header string, body []byte, key string, now time.Time) error {
	stamp, signature, _ := strings.Cut(header, ",")
	seconds, err := strconv.ParseInt(strings.TrimPrefix(stamp, "t="), 10, 64)
	if err != nil {
		return err
	}
	if age := now.Sub(time.Unix(seconds, 0)).Abs(); age > 5*time.Minute {
		return fmt.Errorf("it is %v old", age)
	}
	mac := hmac.New(sha256.New, []byte(key))
	fmt.Fprintf(mac, "%d.%s", seconds, body)
	if got := strings.TrimPrefix(signature, "v1="); got != hex.EncodeToString(mac.Sum(nil)) {
		return fmt.Errorf("signature %q is wrong", got)
	}
	return nil
}

// TestTold: what a receiver gets, and that it is signed.
func TestTold(t *testing.T) {
	t.Parallel()
	s := newService(t)
	to := newReceiver(t, status(204))
	s.send(short, to)
	s.tell("silent", "")
	r := s.tell("one", to.url+"/hook?a=b")
	h := to.next()
	if h.path != "POST /hook?a=b" || h.Get("Content-Type") != "application/json" || h.Get("User-Agent") != "waggle/9.9" {
		t.Errorf("%s, %v", h.path, h.Header)
	}
	var got map[string]any
	if err := json.Unmarshal(h.body, &got); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"created":%q,"finished":%q,"job_id":"one","pictures":[{"height":128,"seed":7,"url":"/v1/jobs/one/image/0","width":64}],"seed":7,"state":"complete"}`,
		r.Created.Format(time.RFC3339Nano), r.Finished.Format(time.RFC3339Nano))
	if again, _ := json.Marshal(got); string(again) != want {
		t.Errorf("got  %s\nwant %s", again, want)
	}
	signature := h.Get("Waggle-Signature")
	if err := signed(signature, h.body, secret, h.at); err != nil {
		t.Errorf("%s: %v", signature, err)
	}
	for name, err := range map[string]error{
		"another body":   signed(signature, append(h.body, ' '), secret, h.at),
		"another secret": signed(signature, h.body, secret+"x", h.at),
		"another time":   signed(strings.Replace(signature, "t=1", "t=2", 1), h.body, secret, h.at),
	} {
		if err == nil {
			t.Errorf("the signature is right with %s", name)
		}
	}
	s.settled(1)
	to.quiet()
}

// TestEveryEnd: however a job ends, its webhook is told.
func TestEveryEnd(t *testing.T) {
	t.Parallel()
	s := newService(t)
	to := newReceiver(t, status(200))
	s.send(short, to)
	s.submit("failed", to.url)
	s.finish(job.Failed, job.Outcome{Kind: job.OutOfMemory, Message: "no room"})
	s.submit("cancelled", to.url)
	if _, err := s.queue.Cancel(t.Context(), "cancelled"); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for range 2 {
		var b Body
		if err := json.Unmarshal(to.next().body, &b); err != nil {
			t.Fatal(err)
		}
		got[string(b.JobID)] = fmt.Sprint(b.State, " ", b.Kind, " ", b.Message, " ", len(b.Pictures))
	}
	for id, want := range map[string]string{"failed": "failed out_of_memory no room 0", "cancelled": "cancelled cancelled Job cancelled by user 0"} {
		if got[id] != want {
			t.Errorf("%s: got %q, want %q", id, got[id], want)
		}
	}
}

// TestAgain: what is no success is sent again after longer and longer pauses,
// with the same body and a new signature, until it is one.
func TestAgain(t *testing.T) {
	t.Parallel()
	s := newService(t)
	to := newReceiver(t, status(500, 429, 404, 302, 100+1, 200))
	s.send(short, to)
	s.tell("one", to.url)
	var list []heard
	for len(list) < 5 {
		list = append(list, to.next())
	}
	for i, h := range list[1:] {
		if string(h.body) != string(list[0].body) {
			t.Errorf("try %d has another body: %s", i+1, h.body)
		}
		if err := signed(h.Get(SignatureHeader), h.body, secret, h.at); err != nil {
			t.Error(err)
		}
		if pause := h.at.Sub(list[i].at); pause < short.first*3/4 {
			t.Errorf("try %d came %v after the one before", i+1, pause)
		}
	}
}

// TestPause: the pauses double, by a quarter more or less, up to the longest.
func TestPause(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ age, want time.Duration }{
		{-time.Hour, time.Second}, {0, time.Second}, {time.Second, time.Second}, {time.Minute, time.Minute},
		{59 * time.Minute, 59 * time.Minute}, {23 * time.Hour, time.Hour},
	} {
		for range 100 {
			if got := usualTimes.pause(row.age); got < row.want*3/4 || got > row.want*5/4 {
				t.Fatalf("after %v a pause of %v, want about %v", row.age, got, row.want)
			}
		}
	}
	tries, age := 1, time.Duration(0)
	for ; age < usualTimes.giveUp; tries++ {
		age += usualTimes.pause(age)
	}
	if tries < 30 || tries > 50 {
		t.Errorf("%d tries in %v", tries, age)
	}
}

// TestGivenUp: 410 at once, other failures when their time is over, both for ever.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	t.Run("gone", func(t *testing.T) {
		t.Parallel()
		s := newService(t)
		to := newReceiver(t, status(410))
		s.send(short, to)
		s.tell("one", to.url)
		to.next()
		s.settled(1)
		to.quiet()
	})
	t.Run("late", func(t *testing.T) {
		t.Parallel()
		s := newService(t)
		to := newReceiver(t, status(503))
		late := short
		late.giveUp = 300 * time.Millisecond
		s.send(late, to)
		s.tell("one", to.url)
		s.settled(1)
		if n := len(to.heard); n < 2 || n > 12 {
			t.Errorf("%d tries", n)
		}
	})
}

// TestRedirect: a receiver cannot send us elsewhere.
func TestRedirect(t *testing.T) {
	t.Parallel()
	s := newService(t)
	elsewhere := newReceiver(t, status(200))
	to := newReceiver(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 0 {
			http.Redirect(w, r, elsewhere.url, http.StatusTemporaryRedirect)
		}
	})
	s.send(short, to, elsewhere)
	s.tell("one", to.url)
	to.next()
	to.next()
	s.settled(1)
	elsewhere.quiet()
}

// TestHang: a receiver that never answers is left after a while, does not hold
// up another, and does not keep the sender from closing.
func TestHang(t *testing.T) {
	t.Parallel()
	s := newService(t)
	stuck := newReceiver(t, func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	quick := newReceiver(t, status(200))
	times := short
	times.timeout = 300 * time.Millisecond
	w := s.send(times, stuck, quick)
	for i := range 2 * sendersLimit {
		s.tell(job.ID(fmt.Sprint("stuck", i)), stuck.url)
	}
	s.tell("quick", quick.url)
	quick.next()
	for range senderLimit + 1 {
		stuck.next() // the last is a second turn: the first ones were left
	}
	began := time.Now()
	w.Close()
	if took := time.Since(began); took > time.Second {
		t.Errorf("closing took %v", took)
	}
}

// TestHugeAnswer: an answer without end does no harm, in headers or body.
func TestHugeAnswer(t *testing.T) {
	t.Parallel()
	s := newService(t)
	ended := make(chan struct{})
	to := newReceiver(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 0 {
			w.Header().Set("X-Large", strings.Repeat("x", 2*answerHeaderLimit))
			return
		}
		for piece := make([]byte, 1<<20); ; {
			if _, err := w.Write(piece); err != nil {
				close(ended)
				return
			}
		}
	})
	s.send(short, to)
	s.tell("one", to.url)
	to.next() // is no success
	to.next() // is, and nobody reads on
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("the answer is still being read")
	}
	s.settled(1)
}

// TestCrash: a process that dies between a job's end and its webhook, before
// it was queued or after, leaves it to the next; what has been told is not told again.
func TestCrash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	to := newReceiver(t, status(200, 500, 200))
	s := openService(t, dir)
	w := s.send(short, to)
	s.tell("told", to.url)
	to.next()
	s.settled(1)
	times := short
	times.first, times.most = time.Hour, time.Hour
	w.Close()
	w = s.send(times, to)
	s.tell("queued", to.url)
	to.next()
	w.Close()
	s.tell("ended", to.url) // and nobody is there to see it
	s.queue.Close()
	s.bus.Close()

	s = openService(t, dir)
	s.send(short, to)
	h := to.next()
	var b Body
	if err := json.Unmarshal(h.body, &b); err != nil || b.JobID != "ended" {
		t.Errorf("after the restart came %s, %v", h.body, err)
	}
	if n := s.queued(); n != 3 {
		t.Errorf("%d webhooks are queued, want 3", n)
	}
	to.quiet()
}

// TestSweep: what a watcher could not queue is queued later, once, whoever looks.
func TestSweep(t *testing.T) {
	t.Parallel()
	s := newService(t)
	to := newReceiver(t, status(200))
	w := s.send(short, to)
	r := s.tell("one", to.url)
	to.next()
	for range 3 {
		if err := w.put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if err := w.sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.queued(); n != 1 {
		t.Errorf("queued %d times", n)
	}
	forget(t, s.bus.JetStream, r) // as if it had never been queued
	if err := w.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	to.next()
	s.settled(2)
	to.quiet()
}

func forget(t *testing.T, js jetstream.JetStream, r job.Record) {
	t.Helper()
	stream, err := js.Stream(t.Context(), streamName)
	if err == nil {
		err = stream.Purge(t.Context(), jetstream.WithPurgeSubject(subjectOf(r)))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestConsumerGone: a consumer that is taken away is made again, and nothing is lost.
func TestConsumerGone(t *testing.T) {
	t.Parallel()
	s := newService(t)
	to := newReceiver(t, status(200))
	s.send(short, to)
	s.tell("one", to.url)
	to.next()
	s.settled(1)
	if err := s.bus.JetStream.DeleteConsumer(t.Context(), streamName, consumer); err != nil {
		t.Fatal(err)
	}
	s.tell("two", to.url)
	for {
		var b Body
		if err := json.Unmarshal(to.next().body, &b); err != nil {
			t.Fatal(err)
		}
		if b.JobID == "two" {
			return // the new consumer may have begun with the first once more
		}
	}
}

// TestOldEnds: a record that outlived the stream's memory is not told again.
func TestOldEnds(t *testing.T) {
	t.Parallel()
	s := newService(t)
	to := newReceiver(t, status(200))
	w := s.send(short, to)
	w.queue = records{Queue: s.queue, list: []job.Record{
		{ID: "old", State: job.Complete, Request: job.Request{Webhook: &job.Webhook{URL: to.url}}, Finished: time.Now().Add(clockSlack/2 - w.options.kept())},
		{ID: "new", State: job.Complete, Request: job.Request{Webhook: &job.Webhook{URL: to.url}}, Finished: time.Now().Add(-w.options.Expiry)},
	}}
	if err := w.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	var b Body
	if err := json.Unmarshal(to.next().body, &b); err != nil || b.JobID != "new" || s.queued() != 1 {
		t.Errorf("told of %q, %d queued, %v", b.JobID, s.queued(), err)
	}
}

// records is a queue with other records.
type records struct {
	queue.Queue
	list []job.Record
}

func (r records) List(context.Context, queue.Filter) ([]job.Record, error) { return r.list, nil }

// TestTwo: two senders on one queue tell of a job once, and one goes on when
// the other is gone.
func TestTwo(t *testing.T) {
	t.Parallel()
	s := newService(t)
	to := newReceiver(t, status(200))
	one := s.send(short, to)
	s.send(short, to)
	for i := range 10 {
		s.tell(job.ID(fmt.Sprint("job", i)), to.url)
	}
	told := map[string]int{}
	for range 10 {
		told[string(to.next().body)]++
	}
	s.settled(10)
	one.Close()
	s.tell("last", to.url)
	told[string(to.next().body)]++
	s.settled(11)
	to.quiet()
	if len(told) != 11 {
		t.Errorf("told of %d jobs", len(told))
	}
}

// TestSameIDAgain: an id used again is another job, which is told too.
func TestSameIDAgain(t *testing.T) {
	t.Parallel()
	s := newService(t)
	to := newReceiver(t, status(200))
	s.send(short, to)
	for range 2 {
		s.tell("one", to.url)
		to.next()
		if err := s.queue.Remove(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNotAllowedAnyMore: a host that the operator takes from the list hears nothing more.
func TestNotAllowedAnyMore(t *testing.T) {
	t.Parallel()
	s := newService(t)
	to := newReceiver(t, status(200))
	times := short
	times.giveUp = 300 * time.Millisecond
	s.send(times)
	s.tell("one", to.url)
	s.settled(1)
	to.quiet()
}

// TestSecret: a secret that can be guessed is refused.
func TestSecret(t *testing.T) {
	t.Parallel()
	s := newService(t)
	if _, err := Open(t.Context(), s.bus.JetStream, s.queue, Options{Secret: []byte("short")}); err == nil || !strings.Contains(err.Error(), "16") {
		t.Errorf("a short secret: %v", err)
	}
}
