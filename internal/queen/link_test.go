package queen

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"waggle/internal/job"
)

// rejoined are streams of one job, each as it is found by the next who asks. A
// status stands for an answer that is not a stream.
type rejoined []struct {
	status int
	says   string
}

// serve answers as a worker does, and writes down from where each reader wants to go on.
func (list rejoined) serve(h *harness, after *[]string) {
	m := http.NewServeMux()
	m.HandleFunc("POST /v1/jobs", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, `{"job_id":"theirs","sse_url":"/v1/jobs/theirs/stream"}`)
	})
	m.HandleFunc("GET /v1/jobs/theirs/stream", func(w http.ResponseWriter, r *http.Request) {
		*after = append(*after, r.Header.Get("Last-Event-ID"))
		is := list[min(len(*after), len(list))-1]
		if is.status != 0 {
			http.Error(w, "no", is.status)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, is.says)
	})
	h.serves(m)
}

func stepped(id string, step int) string {
	return fmt.Sprintf("event: progress\nid: %s\ndata: {\"type\":\"progress\",\"step\":%d,\"total\":4}\n\n", id, step)
}

// TestRejoin: a stream that breaks is gone on with where it was, and no event
// is relayed twice; where that cannot be, the job fails as it always did.
func TestRejoin(t *testing.T) {
	one, two, three := stepped("1", 1), stepped("2", 2), stepped("3", 3)
	done := "event: complete\nid: 4\ndata: {\"type\":\"complete\",\"image\":\"iVBORw0\",\"format\":\"png\"}\n\ndata: [DONE]\n\n"
	const lost = "[ERROR] Error reading stream: the worker ended it before the job was done"
	for _, row := range []struct {
		name    string
		streams rejoined
		after   string // what the readers ask for
		steps   string // that are relayed
		marker  string
	}{
		{"goes on", rejoined{{says: one + two}, {says: three + done}}, ",2", "123", "[DONE]"},
		{"in the middle of an event", rejoined{{says: one + two[:30]}, {says: two + three + done}}, ",1", "123", "[DONE]"},
		{"before the first event", rejoined{{says: ":\n\n"}, {says: one + done}}, ",", "1", "[DONE]"},
		{"begins anew all the same", rejoined{{says: one + two}, {says: one + two + three + done}}, ",2", "123", "[DONE]"},
		{"breaks twice", rejoined{{says: one}, {says: two}, {says: three + done}}, ",1,2", "123", "[DONE]"},
		{"not ready yet", rejoined{{says: one}, {status: 503}, {status: 500}, {says: two + done}}, ",1,1,1", "12", "[DONE]"},
		{"with nothing new", rejoined{{says: one}, {says: one}, {says: one + two + done}}, ",1,1", "12", "[DONE]"},
		{"one reader only", rejoined{{says: one}, {status: 404}}, ",1", "1", lost},
		{"another token", rejoined{{says: one}, {status: 401}}, ",1", "1", lost},
		{"without ids", rejoined{{says: oneStep}}, "", "1", lost},
		{"ids that are no numbers", rejoined{{says: stepped("a", 1)}, {says: stepped("b", 2) + done}}, ",a", "12", "[DONE]"},
		{"never again", rejoined{{says: one}, {status: 503}}, ",1,1,1", "1", lost},
		{"the same again and again", rejoined{{says: one}}, ",1,1,1", "1", lost},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			h := open(t, Config{timing: timing{rejoin: 1500 * time.Millisecond}})
			var after []string
			row.streams.serve(h, &after)
			text := h.read(h.post())
			steps := ""
			for line := range strings.SplitSeq(text, "\n") {
				if _, rest, ok := strings.Cut(line, `"type":"progress","step":`); ok {
					steps += rest[:1]
				}
			}
			if got := markerOfText(text); got != row.marker || steps != row.steps {
				t.Errorf("steps %s, ended with %s; want %s and %s", steps, got, row.steps, row.marker)
			}
			if got := strings.Join(after, ","); got != row.after {
				t.Errorf("readers asked for what is after %q, want %q", got, row.after)
			}
			if told := strings.Contains(text, `"action":"image_rejoin"`); told != (len(after) > 1) {
				t.Errorf("of a rejoin was told: %v; %d readers", told, len(after))
			}
		})
	}
}

// A worker that has taken a job and cannot be reached then is waited for: no other gets the job too.
func TestAwayAfterTheAnswer(t *testing.T) {
	h := open(t, Config{timing: timing{rejoin: 300 * time.Millisecond}})
	var posts atomic.Int32
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			posts.Add(1)
			l.Close()
			io.WriteString(w, `{"job_id":"a.b/c d","sse_url":"/v1/jobs/1/stream"}`)
		})}
		go s.Serve(l)
		t.Cleanup(func() { s.Close() })
		port := l.Addr().(*net.TCPAddr).Port
		b := beat{host: "127.0.0.1", at: time.Now(), Worker: job.Node{ID: fmt.Sprint(port), Port: port, ModelID: "m", Status: job.Ready}}
		if err := h.fleet.beat(b); err != nil {
			t.Fatal(err)
		}
	}
	text := h.read(h.post())
	if got := markerOfText(text); posts.Load() != 1 || !strings.HasPrefix(got, "[ERROR] Error reading stream: ") || !strings.Contains(got, "refused") {
		t.Errorf("%d workers got the job, ended with %q", posts.Load(), got)
	}
	if !strings.Contains(text, `"human":"Worker's job a.b/c d"`) {
		t.Errorf("a worker's id is its own business:\n%s", text)
	}
}
