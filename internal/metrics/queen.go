package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waggle/internal/job"
)

// Queen is what a queen has.
type Queen struct {
	Process
	*Jobs      // of the cluster
	operations names

	gone *prometheus.CounterVec
	took *prometheus.HistogramVec
}

// NewQueen returns a queen's metrics.
func NewQueen(version string) *Queen {
	q := &Queen{Process: newProcess(version)}
	q.Jobs = newJobs(&q.Process)
	q.gone = q.countBy("waggle_queen_jobs_ended_total", "Jobs that ended, by how.", "state", words(job.Complete, job.Failed, job.Cancelled)...)
	q.took = q.measureBy("waggle_queen_job_seconds", "Jobs that were begun, from then to their end.", forPictures, "operation")
	return q
}

// Ended counts a job. took is 0 for one that was never begun.
func (q *Queen) Ended(state job.State, operation string, took time.Duration) {
	q.gone.WithLabelValues(string(state)).Inc()
	if took > 0 {
		if operation == "" {
			operation = otherName
		}
		seconds(q.took.WithLabelValues(q.operations.of(operation)), took)
	}
}

// Count is how many things there are by their states.
type Count map[string]int

// Fleet is who there is, and what is under way.
type Fleet struct{ Hives, Workers, Nodes, Jobs Count }

// Fleet tells of it.
func (q *Queen) Fleet(ask func() Fleet) {
	for _, m := range []struct {
		name, help string
		states     []string
		of         func(Fleet) Count
	}{
		{"waggle_queen_hives", "Hives that the queen listens to.", []string{"online", "lost"}, func(f Fleet) Count { return f.Hives }},
		{"waggle_queen_workers", "Workers that the queen knows.", words(job.Starting, "idle", job.Busy, job.Stopping), func(f Fleet) Count { return f.Workers }},
		{"waggle_queen_nodes", "Nodes of the cluster that live.", words(job.Starting, job.Ready, job.Busy, job.Stopping), func(f Fleet) Count { return f.Nodes }},
		{"waggle_queen_jobs", "Jobs that the queen keeps and that have not ended.", words(job.Queued, job.Running), func(f Fleet) Count { return f.Jobs }},
	} {
		q.asked(m.name, m.help, prometheus.GaugeValue, []string{"state"}, func(tell tell) {
			count := m.of(ask())
			for _, state := range m.states {
				tell(float64(count[state]), state)
			}
		})
	}
}
