package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"waggle/internal/events"
	"waggle/internal/job"
	"waggle/internal/queue"
)

// still is a server without a network: one job has ended, one waits.
func still(t testing.TB) *Server {
	t.Helper()
	q, log, s := queue.NewMemory(queue.Options{Length: 1000}), events.NewMemory(0), &shelf{}
	for _, id := range []job.ID{"ended", "waits"} {
		r := job.NewRequest(job.Generation, "tiny", "p")
		r.ID = id
		if _, err := q.Submit(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if id == "ended" {
			l, err := q.Next(t.Context(), queue.Consumer{})
			if err != nil {
				t.Fatal(err)
			}
			s.Put(t.Context(), id, 0, syntheticPicture(1, 64, 64))
			if _, err := l.Finish(t.Context(), job.Complete, job.Outcome{Pictures: []job.Picture{{Width: 64, Height: 64}}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	server := New(Config{Queue: q, Events: log, Store: s, NodeID: testNode})
	t.Cleanup(func() {
		server.Close()
		q.Close()
		log.Close()
	})
	return server
}

// FuzzSocketCommand: any message is answered, with the ref it can be seen to
// have; what is wrong is the client's fault and never the server's.
func FuzzSocketCommand(f *testing.F) {
	for _, text := range []string{
		`{"type":"ping","ref":1}`, `{"type":"subscribe","job":"ended","after":1,"preview":"png","ref":"x"}`, `{"type":"subscribe","job":"*"}`,
		`{"type":"unsubscribe","job":"waits"}`, `{"type":"cancel","job":"nobody","ref":{"a":[1]}}`, `{"type":"pause","job":"waits"}`,
		`{"type":"resume","job":"waits"}`, `{"type":"front","job":"waits","before":"ended"}`,
		`{"type":"submit","operation":"image_generation","hive_id":"h","model":"m","prompt":"p","id":"x","steps":1e400}`,
		`{"type":"subscribe","after":-1}`, `{"type":7}`, `[]`, `null`, `"x"`, `{"ref":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`,
		"{\"type\":\"\xff\"}", `{"type":"\ud800"}`, `{"type":"subscribe","after":18446744073709551616}`, `{"type":"ping","type":"dance"}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		s := still(t)
		k := &socket{server: s, text: make(chan [][]byte), frames: newFrameBox(), subs: map[job.ID]*subscription{}}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		obeyed := make(chan struct{})
		go func() {
			defer close(obeyed)
			k.obey(ctx, message)
		}()
		answers := 0
		for open := true; open; {
			select {
			case parts := <-k.text:
				var text []byte
				for _, p := range parts {
					text = append(text, p...)
				}
				var r reply
				if err := json.Unmarshal(text, &r); err != nil {
					t.Fatalf("said %q: %v", text, err)
				}
				if r.Type == "ok" || r.Type == "error" || r.Type == "pong" {
					answers++
				}
				if r.Type == "error" && (r.Status < 400 || r.Status >= 500 || r.Message == "") {
					t.Fatalf("%q was refused by %s", message, text)
				}
			case <-obeyed:
				open = false
			}
		}
		if answers == 0 {
			t.Fatalf("%q was not answered", message)
		}
		cancel()
		k.work.Wait()
	})
}

// FuzzQuery: whatever stands in an address or a Last-Event-ID, the answer is
// not the server's fault, and comes.
func FuzzQuery(f *testing.F) {
	for _, row := range [][2]string{
		{"jobs?state=paused&before=ended&limit=7", ""}, {"jobs?limit=-1", ""}, {"jobs?limit=99999999999999999999", ""}, {"jobs?before=%00", ""},
		{"jobs/ended", ""}, {"jobs/ended/stream?cancel_on_disconnect=1", "1"}, {"jobs/ended/stream", "18446744073709551616"}, {"jobs/ended/stream", "-1"},
		{"jobs/ended/image?thumb=32", ""}, {"jobs/ended/image/0?thumb=NaN", ""}, {"jobs/ended/image/99999999999999999999", ""},
		{"jobs/%2e%2e%2f/image", ""}, {"jobs/ended/image?thumb=1e3&thumb=&%zz", ""}, {"jobs?;;&&==", ""}, {"models", ""}, {"samplers?x", ""},
	} {
		f.Add(row[0], row[1])
	}
	f.Fuzz(func(t *testing.T, path, lastEvent string) {
		u, err := url.Parse("http://localhost/v1/" + path)
		if err != nil || strings.Contains(u.Path, "waits/stream") || strings.Contains(u.Path, "//") || u.Host != "localhost" {
			t.Skip() // not an address that could be sent, or one that waits for good reason
		}
		r := httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
		r.URL = u
		r.Header["Last-Event-Id"] = []string{lastEvent}
		w := httptest.NewRecorder()
		still(t).Handler().ServeHTTP(w, r)
		if w.Code >= 500 || w.Code < 200 {
			t.Fatalf("GET %s was answered with %d %s", u, w.Code, w.Body)
		}
	})
}
