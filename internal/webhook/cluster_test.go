package webhook

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"waggle/internal/bus"
	"waggle/internal/job"
	"waggle/internal/natstest"
	"waggle/internal/queue"
)

// TestCluster: two nodes on a cluster of three, of which the server that leads
// the webhooks is killed: all are told, and before it once.
func TestCluster(t *testing.T) {
	if os.Getenv("CLUSTER") == "" {
		t.Skip("CLUSTER=1 runs this with processes of NATS")
	}
	c := natstest.StartCluster(t, 3)
	to := newReceiver(t, status(200))
	times := short
	times.sweep, times.silence = time.Second, 12*time.Second
	one, two := joinService(t, c), joinService(t, c)
	for _, s := range []*service{one, two} {
		w, err := Open(t.Context(), s.bus.JetStream, s.queue, Options{Secret: []byte(secret), Hosts: Hosts{to.address: true}, Replicas: s.bus.Replicas, times: times, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Close)
	}
	told := map[job.ID]int{}
	hear := func(n int) {
		t.Helper()
		limit := time.After(time.Minute)
		for len(told) < n {
			var b Body
			select {
			case h := <-to.heard:
				if err := json.Unmarshal(h.body, &b); err != nil {
					t.Fatal(err)
				}
			case <-limit:
				t.Fatalf("told of %d jobs: %v", len(told), told)
			}
			told[b.JobID]++
		}
	}
	for i := range 10 {
		one.tell(job.ID(fmt.Sprint("before", i)), to.url)
	}
	hear(10)
	for id, n := range told {
		if n != 1 {
			t.Errorf("%s was told %d times", id, n)
		}
	}
	stream, err := one.bus.JetStream.Stream(t.Context(), streamName)
	if err != nil || stream.CachedInfo().Config.Replicas != 3 {
		t.Fatalf("the stream: %v, %+v", err, stream)
	}
	c.Named(stream.CachedInfo().Cluster.Leader).Kill()
	for i := range 10 {
		r := job.NewRequest(job.Generation, "tiny", "a star")
		r.ID, r.Webhook = job.ID(fmt.Sprint("after", i)), &job.Webhook{URL: to.url}
		insist(t, func() error {
			_, err := two.queue.Submit(t.Context(), r)
			return err
		})
		insist(t, func() error {
			_, err := one.queue.Cancel(t.Context(), r.ID)
			if now, state := one.queue.Get(t.Context(), r.ID); state == nil && now.State == job.Cancelled {
				return nil // by a try whose answer was lost
			}
			return err
		})
	}
	hear(20)
}

// insist tries until there is no error: a cluster that chooses its leaders answers nothing.
func insist(t *testing.T, try func() error) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// joinService is a node of the cluster.
func joinService(t *testing.T, c *natstest.Cluster) *service {
	t.Helper()
	b, err := bus.Open(bus.Options{URLs: c.URLs()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	q, err := queue.Open(t.Context(), b.JetStream, queue.Options{Replicas: b.Replicas})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return &service{t, b, q}
}
