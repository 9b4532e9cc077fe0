package webhook

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"waggle/internal/bus"
	"waggle/internal/job"
	"waggle/internal/natstest"
	"waggle/internal/queue"
)

func TestMain(m *testing.M) {
	natstest.Main()
	goleak.VerifyTestMain(m, natstest.Leaks()...)
}

const secret = "0123456789abcdef0123456789abcdef"

// short are times for tests; nothing is given up in them.
var short = times{
	first: 50 * time.Millisecond, most: 200 * time.Millisecond, giveUp: time.Hour,
	timeout: 10 * time.Second, silence: 30 * time.Second, sweep: time.Hour,
}

// service is a queue with what it lies on.
type service struct {
	*testing.T
	bus   *bus.Bus
	queue *queue.JetStream
}

func newService(t *testing.T) *service {
	t.Helper()
	return openService(t, t.TempDir())
}

func openService(t *testing.T, dir string) *service {
	t.Helper()
	b, err := bus.Open(bus.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	q, err := queue.Open(t.Context(), b.JetStream, queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return &service{t, b, q}
}

// send begins to send to receivers.
func (s *service) send(to times, receivers ...*receiver) *Sender {
	s.Helper()
	hosts := Hosts{}
	for _, r := range receivers {
		hosts[r.address] = true
	}
	o := Options{Secret: []byte(secret), Hosts: hosts, Version: "9.9", Log: slog.New(slog.NewTextHandler(s.Output(), nil)), times: to}
	w, err := Open(s.Context(), s.bus.JetStream, s.queue, o)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(w.Close)
	return w
}

// submit queues a job whose end shall be told to an address; empty: to none.
func (s *service) submit(id job.ID, address string) {
	s.Helper()
	r := job.NewRequest(job.Generation, "tiny", "a star")
	seed := uint64(7)
	r.ID, r.Seed = id, &seed
	if address != "" {
		r.Webhook = &job.Webhook{URL: address}
	}
	if _, err := s.queue.Submit(s.Context(), r); err != nil {
		s.Fatal(err)
	}
}

// finish ends the next job.
func (s *service) finish(state job.State, o job.Outcome) job.Record {
	s.Helper()
	l, err := s.queue.Next(s.Context(), queue.Consumer{Node: "a"})
	if err != nil {
		s.Fatal(err)
	}
	r, err := l.Finish(s.Context(), state, o)
	if err != nil {
		s.Fatal(err)
	}
	return r
}

// tell runs a job whose end shall be told to an address.
func (s *service) tell(id job.ID, address string) job.Record {
	s.Helper()
	s.submit(id, address)
	return s.finish(job.Complete, job.Outcome{Pictures: []job.Picture{{Seed: 7, Width: 64, Height: 128}}})
}

// settled waits until no webhook is waiting.
func (s *service) settled(sent uint64) {
	s.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		i := &jetstream.ConsumerInfo{}
		c, err := s.bus.JetStream.Consumer(s.Context(), streamName, consumer)
		if err == nil {
			i = c.CachedInfo()
		}
		if i.NumAckPending == 0 && i.NumPending == 0 && i.AckFloor.Stream >= sent {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("webhooks are still waiting: %+v", i)
		}
	}
}

// queued is how many webhooks the stream knows.
func (s *service) queued() uint64 {
	s.Helper()
	stream, err := s.bus.JetStream.Stream(s.Context(), streamName)
	if err != nil {
		s.Fatal(err)
	}
	return stream.CachedInfo().State.Msgs
}

// heard is a request as a receiver got it.
type heard struct {
	http.Header
	body []byte
	path string
	at   time.Time
}

// receiver is a server that is told of jobs.
type receiver struct {
	t       *testing.T
	url     string
	address string // host:port
	heard   chan heard
}

// newReceiver answers the n-th request, from 0, as told.
func newReceiver(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *receiver {
	t.Helper()
	got := &receiver{t: t, heard: make(chan heard, 100)}
	count := make(chan int, 1)
	count <- 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		n := <-count
		count <- n + 1
		got.heard <- heard{r.Header, body, r.Method + " " + r.URL.RequestURI(), time.Now()}
		answer(n, w, r)
	}))
	t.Cleanup(server.Close)
	got.url, got.address = server.URL, strings.TrimPrefix(server.URL, "http://")
	return got
}

func (r *receiver) next() heard {
	r.t.Helper()
	select {
	case h := <-r.heard:
		return h
	case <-time.After(20 * time.Second):
		r.t.Fatal("no webhook came")
		return heard{}
	}
}

// quiet checks that nothing more has come.
func (r *receiver) quiet() {
	r.t.Helper()
	select {
	case h := <-r.heard:
		r.t.Errorf("one webhook more: %s", h.body)
	default:
	}
}

func status(codes ...int) func(int, http.ResponseWriter, *http.Request) {
	return func(n int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(codes[min(n, len(codes)-1)]) }
}
