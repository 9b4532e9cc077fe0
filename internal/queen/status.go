package queen

import (
	"context"
	"fmt"
	"time"

	"waggle/internal/job"
)

// status tells who there is: in words, and for programs.
func (q *Queen) status(ctx context.Context, t *task) {
	type row struct {
		ID     string   `json:"worker_id"`
		IDs    []string `json:"ids"`
		Hive   string   `json:"hive_id,omitempty"`
		URL    string   `json:"url"`
		Models []string `json:"models"`
		Device string   `json:"device,omitempty"`
		Status string   `json:"status"`
		Idle   bool     `json:"idle"`
		GPU    float64  `json:"gpu_util_pct"`
		VRAM   uint64   `json:"vram_mb"`
		Jobs   int      `json:"jobs"`
	}
	hives, _ := q.fleet.snapshot()
	workers := q.workers(ctx)
	nodes := q.sharedNodes(ctx)
	q.tell(t, actorQueen, "status", "Live status: %s", q.counted(hives, workers, nodes))
	told := q.tellHives(t, hives)
	rows := []row{}
	for _, w := range workers {
		rows = append(rows, row{w.IDs[0], w.IDs, w.Hive, w.URL, w.Models, w.Device, string(w.Status), w.Idle, w.GPUPercent, w.VRAMMiB, w.Jobs})
		q.tell(t, actorQueen, "status_worker", "%s at %s: %q, %s, %d jobs from here", w.IDs[0], w.URL, w.Models, w.State(), w.Jobs)
	}
	for _, n := range nodes {
		q.tell(t, actorQueen, "status_node", "%s of the cluster: %q, %s, %d jobs run, %d wait that it could take", plain(n.ID, nameLimit), modelNames(n.Node), n.Status, n.Load.Running, n.Load.Waiting)
	}
	if _, err := q.shared(); err != nil {
		q.tell(t, actorQueen, "status_cluster", "%s", plain(err.Error(), 500))
	}
	if len(workers)+len(nodes) == 0 {
		q.tell(t, actorQueen, "status_empty", "No workers. A hive tells of its workers once it has called POST /v1/hive/ready; a worker tells of itself with POST /v1/worker-heartbeat.")
	}
	payload := map[string]any{"hives": len(hives), "hive_list": told, "workers": rows}
	if q.Cluster != nil {
		payload["nodes"] = append([]job.NodeReport{}, nodes...)
	}
	q.shelf.say(t, structured("status", payload))
}

func modelNames(n job.Node) (names []string) {
	for _, m := range n.Models {
		names = append(names, plain(m.Name, nameLimit))
	}
	return names
}

func (q *Queen) counted(hives []Hive, workers []Worker, nodes []job.NodeReport) string {
	text := fmt.Sprintf("%d hives, %d workers", len(hives), len(workers))
	if q.Cluster != nil {
		text += fmt.Sprintf(", %d nodes of the cluster", len(nodes))
	}
	return text
}

// HiveStatus is a hive as status tells of it to programs.
type HiveStatus struct {
	ID      string    `json:"hive_id"`
	URL     string    `json:"url"`
	Online  bool      `json:"online"`
	Since   time.Time `json:"since"`             // when it came online or was lost
	Problem string    `json:"problem,omitempty"` // why it is not online
	Workers int       `json:"workers"`           // that it tells of
}

// tellHives narrates who the hives are, and returns the same for programs.
func (q *Queen) tellHives(t *task, hives []Hive) []HiveStatus {
	list := []HiveStatus{}
	for _, h := range hives {
		told := HiveStatus{h.ID, plain(h.URL, nameLimit), h.Online, h.Since, plain(h.Problem, 500), h.Workers}
		state := "online"
		if !told.Online {
			state = "not online: " + told.Problem
		}
		q.tell(t, actorQueen, "status_hive", "hive %s at %s: %s", told.ID, told.URL, state)
		list = append(list, told)
	}
	return list
}
