package queue_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"waggle/internal/natstest"
)

// rounds is how often the scenarios on a cluster run: CLUSTER=1, or more.
func rounds(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv("CLUSTER"), "0"))
	if err != nil {
		t.Fatalf("CLUSTER=%s: want a number of rounds", os.Getenv("CLUSTER"))
	}
	if n == 0 {
		t.Skip("CLUSTER=1 kills and cuts off servers of a cluster of three processes; takes minutes")
	}
	return n
}

// killed kills a server while jobs run, lets the fleet go on without it, and
// starts it again.
func (f *fleet) killed(name string, victim func() *natstest.Server) {
	f.submit(name+"-before", 6)
	f.running(f.nodes[0])
	s := victim()
	f.Logf("%s: kill %s", name, s.Name)
	s.Kill()
	f.submit(name+"-without", 6)
	f.check()
	s.Start()
	f.submit(name+"-back", 6)
	f.Ready()
	f.check()
}

// leads is the server that leads a stream.
func (f *fleet) leads(stream string) *natstest.Server {
	var leader *natstest.Server
	f.try("the leader of "+stream, func(ctx context.Context) error {
		s, err := f.nodes[0].bus.JetStream.Stream(ctx, stream)
		if err != nil {
			return err
		}
		info := s.CachedInfo()
		if info.Cluster == nil || f.Named(info.Cluster.Leader) == nil {
			return fmt.Errorf("none: %+v", info.Cluster)
		}
		leader = f.Named(info.Cluster.Leader)
		return nil
	})
	return leader
}

// TestClusterServersDie: a server is killed, each time another kind of leader.
func TestClusterServersDie(t *testing.T) {
	n := rounds(t)
	f := newFleet(t, 3)
	for round := range n {
		for name, victim := range map[string]func() *natstest.Server{
			"connected": func() *natstest.Server { return f.connected(f.nodes[0]) },
			"meta":      f.leader,
			"jobs":      func() *natstest.Server { return f.leads("waggle-jobs") },
			"records":   func() *natstest.Server { return f.leads("KV_waggle-records") },
			"events":    func() *natstest.Server { return f.leads("waggle-events") },
		} {
			f.killed(fmt.Sprint(name, round), victim)
		}
	}
}

// connected is the server a node talks to.
func (f *fleet) connected(n *node) *natstest.Server {
	for i, url := range n.link.URLs() {
		if url == n.bus.JetStream.Conn().ConnectedUrl() {
			return f.Servers[i]
		}
	}
	f.Fatal("the node is not connected")
	return nil
}

func (f *fleet) leader() (s *natstest.Server) {
	f.try("the leader of the cluster", func(context.Context) error {
		if s = f.Leader(); s == nil {
			return fmt.Errorf("none")
		}
		return nil
	})
	return s
}

// TestClusterRestarts: all servers are started anew, one by one in peace, then
// all killed at once.
func TestClusterRestarts(t *testing.T) {
	n := rounds(t)
	f := newFleet(t, 3)
	for round := range n {
		f.submit(fmt.Sprint("rolling", round), 12)
		f.running(f.nodes[0])
		for _, s := range f.Servers {
			s.Stop()
			s.Start()
			f.Ready()
		}
		f.check()
		f.submit(fmt.Sprint("all", round), 12)
		f.running(f.nodes[0])
		for _, s := range f.Servers {
			s.Kill()
		}
		for _, s := range f.Servers {
			s.Start()
		}
		f.Ready()
		f.check()
	}
}

// cutFor is how long networks are cut: longer than a connection may be silent.
const cutFor = 20 * time.Second

// TestClusterCut: the network of one node is cut, then that of all.
func TestClusterCut(t *testing.T) {
	n := rounds(t)
	f := newFleet(t, 3)
	for round := range n {
		f.submit(fmt.Sprint("one-before", round), 6)
		cut := f.nodes[1]
		id := f.running(cut)
		f.Logf("%s is cut off with %s", cut.name, id)
		cut.link.Cut()
		nodes := f.nodes
		f.nodes = []*node{nodes[0], nodes[2]}
		f.submit(fmt.Sprint("one-during", round), 6)
		time.Sleep(cutFor)
		cut.link.Heal()
		f.nodes = nodes
		f.check()

		f.submit(fmt.Sprint("all", round), 9)
		f.running(f.nodes[0])
		for _, n := range f.nodes {
			n.link.Cut()
		}
		time.Sleep(cutFor)
		for _, n := range f.nodes {
			n.link.Heal()
		}
		f.check()

		f.submit(fmt.Sprint("reset", round), 9)
		f.running(f.nodes[0])
		for range 5 {
			for _, n := range f.nodes {
				n.link.Reset()
				time.Sleep(200 * time.Millisecond)
				n.link.Heal()
			}
		}
		f.check()

		f.submit(fmt.Sprint("again", round), 9)
		f.running(cut)
		f.check()
	}
}

// rescueLimit is how soon after a node's death another must have its job.
const rescueLimit = 45 * time.Second

// TestClusterNodeDies: the job of a node that died is with another in time.
func TestClusterNodeDies(t *testing.T) {
	n := rounds(t)
	f := newFleet(t, 3)
	for round := range n {
		f.submit(fmt.Sprint("dies", round), 6)
		victim := f.nodes[0]
		id := f.running(victim)
		victim.kill()
		died := time.Now()
		f.check()
		f.mu.Lock()
		list := f.taken[id]
		f.mu.Unlock()
		last := list[len(list)-1]
		if last.node == victim.name || last.at.Sub(died) > rescueLimit {
			t.Errorf("%s of %s: taken by %v, died at %v", id, victim.name, list, died)
		}
		t.Logf("another had the job after %v", last.at.Sub(died).Round(time.Millisecond))
		f.nodes[0] = f.join(victim.name)
	}
}
