package queen

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waggle/internal/job"
)

const oneStep = "event: progress\ndata: {\"type\":\"progress\",\"step\":1,\"total\":2}\n\n"

const picture = "event: complete\ndata: {\"type\":\"complete\",\"image\":\"iVBORw0\",\"format\":\"png\"}\n\n"

// silent says one thing and then nothing more.
func silent(w io.Writer, r *http.Request) {
	io.WriteString(w, oneStep)
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

func TestRelayLosesASilentWorker(t *testing.T) {
	h := open(t, Config{timing: timing{jobQuiet: 50 * time.Millisecond}})
	h.worker(silent)
	if got := markerOfText(h.read(h.post())); got != "[ERROR] Error reading stream: not a word for 50ms" {
		t.Errorf("ended with %q", got)
	}
}

// A comment is a word: a worker that only says that it lives is not lost, and the client hears that the queen does.
func TestRelayKeepsAlive(t *testing.T) {
	h := open(t, Config{timing: timing{jobQuiet: time.Second, keepAlive: 30 * time.Millisecond}})
	h.worker(func(w io.Writer, r *http.Request) {
		for range 150 { // 1.5 s, longer than the silence that is allowed
			io.WriteString(w, ":\n\n")
			w.(http.Flusher).Flush()
			time.Sleep(10 * time.Millisecond)
		}
		io.WriteString(w, picture)
	})
	text := h.read(h.post())
	if markerOfText(text) != "[DONE]" || strings.Count(text, "\n:\n") < 5 {
		t.Errorf("the stream, %d comments:\n%s", strings.Count(text, "\n:\n"), text)
	}
}

func TestRelayBounds(t *testing.T) {
	for _, row := range []struct {
		name   string
		limits limits
		says   string
		want   string
	}{
		{"a large event", limits{eventBytes: 1000}, "event: complete\ndata: " + strings.Repeat("x", 2000) + "\n\n", "[ERROR] Error reading stream: an event has more than 1000 bytes"},
		{"many events", limits{jobBytes: 5000}, strings.Repeat("event: gossip\ndata: {}\n\n", 1000), "[ERROR] Error reading stream: the job's events have more than 5000 bytes"},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := open(t, Config{limits: row.limits})
			h.worker(func(w io.Writer, _ *http.Request) { io.WriteString(w, row.says) })
			if got := markerOfText(h.read(h.post())); got != row.want {
				t.Errorf("ended with %q", got)
			}
		})
	}
}

// A cancel while the worker has not answered yet reaches it as soon as it has.
func TestCancelBeforeTheAnswer(t *testing.T) {
	h := open(t, Config{})
	asked, answer, deleted := make(chan bool, 1), make(chan bool), make(chan string, 1)
	m := http.NewServeMux()
	m.HandleFunc("POST /v1/jobs", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		asked <- true
		<-answer
		io.WriteString(w, `{"job_id":"theirs","sse_url":"/v1/jobs/theirs/stream"}`)
	})
	m.HandleFunc("DELETE /v1/jobs/{id}", func(_ http.ResponseWriter, r *http.Request) { deleted <- r.PathValue("id") })
	h.serves(m)
	id := h.post()
	done := make(chan string)
	go func() { done <- h.read(id) }()
	<-asked
	if !h.shelf.abandon(job.ID(id)) {
		t.Error("the job cannot be cancelled")
	}
	if got := markerOfText(<-done); got != "[CANCELLED]" { // at once, whatever the worker does
		t.Errorf("ended with %q", got)
	}
	close(answer)
	if got := <-deleted; got != "theirs" {
		t.Errorf("DELETE of %q", got)
	}
}

// TestGivesUp: a job that the queen gives up is cancelled at its worker; one
// that has ended there is not.
func TestGivesUp(t *testing.T) {
	for _, row := range []struct {
		name, says, want string
		deletes          int
	}{
		{"a large event", "event: complete\ndata: " + strings.Repeat("x", 2000) + "\n\n", "[ERROR] Error reading stream: an event has more than", 1},
		{"a failure", "event: error\ndata: {\"type\":\"error\",\"message\":\"no\"}\n\n", "[ERROR] Worker failed: no", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := open(t, Config{limits: limits{eventBytes: 1000}})
			var deletes atomic.Int32
			m := http.NewServeMux()
			m.HandleFunc("POST /v1/jobs", func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				io.WriteString(w, `{"job_id":"theirs","sse_url":"/v1/jobs/theirs/stream"}`)
			})
			m.HandleFunc("GET /v1/jobs/theirs/stream", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				io.WriteString(w, row.says)
			})
			m.HandleFunc("DELETE /v1/jobs/theirs", func(http.ResponseWriter, *http.Request) { deletes.Add(1) })
			h.serves(m)
			if got := markerOfText(h.read(h.post())); !strings.HasPrefix(got, row.want) || int(deletes.Load()) != row.deletes {
				t.Errorf("ended with %q after %d cancels there, want %q and %d", got, deletes.Load(), row.want, row.deletes)
			}
		})
	}
}

func TestWorkerThatDoesNotAnswer(t *testing.T) {
	h := open(t, Config{timing: timing{answer: 50 * time.Millisecond}})
	h.serves(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	if got := markerOfText(h.read(h.post())); !strings.HasPrefix(got, "[ERROR] ") || !strings.Contains(got, "timeout awaiting response headers") {
		t.Errorf("ended with %q", got)
	}
}

// A reader that goes away ends nothing, unless it said that it would.
func TestReaderLeaves(t *testing.T) {
	h := open(t, Config{})
	h.worker(silent)
	for query, want := range map[string]job.State{"": job.Running, "?cancel_on_disconnect=1": job.Cancelled} {
		id := h.post()
		ctx, leave := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+"/v1/jobs/"+id+"/stream"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text := make([]byte, 0, 4096)
		for !bytes.Contains(text, []byte("event: progress")) {
			n, err := response.Body.Read(text[len(text):cap(text)])
			if text = text[:len(text)+n]; err != nil {
				t.Fatal(err)
			}
		}
		leave()
		response.Body.Close()
		waitFor(t, "the reader is gone", func() bool { return h.readers.Taken() == 0 })
		waitFor(t, "the job is "+string(want), func() bool { j, _ := h.shelf.get(job.ID(id)); return j.State == want })
		h.shelf.abandon(job.ID(id))
	}
}

func TestReadersAreBounded(t *testing.T) {
	h := open(t, Config{limits: limits{readers: 1}})
	first, err := http.Get(h.url + "/v1/heartbeats/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Body.Close()
	second, err := http.Get(h.url + "/v1/heartbeats/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer second.Body.Close()
	if second.StatusCode != http.StatusServiceUnavailable || second.Header.Get("Retry-After") == "" {
		t.Errorf("a second reader: %s", second.Status)
	}
}

// After Last-Event-ID comes what follows it, and the job is not done again.
func TestStreamGoesOn(t *testing.T) {
	h := open(t, Config{})
	h.worker(func(w io.Writer, _ *http.Request) { io.WriteString(w, oneStep+picture) })
	id := h.post()
	whole := h.read(id)
	number := strings.Count(whole[:strings.Index(whole, "event: progress")], "\n\n") + 1
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url+"/v1/jobs/"+id+"/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Last-Event-ID", fmt.Sprint(number))
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	rest, _ := io.ReadAll(response.Body)
	if want := whole[strings.Index(whole, "event: complete"):]; string(rest) != want {
		t.Errorf("after event %d:\n%s\nwant:\n%s", number, rest, want)
	}
}

// Many clients at a time, some of whom cancel: every job ends once, and the worker's count comes back to none.
func TestCrowd(t *testing.T) {
	h := open(t, Config{})
	h.worker(func(w io.Writer, _ *http.Request) { io.WriteString(w, oneStep+picture) })
	var crowd sync.WaitGroup
	for i := range 50 {
		crowd.Go(func() {
			id := h.post()
			if i%5 == 0 {
				crowd.Go(func() { h.shelf.abandon(job.ID(id)) })
			}
			got := markerOfText(h.read(id))
			if got != "[DONE]" && (got != "[CANCELLED]" || i%5 != 0) {
				t.Errorf("job %d ended with %q", i, got)
			}
		})
	}
	crowd.Wait()
	waitFor(t, "the worker has nothing of ours", func() bool { return h.Snapshot().Workers[0].Jobs == 0 })
}

// Jobs that run when the queen closes have not failed: they go on at their workers.
func TestCloseFailsNothing(t *testing.T) {
	h := open(t, Config{})
	h.worker(silent)
	id := job.ID(h.post())
	h.start(h.shelf.find(id))
	waitFor(t, "a step is done", func() bool { j, _ := h.shelf.get(id); return j.Step == 1 })
	h.Close()
	if j, _ := h.shelf.get(id); j.State != job.Running {
		t.Errorf("the job is %s: %s", j.State, j.Message)
	}
}

// A queen that closes takes on nothing more, and waits for what she had.
func TestCloseDuringWork(t *testing.T) {
	q := New(Config{})
	if err := q.subscribe("garden", "http://127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	q.Close()
	if err := q.subscribe("shed", "http://127.0.0.1:1"); err == nil {
		t.Error("a closed queen subscribes to hives")
	}
	id, _ := q.shelf.add(submission{body: []byte("{}")})
	q.start(q.shelf.find(id))
	if said := q.shelf.read(q.shelf.find(id), 0); len(said.entries) != 0 {
		t.Error("a closed queen runs jobs")
	}
}
