package queen

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waggle/internal/events"
	"waggle/internal/job"
	"waggle/internal/queue"
	"waggle/internal/store"
	"waggle/internal/stream"
)

// album is a store of pictures in memory.
type album struct{ sync.Map }

func (a *album) Put(_ context.Context, id job.ID, index int, png []byte) error {
	a.Store(fmt.Sprint(id, index), png)
	return nil
}

func (a *album) Get(_ context.Context, id job.ID, index int) ([]byte, error) {
	if png, ok := a.Load(fmt.Sprint(id, index)); ok {
		return png.([]byte), nil
	}
	return nil, store.ErrNotFound
}

func (a *album) Remove(context.Context, job.ID) error { return nil }
func (a *album) Close() error                         { return nil }

// commons is a queue that queens share, with a node on it, bee, that does what
// the test wants.
type commons struct {
	*testing.T
	queue  *queue.Memory
	events *events.Memory
	album  album
	away   atomic.Pointer[error]
}

func newCommons(t *testing.T, o queue.Options) *commons {
	c := &commons{T: t, queue: queue.NewMemory(o), events: events.NewMemory(time.Hour)}
	t.Cleanup(func() { c.events.Close(); c.queue.Close() })
	return c
}

// join is how a queen gets there.
func (c *commons) join(context.Context) (*Cluster, error) {
	return &Cluster{
		Jobs: &stream.Jobs{Queue: c.queue, Events: c.events, Store: &c.album, KeepAlive: 15 * time.Second, Log: logOf(c.T)},
		Reachable: func() error {
			if err := c.away.Load(); err != nil {
				return *err
			}
			return nil
		},
		Close: func() {},
	}, nil
}

// queen starts a queen that knows the cluster.
func (c *commons) queen() *harness {
	c.Helper()
	h := open(c.T, Config{Cluster: c.join})
	waitFor(c.T, "the queen is on the cluster", func() bool { s, err := h.shared(); return s != nil && err == nil })
	return h
}

// bee says how the node is.
func (c *commons) bee(status job.Status, models ...string) {
	c.Helper()
	n := job.Node{ID: "bee", Status: status, Device: "a GPU", Samplers: []job.Choice{{Name: "euler"}, {Name: "ddim"}}, Schedules: []job.Choice{{Name: "normal"}}}
	limits := job.DefaultLimits()
	limits.SizeMax = 256
	for _, m := range models {
		n.Models = append(n.Models, job.ModelInfo{Name: m, Family: "sd1", Limits: limits})
	}
	if err := c.queue.PutNode(c.Context(), n); err != nil {
		c.Fatal(err)
	}
}

// take gives the node a job, which it has begun.
func (c *commons) take() queue.Lease {
	c.Helper()
	l, err := c.queue.Take(c.Context(), queue.Consumer{Node: "bee"})
	if err != nil || l == nil {
		c.Fatalf("the node got no job: %v", err)
	}
	c.publish(l.Record().ID, job.StateEvent(job.Running), job.Event{Type: job.ProgressEvent, Step: 1, Total: 2, Percent: 50})
	return l
}

// finish completes a job.
func (c *commons) finish(l queue.Lease) {
	c.Helper()
	id := l.Record().ID
	c.album.Put(c.Context(), id, 0, []byte("picture"))
	r, err := l.Finish(c.Context(), job.Complete, job.Outcome{Pictures: []job.Picture{{Seed: 1, Width: 64, Height: 64}}})
	if err != nil {
		c.Fatal(err)
	}
	last, _ := r.EndEvent()
	c.publish(id, last)
}

func (c *commons) publish(id job.ID, list ...job.Event) {
	c.Helper()
	for _, e := range list {
		if err := c.events.Publish(c.Context(), id, e); err != nil {
			c.Fatal(err)
		}
	}
}

func (c *commons) states() string {
	c.Helper()
	list, err := c.queue.List(c.Context(), queue.Filter{})
	if err != nil {
		c.Fatal(err)
	}
	var states []string
	for _, r := range list {
		states = append(states, string(r.ID)+" "+string(r.State))
	}
	return strings.Join(states, ", ")
}

// submit posts an operation and returns the status and the job, or the text.
func (h *harness) submit(more string, key ...string) (status int, text string) {
	h.Helper()
	body := `{"operation":"image_generation","hive_id":"localhost","model":"m","prompt":"p","width":64,"height":64,"seed":1` + more + `}`
	r, err := http.NewRequestWithContext(h.Context(), http.MethodPost, h.url+"/v1/jobs", strings.NewReader(body))
	if err != nil {
		h.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if len(key) > 0 {
		r.Header.Set("Idempotency-Key", key[0])
	}
	return h.do(r)
}

func (h *harness) do(r *http.Request) (status int, text string) {
	h.Helper()
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		h.Fatal(err)
	}
	defer response.Body.Close()
	answer, _ := io.ReadAll(response.Body)
	var a accepted
	if json.Unmarshal(answer, &a) == nil && a.JobID != "" && r.Method == http.MethodPost {
		return response.StatusCode, a.JobID
	}
	return response.StatusCode, string(answer)
}

func (h *harness) call(method, path string) (status int, text string) {
	h.Helper()
	r, err := http.NewRequestWithContext(h.Context(), method, h.url+path, nil)
	if err != nil {
		h.Fatal(err)
	}
	return h.do(r)
}
