package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waggle/internal/job"
)

// Queen is what a queen has.
type Queen struct {
	Process
	operations names

	ended *prometheus.CounterVec
	took  *prometheus.HistogramVec
}

// NewQueen returns a queen's metrics.
func NewQueen(version string) *Queen {
	q := &Queen{Process: newProcess(version)}
	q.ended = q.countBy("waggle_queen_jobs_ended_total", "Jobs that ended, by how.", "state", words(job.Complete, job.Failed, job.Cancelled)...)
	q.took = q.measureBy("waggle_queen_job_seconds", "Jobs that were begun, from then to their end.", forPictures, "operation")
	return q
}

// Ended counts a job. took is 0 for one that was never begun.
func (q *Queen) Ended(state job.State, operation string, took time.Duration) {
	q.ended.WithLabelValues(string(state)).Inc()
	if took > 0 {
		if operation == "" {
			operation = otherName
		}
		seconds(q.took.WithLabelValues(q.operations.of(operation)), took)
	}
}

// Count is how many things there are by their states.
type Count map[string]int

// Fleet tells who there is and what is under way.
func (q *Queen) Fleet(ask func() (hives, workers, jobs Count)) {
	for i, m := range []struct {
		name, help string
		states     []string
	}{
		{"waggle_queen_hives", "Hives that the queen listens to.", []string{"online", "lost"}},
		{"waggle_queen_workers", "Workers that the queen knows.", words(job.Starting, "idle", job.Busy, job.Stopping)},
		{"waggle_queen_jobs", "Jobs that have not ended.", words(job.Queued, job.Running)},
	} {
		q.asked(m.name, m.help, prometheus.GaugeValue, []string{"state"}, func(tell tell) {
			var all [3]Count
			all[0], all[1], all[2] = ask()
			for _, state := range m.states {
				tell(float64(all[i][state]), state)
			}
		})
	}
}
