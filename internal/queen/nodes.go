package queen

import (
	"context"
	"net/http"

	"waggle/internal/door"
	"waggle/internal/job"
)

// nodes are all who do jobs, of whichever kind: the nodes of the cluster and
// then the workers.
func (q *Queen) nodes(ctx context.Context) []job.NodeReport {
	list := append([]job.NodeReport{}, q.sharedNodes(ctx)...)
	for _, w := range q.workers(ctx) {
		list = append(list, w.report())
	}
	return list
}

// report is a worker as a list of nodes shows it.
func (w Worker) report() job.NodeReport {
	r := job.NodeReport{
		Kind: job.WorkerNode, Names: w.IDs[1:], URL: w.URL, Hive: w.Hive,
		Node: job.Node{
			ID: w.IDs[0], Device: w.Device, Port: w.port, Status: w.Status, Implementation: w.Implementation, Version: w.Version,
			Since: w.Since, Seen: w.Seen, Load: job.Load{Running: w.Jobs},
		},
	}
	if w.Hive != "" {
		r.Kind = job.HiveNode
	}
	if w.State() == string(job.Busy) {
		r.Status = job.Busy
	}
	for _, name := range w.Models {
		r.ModelID = w.Models[0]
		r.Models = append(r.Models, job.ModelInfo{Name: name, Loaded: w.Status.Available()})
	}
	return r
}

// getNodes is GET /v1/nodes: who does jobs.
func (q *Queen) getNodes(w http.ResponseWriter, r *http.Request) {
	answer := job.NodeList{Nodes: q.nodes(r.Context())}
	if _, err := q.shared(); err != nil {
		answer.Problem = err.Error()
	}
	door.WriteJSON(w, http.StatusOK, answer)
}

// getModels is GET /v1/models: the names that operations can be routed by, with
// what is known of them.
func (q *Queen) getModels(w http.ResponseWriter, r *http.Request) {
	var able []job.Node
	for _, n := range q.nodes(r.Context()) {
		if n.Status.Available() {
			able = append(able, n.Node)
		}
	}
	door.WriteJSON(w, http.StatusOK, job.ModelList{Models: job.Models(able)})
}
