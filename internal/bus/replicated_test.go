package bus

import (
	"errors"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"waggle/internal/natstest"
)

// TestClusterOneServerAway: a cluster can be joined while one of its servers is down,
// the first time and later; what is on three servers stays there.
func TestClusterOneServerAway(t *testing.T) {
	if os.Getenv("CLUSTER") == "" {
		t.Skip("CLUSTER=1 runs this with processes of NATS")
	}
	c := natstest.StartCluster(t, 3)
	c.Servers[0].Kill()
	join := func(urls []string) *Bus {
		t.Helper()
		began := time.Now()
		b, err := Open(Options{URLs: urls, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		t.Logf("joined %d servers after %v, %d replicas", len(urls), time.Since(began).Round(time.Millisecond), b.Replicas)
		return b
	}
	kept := func(b *Bus) int {
		t.Helper()
		began := time.Now()
		kv, err := b.JetStream.CreateOrUpdateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b", Replicas: b.Replicas})
		if err != nil {
			t.Fatal(err)
		}
		store, err := b.JetStream.CreateOrUpdateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: "b", Replicas: b.Replicas})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.GetBytes(t.Context(), "nothing"); !errors.Is(err, jetstream.ErrObjectNotFound) {
			t.Errorf("an object that is not there: %v", err)
		}
		status, err := kv.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		config := status.(*jetstream.KeyValueBucketStatus).StreamInfo().Config
		if config.AllowDirect {
			t.Error("any copy may be read")
		}
		t.Logf("opened after %v, on %d servers", time.Since(began).Round(time.Millisecond), config.Replicas)
		return config.Replicas
	}
	first := join(c.URLs())
	if first.Replicas != 3 || kept(first) != 3 {
		t.Error("not on three servers")
	}
	c.Servers[0].Start()
	c.Ready()
	c.Servers[1].Kill()
	if n := kept(join(c.URLs())); n != 3 {
		t.Errorf("on %d servers", n)
	}
	one := join(slices.Clone(c.URLs()[:1])) // which does not tell of the others
	if n := kept(one); n != 3 {
		t.Errorf("a node that knows one server has taken copies away: %d are left", n)
	}
}
