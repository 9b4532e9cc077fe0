package queue

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"waggle/internal/job"
)

const (
	// nodeTTL is how long a node that is silent counts as living; nodeEvery is
	// how often one that lives writes its record again.
	nodeTTL   = 30 * time.Second
	nodeEvery = 10 * time.Second
)

// nodes are the records of all nodes: those of this process, which it keeps
// alive, and those of others, as it heard of them.
type nodes struct {
	bucket jetstream.KeyValue
	others *follower
	log    *slog.Logger

	mu    sync.Mutex
	own   map[string]job.Node
	heard map[string]heardNode
}

type heardNode struct {
	job.Node
	at time.Time
}

func openNodes(ctx context.Context, js jetstream.JetStream, o Options) (*nodes, error) {
	bucket, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: nodeBucket, TTL: nodeTTL, Replicas: max(o.Replicas, 1), Storage: jetstream.MemoryStorage,
	})
	if err != nil {
		return nil, err
	}
	n := &nodes{bucket: bucket, log: o.Log, own: map[string]job.Node{}, heard: map[string]heardNode{}}
	n.others = &follower{bucket: bucket, log: o.Log, every: o.times.compare, tell: n.hear}
	if err := n.others.open(ctx); err != nil {
		n.others.close()
		return nil, err
	}
	return n, nil
}

// run listens to others and keeps this process's own records alive.
func (n *nodes) run(stop <-chan struct{}) {
	var listening sync.WaitGroup
	defer listening.Wait()
	listening.Go(func() { n.others.run(stop) })
	ctx, cancel := context.WithCancel(context.Background())
	listening.Go(func() {
		<-stop
		cancel()
	})
	tick := time.NewTicker(nodeEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			n.again(ctx)
		case <-stop:
			return
		}
	}
}

func (n *nodes) hear(e jetstream.KeyValueEntry) {
	if e.Operation() != jetstream.KeyValuePut {
		return
	}
	var node job.Node
	if err := json.Unmarshal(e.Value(), &node); err != nil {
		return // from a version that speaks otherwise
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.heard[node.ID] = heardNode{node, time.Now()} // by this machine's clock
}

// again writes the records of this process's nodes once more, and forgets those
// of others that are dead.
func (n *nodes) again(ctx context.Context) {
	n.mu.Lock()
	maps.DeleteFunc(n.heard, func(_ string, node heardNode) bool { return time.Since(node.at) > nodeTTL })
	var own []job.Node
	for _, node := range n.own {
		own = append(own, node)
	}
	n.mu.Unlock()
	for _, node := range own {
		if err := n.write(ctx, node); err != nil && ctx.Err() == nil {
			n.log.Warn("write the node's record", "node", node.ID, "error", err)
		}
	}
}

func (n *nodes) put(ctx context.Context, node job.Node) error {
	n.mu.Lock()
	n.own[node.ID] = node
	n.mu.Unlock()
	return n.write(ctx, node)
}

func (n *nodes) write(ctx context.Context, node job.Node) error {
	data, err := json.Marshal(node)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, nodeEvery/2)
	defer cancel()
	if _, err := n.bucket.Put(ctx, token(node.ID), data); err != nil {
		return fmt.Errorf("write record of node %s: %w", node.ID, err)
	}
	return nil
}

// hearsItself reports whether what this process says of its own nodes has come
// back lately.
func (n *nodes) hearsItself(now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id := range n.own {
		if now.Sub(n.heard[id].at) < nodeTTL {
			return true
		}
	}
	return false
}

// lives reports whether a node was heard of so lately that it must be alive.
func (n *nodes) lives(id string, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return now.Sub(n.heard[id].at) < 2*nodeEvery
}

// living returns this process's nodes and those heard of lately, by id.
func (n *nodes) living(now time.Time) []job.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []job.Node
	for _, node := range n.own {
		node.Seen = now.UTC()
		list = append(list, node)
	}
	for id, node := range n.heard {
		if _, own := n.own[id]; !own && now.Sub(node.at) < nodeTTL {
			node.Seen = node.at.UTC()
			list = append(list, node.Node)
		}
	}
	slices.SortFunc(list, func(a, b job.Node) int { return cmp.Compare(a.ID, b.ID) })
	return list
}
