package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"waggle/internal/job"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve answers every request with f and returns a client for it.
func serve(t *testing.T, token string, f http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	c, err := New(server.URL+"/", token, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestAddress(t *testing.T) {
	for _, bad := range []string{"", "localhost:8080", "ftp://x", "http://", ":"} {
		if _, err := New(bad, "", nil); err == nil {
			t.Errorf("%q was taken for a server's address", bad)
		}
	}
}

func TestSubmit(t *testing.T) {
	want := job.NewRequest(job.Generation, "m", "a lighthouse")
	c := serve(t, "secret", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got, err := job.Parse(body)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("body: %v\n%s", err, diff)
		}
		if r.Header.Get("Authorization") != "Bearer secret" || r.URL.Path != "/v1/jobs" {
			t.Errorf("request %s %s %v", r.Method, r.URL, r.Header)
		}
		fmt.Fprint(w, `{"job_id":"job-1","sse_url":"/v1/jobs/job-1/stream"}`)
	})
	if id, err := c.Submit(t.Context(), want); err != nil || id != "job-1" {
		t.Errorf("%q, %v", id, err)
	}
}

func TestErrors(t *testing.T) {
	for _, row := range []struct{ body, want string }{
		{"Invalid input: steps\n", "Invalid input: steps"},
		{`{"error":{"code":"unauthorized","message":"wants a token"}}`, "wants a token"},
		{`{"ready":false,"reason":"model loading"}`, "model loading"},
		{"", "I'm a teapot"},
	} {
		c := serve(t, "", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTeapot)
			io.WriteString(w, row.body)
		})
		var e *Error
		if err := c.Ready(t.Context()); !errors.As(err, &e) || e.Status != 418 || !strings.Contains(e.Message, row.want) {
			t.Errorf("body %q: %v", row.body, err)
		}
	}
}

// TestEventsReconnect: a stream that breaks is taken up again behind the last
// event, and the caller notices nothing.
func TestEventsReconnect(t *testing.T) {
	var asked []string
	c := serve(t, "", func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("Last-Event-ID"))
		switch len(asked) {
		case 1:
			io.WriteString(w, ":\n\nevent: progress\nid: 1\ndata: {\"type\":\"progress\",\"step\":1,\"total\":2}\n\nevent: pro")
		case 2: // nothing at all
		default:
			io.WriteString(w, "id:2\r\nevent:complete\r\ndata:{\"type\":\"complete\",\r\ndata: \"image\":\"aaaa\"}\r\n\r\ndata: [DONE]\n\n")
		}
	})
	var got []job.Event
	for e, err := range c.Events(t.Context(), "job-1", 0) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	want := []job.Event{{Number: 1, Type: job.ProgressEvent, Step: 1, Total: 2}, {Number: 2, Type: job.CompleteEvent, Image: "aaaa"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !slices.Equal(asked, []string{"", "1", "1"}) {
		t.Errorf("Last-Event-ID of the tries: %q", asked)
	}
}

func TestEventsRefused(t *testing.T) {
	n := 0
	c := serve(t, "", func(w http.ResponseWriter, _ *http.Request) {
		n++
		http.Error(w, "Job x not found or already streaming", http.StatusNotFound)
	})
	for _, err := range c.Events(t.Context(), "x", 0) {
		var e *Error
		if !errors.As(err, &e) || e.Status != http.StatusNotFound {
			t.Errorf("%v", err)
		}
	}
	if n != 1 {
		t.Errorf("asked %d times for a job that is not there", n)
	}
}

// TestRedirected: the token goes to the server that was named, and to no other.
func TestRedirected(t *testing.T) {
	asked := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer other.Close()
	c := serve(t, "secret", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) })
	if err := c.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "it sends callers to "+other.URL) || asked {
		t.Errorf("%v, asked %v", err, asked)
	}
}

func TestEventsCancelled(t *testing.T) {
	c := serve(t, "", func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range c.Events(ctx, "x", 0) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	}
}
