package job

import "slices"

// NodeKind says by which way a node gets its jobs.
type NodeKind string

// The kinds. The last two are workers that a queen calls over HTTP.
const (
	QueueNode  NodeKind = "node"   // takes them from the queue it shares with others
	HiveNode   NodeKind = "hive"   // is given them by a queen, whom a hive told of it
	WorkerNode NodeKind = "worker" // is given them by a queen, whom it told of itself
)

// NodeKinds lists all of them.
func NodeKinds() []NodeKind { return []NodeKind{QueueNode, HiveNode, WorkerNode} }

// NodeReport is a node in a list of those who are alive. Of workers that a
// queen calls, its members are what is known of them: no more of a model than
// its name, and in Load.Running the jobs that the queen herself has there.
type NodeReport struct {
	Node
	Kind  NodeKind `json:"kind"`              // by which way it gets its jobs
	Names []string `json:"names,omitempty"`   // other ids it goes by
	URL   string   `json:"url,omitempty"`     // where a queen calls it
	Hive  string   `json:"hive_id,omitempty"` // the hive that tells of it
}

// ReportNodes returns the reports of nodes that share a queue, without samplers
// and schedules. waiting are the jobs in its lines; each is counted at every
// node that could take it.
func ReportNodes(nodes []Node, waiting []Record) []NodeReport {
	list := make([]NodeReport, len(nodes))
	for i, n := range nodes {
		n.Samplers, n.Schedules = nil, nil
		list[i] = NodeReport{Node: n, Kind: QueueNode}
	}
	for _, r := range waiting {
		for i := range list {
			if list[i].Has(r.Request.Model) || !someHas(nodes, r.Request.Model) {
				list[i].Load.Waiting++
			}
		}
	}
	return list
}

// someHas reports whether a node that takes jobs has a model.
func someHas(nodes []Node, model string) bool {
	return slices.ContainsFunc(nodes, func(n Node) bool { return n.Status.Available() && n.Has(model) })
}

// Has reports whether the node has a model of that very name.
func (n Node) Has(model string) bool {
	return slices.ContainsFunc(n.Models, func(m ModelInfo) bool { return m.Name == model })
}
