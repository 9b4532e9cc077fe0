package client

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"waggle/internal/job"
)

// narration is a message of a queen.
func narration(action, human string) string {
	return fmt.Sprintf("data: {\"type\":\"narration\",\"actor\":\"queen\",\"action\":%q,\"human\":%q}\n\n", action, human)
}

func step(id, n int) string {
	return fmt.Sprintf("event: progress\nid: %d\ndata: {\"type\":\"progress\",\"step\":%d,\"total\":2}\n\n", id, n)
}

// heard follows a job and returns what came, narrations by their action or words and events by their type.
func heard(t *testing.T, c *Client) (all []string, last job.Event) {
	t.Helper()
	said := func(n Narration) { all = append(all, strings.TrimSpace(n.Action+" "+n.Human)) }
	for e, err := range c.Follow(t.Context(), "job-1", 0, said) {
		if err != nil {
			t.Fatal(err)
		}
		all, last = append(all, fmt.Sprintf("%s %d", e.Type, e.Step)), e
	}
	return all, last
}

// What is said beside the events does not end a stream; only a marker does, and it counts where there was no last event.
func TestNarrations(t *testing.T) {
	const done, picture = "data: [DONE]\n\n", "event: complete\nid: 4\ndata: {\"type\":\"complete\",\"image\":\"aaaa\"}\n\n"
	for _, row := range []struct {
		name, text string
		want       []string
		last       job.Event
	}{
		{"a picture", narration("a", "x") + step(2, 1) + narration("b", "y") + picture + done,
			[]string{"a x", "progress 1", "b y", "complete 0"}, job.Event{Number: 4, Type: job.CompleteEvent, Image: "aaaa"}},
		{"no picture wanted", narration("a", "x") + "data: {\"type\":\"data\",\"action\":\"status\",\"payload\":{\"hives\":1}}\n\n" + done,
			[]string{"a x", "status"}, job.Event{}},
		{"a failure", narration("failed", "Job 1 failed: no worker") + "data: [ERROR] no  worker\n\n",
			[]string{"failed Job 1 failed: no worker", "error 0"}, job.Event{Type: job.ErrorEvent, Message: "no  worker"}},
		{"a failure in other words", narration("failed", "Job 1 failed: no worker") + done,
			[]string{"failed Job 1 failed: no worker", "error 0"}, job.Event{Type: job.ErrorEvent, Message: "no worker"}},
		{"cancelled", "data: [CANCELLED]\n\n",
			[]string{"error 0"}, job.Event{Type: job.ErrorEvent, Kind: job.CancelledByUser, Message: job.CancelMessage}},
		{"cancelled in other words", narration("cancelled", "gone") + done,
			[]string{"cancelled gone", "error 0"}, job.Event{Type: job.ErrorEvent, Kind: job.CancelledByUser, Message: job.CancelMessage}},
		{"text that looks like a marker", "data: [DONE] with it\n\ndata: [1]\n\ndata: plain\n\n" + done,
			[]string{"[DONE] with it", "[1]", "plain"}, job.Event{}},
		{"events nobody knows", "event: token\ndata: no JSON\n\nevent: data\ndata: {\"type\":\"complete\"}\n\n" + step(3, 2) + done,
			[]string{"progress 2"}, job.Event{Number: 3, Type: job.ProgressEvent, Step: 2, Total: 2}},
		{"no type of its own", "event: error\ndata: {\"message\":\"m\"}\n\n", []string{"error 0"}, job.Event{Type: job.ErrorEvent, Message: "m"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := serve(t, "", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, row.text) })
			all, last := heard(t, c)
			if !slices.Equal(all, row.want) {
				t.Errorf("heard %q, want %q", all, row.want)
			}
			if diff := cmp.Diff(row.last, last); diff != "" {
				t.Errorf("the last event (-want +got):\n%s", diff)
			}
		})
	}
}

// A stream of a queen that breaks is taken up behind the last event with an id; what was narrated since comes again there, and is
// not told twice.
func TestNarrationsReconnect(t *testing.T) {
	streams := []struct{ after, text string }{
		{"", narration("a", "") + "data: half"},
		{"", narration("a", "") + narration("b", "") + step(3, 1) + narration("c", "")},
		{"3", narration("c", "") + narration("d", "")},
		{"3", narration("c", "")},
		{"3", narration("c", "") + narration("d", "") + step(6, 2) + "data: [ERROR] lost\n\n"},
	}
	n := 0
	c := serve(t, "", func(w http.ResponseWriter, r *http.Request) {
		if n >= len(streams) {
			t.Error("one stream too many")
			return
		}
		if got := r.Header.Get("Last-Event-ID"); got != streams[n].after {
			t.Errorf("stream %d: Last-Event-ID %q, want %q", n, got, streams[n].after)
		}
		io.WriteString(w, streams[n].text)
		n++
	})
	all, last := heard(t, c)
	if want := []string{"a", "b", "progress 1", "c", "d", "progress 2", "error 0"}; !slices.Equal(all, want) || last.Message != "lost" {
		t.Errorf("heard %q, want %q; the last event is %+v", all, want, last)
	}
}

// What cannot be read is not asked for again: it would be the same.
func TestUnreadable(t *testing.T) {
	n := 0
	c := serve(t, "", func(w http.ResponseWriter, _ *http.Request) {
		n++
		io.WriteString(w, step(1, 1)+"event: complete\nid: 2\ndata: {\"image\":7}\n\n")
	})
	var last error
	for _, err := range c.Events(t.Context(), "job-1", 0) {
		last = err
	}
	if n != 1 || last == nil || !strings.Contains(last.Error(), "no event of a job: complete: ") {
		t.Errorf("asked %d times, %v", n, last)
	}
}

// Whoever only wants a job to begin has begun it when the answer begins, and reads no more.
func TestStart(t *testing.T) {
	left := make(chan struct{})
	c := serve(t, "", func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(left)
	})
	if err := c.Start(t.Context(), "job-1"); err != nil {
		t.Error(err)
	}
	<-left
}
