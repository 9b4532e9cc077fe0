package beacon

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"waggle/internal/job"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeQueen answers requests without a network.
type fakeQueen struct {
	mu     sync.Mutex
	began  time.Time
	heard  []string // status and seconds since the start
	last   *http.Request
	body   heartbeat
	answer func(r *http.Request) (*http.Response, error)
}

func (q *fakeQueen) RoundTrip(r *http.Request) (*http.Response, error) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	q.mu.Lock()
	q.last, q.body = r, heartbeat{}
	if err := json.Unmarshal(data, &q.body); err != nil {
		q.mu.Unlock()
		return nil, err
	}
	q.heard = append(q.heard, string(q.body.Worker.Status)+" "+time.Since(q.began).String())
	answer := q.answer
	q.mu.Unlock()
	return answer(r)
}

// said is what was heard since it was asked last.
func (q *fakeQueen) said() []string {
	synctest.Wait()
	q.mu.Lock()
	defer q.mu.Unlock()
	heard := q.heard
	q.heard = nil
	return heard
}

func (q *fakeQueen) answers(f func(*http.Request) (*http.Response, error)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.answer = f
}

func with(status int, body string) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}}, nil
	}
}

const taken = `{"status":"ok","message":"Heartbeat received from worker bee-1"}`

var bee = job.Node{ID: "bee-1", ModelID: "v1-5", Device: "0", Port: 8080, Status: job.Starting, Implementation: "waggle", Version: "1",
	Models: []job.ModelInfo{{Name: "much"}}, Reason: "because"}

func as(status job.Status) job.Node {
	n := bee
	n.Status = status
	return n
}

// scene runs a test in fake time, with a beacon that reports to a fake queen.
func scene(t *testing.T, run func(*testing.T, *Beacon, *fakeQueen, *bytes.Buffer)) {
	synctest.Test(t, func(t *testing.T) {
		q := &fakeQueen{began: time.Now(), answer: with(200, taken)}
		var log bytes.Buffer
		b := Start(Config{Queen: "http://queen:7833", Token: "honey", transport: q,
			Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}, bee)
		defer b.Close()
		run(t, b, q, &log)
	})
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("heard %q, want %q", got, want)
	}
}

func TestEvery30Seconds(t *testing.T) {
	scene(t, func(t *testing.T, b *Beacon, q *fakeQueen, log *bytes.Buffer) {
		expect(t, q.said(), "starting 0s")
		time.Sleep(61 * time.Second)
		expect(t, q.said(), "starting 30s", "starting 1m0s")
		r := q.last
		if r.Method != http.MethodPost || r.URL.String() != "http://queen:7833/v1/worker-heartbeat" ||
			r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Authorization") != "Bearer honey" {
			t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
		}
		if _, err := time.Parse(time.RFC3339Nano, q.body.Timestamp); err != nil {
			t.Error(err)
		}
		if w := q.body.Worker; w.ID != "bee-1" || w.ModelID != "v1-5" || w.Port != 8080 || w.Reason != "" || w.Models != nil {
			t.Errorf("said %+v", w)
		}
		if log.Len() > 0 {
			t.Errorf("logged %s", log)
		}
	})
}

// A change is told at once; many at a time only by where they led.
func TestChanges(t *testing.T) {
	scene(t, func(t *testing.T, b *Beacon, q *fakeQueen, _ *bytes.Buffer) {
		q.said()
		time.Sleep(10 * time.Second)
		b.Tell(as(job.Ready))
		expect(t, q.said(), "ready 10s")
		b.Tell(as(job.Ready)) // nothing new
		for range 50 {
			b.Tell(as(job.Busy))
			b.Tell(as(job.Ready))
		}
		b.Tell(as(job.Busy))
		time.Sleep(time.Second)
		expect(t, q.said(), "busy 10.2s")
		time.Sleep(30 * time.Second)
		expect(t, q.said(), "busy 40.2s")
	})
}

// The end is told, with the state told last, and costs no more than lastLimit.
func TestStop(t *testing.T) {
	hang := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	scene(t, func(t *testing.T, b *Beacon, q *fakeQueen, log *bytes.Buffer) {
		q.said()
		q.answers(hang)
		b.Tell(as(job.Ready))
		time.Sleep(time.Second) // one is under way
		b.Tell(as(job.Stopped))
		began := time.Now()
		b.Stop()
		if took := time.Since(began); took != 0 {
			t.Errorf("Stop took %v", took)
		}
		b.Close()
		if took := time.Since(began); took != lastLimit {
			t.Errorf("Close took %v, want %v", took, lastLimit)
		}
		if heard := q.said(); len(heard) != 2 || !strings.HasPrefix(heard[1], "stopped") {
			t.Errorf("heard %q", heard)
		}
		time.Sleep(time.Hour)
		expect(t, q.said())
	})
}

// Failures are ignored: the first of a row is told as a warning.
func TestFailures(t *testing.T) {
	scene(t, func(t *testing.T, b *Beacon, q *fakeQueen, log *bytes.Buffer) {
		q.answers(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") })
		time.Sleep(10 * time.Minute)
		if n := len(q.said()); n != 21 {
			t.Errorf("%d heartbeats in 10 min", n)
		}
		for _, f := range []func(*http.Request) (*http.Response, error){
			with(503, "full"), with(401, `{"error":{"code":"unauthorized","message":"no"}}`), with(502, "<html>"), with(429, "slow down"),
			with(400, `{"error":"no such port"}`),
		} {
			q.answers(f)
			time.Sleep(5 * time.Minute)
			if n := len(q.said()); n != 10 {
				t.Errorf("%d heartbeats in 5 min", n)
			}
		}
		if text := log.String(); strings.Count(text, "level=WARN") != 1 || !strings.Contains(text, "connection refused") || strings.Contains(text, "honey") {
			t.Errorf("logged %.1000s", text)
		}
		log.Reset()
		q.answers(with(200, taken))
		time.Sleep(time.Minute)
		q.said()
		if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "again") {
			t.Errorf("logged %s", text)
		}
	})
}

// Whoever is no queen is left alone after three answers in a row.
func TestStrangers(t *testing.T) {
	for name, answer := range map[string]func(*http.Request) (*http.Response, error){
		"page": with(200, "<!doctype html><title>queen</title>"), "empty": with(200, ""), "null": with(200, "null"), "list": with(200, "[]"),
		"not found": with(404, "404 page not found"), "elsewhere": with(302, ""), "endless": with(200, strings.Repeat(" ", 1<<20)+"{}"),
	} {
		t.Run(name, func(t *testing.T) {
			scene(t, func(t *testing.T, b *Beacon, q *fakeQueen, log *bytes.Buffer) {
				q.said()
				q.answers(answer)
				time.Sleep(65 * time.Second)
				expect(t, q.said(), "starting 30s", "starting 1m0s")
				q.answers(with(200, taken))
				time.Sleep(30 * time.Second)
				q.said() // in time: they begin to count anew
				q.answers(answer)
				time.Sleep(time.Hour)
				b.Tell(as(job.Ready))
				b.Tell(as(job.Stopped))
				b.Close()
				if n := len(q.said()); n != strangersLimit {
					t.Errorf("%d heartbeats, want %d", n, strangersLimit)
				}
				if text := log.String(); !strings.Contains(text, "no queen answers there") {
					t.Errorf("logged %s", text)
				}
			})
		})
	}
}

func TestCheckURL(t *testing.T) {
	for address, good := range map[string]bool{
		"http://localhost:7833": true, "https://queen.example/hive": true, "http://[::1]:7833": true,
		"": false, "localhost:7833": false, "queen": false, "ftp://queen": false, "http://": false, "http://q/?a=b": false, "http://q/#a": false, "http://a b": false, "http://u:p@q": false,
	} {
		if err := CheckURL(address); (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// Without a queen there is no beacon, and nobody need ask.
func TestNone(*testing.T) {
	var b *Beacon
	b.Tell(bee)
	b.Stop()
	b.Close()
}
