package natstest

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// readyLimit is how long a cluster may take to find its leaders on a busy machine.
const readyLimit = 90 * time.Second

// Cluster is some servers that know each other.
type Cluster struct {
	Servers []*Server

	tb testing.TB
}

// StartCluster starts n servers and waits until they have a leader. They end
// with the test; their logs are shown if it fails.
func StartCluster(tb testing.TB, n int) *Cluster {
	tb.Helper()
	if _, server := os.LookupEnv(configured); server {
		tb.Fatal("this process was started as a server of NATS and runs the tests instead: TestMain must call natstest.Main first")
	}
	ports := freePorts(tb, 3*n)
	c := &Cluster{tb: tb}
	for i := range n {
		own := config{
			Name: fmt.Sprint("s", i+1), Dir: tb.TempDir(), MaxPayload: 8 << 20,
			Cluster: ports[i], Client: ports[n+i], Monitor: ports[2*n+i],
		}
		if n > 1 {
			own.Routes = ports[:n]
		}
		c.Servers = append(c.Servers, &Server{Name: own.Name, tb: tb, config: own})
	}
	tb.Cleanup(c.end)
	for _, s := range c.Servers {
		s.Start()
	}
	c.Ready()
	return c
}

func (c *Cluster) end() {
	for _, s := range c.Servers {
		s.Kill()
		if c.tb.Failed() {
			c.tb.Logf("the log of server %s ends:\n%s", s.Name, tail(s.Log(), 4000))
		}
	}
}

func tail(text string, n int) string {
	if len(text) > n {
		return text[len(text)-n:]
	}
	return text
}

// URLs are the servers' addresses, with no proxy before them.
func (c *Cluster) URLs() (list []string) {
	for _, s := range c.Servers {
		list = append(list, "nats://"+s.Address())
	}
	return list
}

// Ready waits until those that run have a leader, and it has heard of them.
func (c *Cluster) Ready() {
	c.tb.Helper()
	for deadline := time.Now().Add(readyLimit); !c.ready(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.tb.Fatal("the servers of the cluster did not find together")
		}
	}
}

// meta is what a server says of the group that leads the cluster.
type meta struct {
	Cluster struct {
		Leader   string
		Replicas []struct {
			Name             string
			Current, Offline bool
		}
	} `json:"meta_cluster"`
}

func (c *Cluster) ready() bool {
	if len(c.Servers) == 1 {
		return c.Servers[0].healthy()
	}
	leader := c.Leader()
	if leader == nil {
		return false
	}
	var m meta
	if leader.monitor("jsz", &m) != nil {
		return false
	}
	current := map[string]bool{leader.Name: true}
	for _, r := range m.Cluster.Replicas {
		current[r.Name] = r.Current && !r.Offline
	}
	for _, s := range c.Servers {
		if s.Running() && !(current[s.Name] && s.healthy()) {
			return false
		}
	}
	return true
}

// Leader is the server that leads the cluster, as the running ones say; nil if
// they do not agree on one that runs.
func (c *Cluster) Leader() *Server {
	name := ""
	for _, s := range c.Servers {
		if !s.Running() {
			continue
		}
		var m meta
		if s.monitor("jsz", &m) != nil || m.Cluster.Leader == "" || name != "" && m.Cluster.Leader != name {
			return nil
		}
		name = m.Cluster.Leader
	}
	if s := c.Named(name); s != nil && s.Running() {
		return s
	}
	return nil
}

// Named returns the server of a name, nil if there is none.
func (c *Cluster) Named(name string) *Server {
	for _, s := range c.Servers {
		if s.Name == name {
			return s
		}
	}
	return nil
}
