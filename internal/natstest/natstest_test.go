package natstest

import (
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	Main()
	goleak.VerifyTestMain(m)
}

func connect(t *testing.T, urls []string) *nats.Conn {
	t.Helper()
	o := nats.GetDefaultOptions()
	o.Servers, o.ReconnectWait, o.MaxReconnect, o.NoRandomize = urls, 50*time.Millisecond, -1, true
	nc, err := o.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// TestCluster: what was kept outlives the leader's death, and the death of all.
func TestCluster(t *testing.T) {
	if os.Getenv("CLUSTER") != "1" {
		t.Skip("CLUSTER=1 runs this with processes of NATS")
	}
	began := time.Now()
	c := StartCluster(t, 3)
	t.Logf("ready after %v", time.Since(began))
	js, err := jetstream.New(connect(t, c.URLs()))
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b", Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(t.Context(), "key", "value"); err != nil {
		t.Fatal(err)
	}
	leader := c.Leader()
	leader.Kill()
	began = time.Now()
	c.Ready()
	t.Logf("ready again %v after the leader was killed", time.Since(began))
	for _, s := range c.Servers {
		s.Kill()
	}
	for _, s := range c.Servers {
		s.Start()
	}
	began = time.Now()
	c.Ready()
	t.Logf("ready again %v after all were killed", time.Since(began))
	for deadline := time.Now().Add(readyLimit); ; time.Sleep(50 * time.Millisecond) {
		e, err := kv.Get(t.Context(), "key")
		if err == nil && string(e.Value()) == "value" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("what was kept: %v", err)
		}
	}
}

// TestClusterLink: a cut network swallows and then delivers; a reset one breaks connections.
func TestClusterLink(t *testing.T) {
	if os.Getenv("CLUSTER") != "1" {
		t.Skip("CLUSTER=1 runs this with processes of NATS")
	}
	c := StartCluster(t, 1)
	l := c.Link()
	nc := connect(t, l.URLs())
	if err := nc.FlushTimeout(time.Second); err != nil {
		t.Fatal(err)
	}
	l.Cut()
	if err := nc.FlushTimeout(200 * time.Millisecond); err == nil {
		t.Error("an answer over a cut network")
	}
	l.Heal()
	if err := nc.FlushTimeout(5 * time.Second); err != nil || nc.Reconnects != 0 {
		t.Errorf("after the cut: %v, %d reconnects", err, nc.Reconnects)
	}
	down := nc.StatusChanged(nats.RECONNECTING)
	up := nc.StatusChanged(nats.CONNECTED)
	l.Reset()
	<-down
	l.Heal()
	<-up
}
