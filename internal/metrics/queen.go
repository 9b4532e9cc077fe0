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

// Fleet tells of it. A reader has it asked once: it takes a while where there are thousands.
func (q *Queen) Fleet(ask func() Fleet) {
	part := func(name, help string, of func(Fleet) Count, states ...string) fleetPart {
		return fleetPart{prometheus.NewDesc(name, help, []string{"state"}, nil), of, states}
	}
	q.registry.MustRegister(&fleet{ask, []fleetPart{
		part("waggle_queen_hives", "Hives that the queen listens to.", func(f Fleet) Count { return f.Hives }, "online", "lost"),
		part("waggle_queen_workers", "Workers that the queen knows.", func(f Fleet) Count { return f.Workers },
			words(job.Starting, "idle", job.Busy, job.Stopping)...),
		part("waggle_queen_nodes", "Nodes of the cluster that live.", func(f Fleet) Count { return f.Nodes },
			words(job.Starting, job.Ready, job.Busy, job.Stopping)...),
		part("waggle_queen_jobs", "Jobs that the queen keeps and that have not ended.", func(f Fleet) Count { return f.Jobs },
			words(job.Queued, job.Running)...),
	}})
}

// fleet is the metrics of a Fleet.
type fleet struct {
	ask   func() Fleet
	parts []fleetPart
}

// fleetPart is one of them.
type fleetPart struct {
	about  *prometheus.Desc
	of     func(Fleet) Count
	states []string
}

// Describe implements prometheus.Collector.
func (f *fleet) Describe(to chan<- *prometheus.Desc) {
	for _, p := range f.parts {
		to <- p.about
	}
}

// Collect implements prometheus.Collector.
func (f *fleet) Collect(to chan<- prometheus.Metric) {
	now := f.ask()
	for _, p := range f.parts {
		for _, state := range p.states {
			to <- prometheus.MustNewConstMetric(p.about, prometheus.GaugeValue, float64(p.of(now)[state]), state)
		}
	}
}
