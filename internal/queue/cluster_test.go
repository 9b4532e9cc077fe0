package queue

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"waggle/internal/bus"
	"waggle/internal/job"
)

// cluster starts three JetStream servers on loopback.
func cluster(t *testing.T) (servers []*server.Server, urls []string) {
	t.Helper()
	var ports [3]int
	var routes []*url.URL
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports[i] = l.Addr().(*net.TCPAddr).Port
		l.Close()
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprint("127.0.0.1:", ports[i])})
	}
	for i := range ports {
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprint("s", i), Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true,
			JetStream: true, StoreDir: t.TempDir(), Routes: routes,
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[i]},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			s.Shutdown()
			s.WaitForShutdown()
		})
		go s.Start()
		servers = append(servers, s)
	}
	for _, s := range servers {
		if !s.ReadyForConnections(20 * time.Second) {
			t.Fatal("a server of the cluster did not start")
		}
		urls = append(urls, s.ClientURL())
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		leads := false
		for _, s := range servers {
			leads = leads || s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == len(servers)
		}
		if leads {
			return servers, urls
		}
		if time.Now().After(deadline) {
			t.Fatal("the cluster did not find a leader")
		}
	}
}

// TestCluster: on three servers everything is kept three times; when one dies,
// running jobs end, waiting ones are taken and new ones come in.
func TestCluster(t *testing.T) {
	if os.Getenv("CLUSTER") != "1" {
		t.Skip("CLUSTER=1 runs this on three servers; right after one has died, or before all have begun, they may refuse for a while")
	}
	servers, urls := cluster(t)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	join := func() *JetStream {
		b, err := bus.Open(bus.Options{URLs: urls, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		if b.Replicas != 3 || b.Alone() || b.Room() != nil {
			t.Errorf("%d replicas, alone %v, room %v", b.Replicas, b.Alone(), b.Room())
		}
		return open(t, b, Options{Replicas: b.Replicas})
	}
	one, two := join(), join()
	submit(t, one, request("a"))
	submit(t, two, request("b", func(r *job.Request) { r.InputImage, r.Operation = []byte("picture"), job.Transform }))
	running := next(t, one, Consumer{Node: "one"})
	if err := one.PutNode(t.Context(), job.Node{ID: "one", Status: job.Busy}); err != nil {
		t.Error(err)
	}
	servers[0].Shutdown()
	servers[0].WaitForShutdown()

	finish(t, running)
	var waiting Lease
	eventually(t, "the waiting job", func() (err error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		waiting, err = two.Next(ctx, Consumer{Node: "two"})
		return err
	})
	if r := waiting.Record(); r.ID != "b" || string(r.Request.InputImage) != "picture" || r.Attempt != 1 {
		t.Errorf("got %+v", r)
	}
	finish(t, waiting)
	eventually(t, "a new job", func() error {
		_, err := one.Submit(t.Context(), request("c"))
		return err
	})
	eventually(t, "the node", func() error {
		if nodes, err := two.Nodes(t.Context()); err != nil || len(nodes) != 1 || nodes[0].ID != "one" {
			return fmt.Errorf("nodes %v, %v", nodes, err)
		}
		return nil
	})
	for _, id := range []job.ID{"a", "b"} {
		if r, err := two.Get(t.Context(), id); err != nil || r.State != job.Complete {
			t.Errorf("job %s: %s, %v", id, r.State, err)
		}
	}
}

// eventually tries until there is no error.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for err := try(); err != nil; err = try() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
