package main

import (
	"cmp"
	"log/slog"

	"waggle/internal/metrics"
	"waggle/internal/queen"
)

// ended counts and logs the end of a job of a queen.
func ended(m *metrics.Queen, log *slog.Logger) func(queen.Job) {
	return func(j queen.Job) {
		begun := cmp.Or(j.Started, j.Finished) // one that nobody began took no time
		took := j.Finished.Sub(begun)
		m.Ended(j.State, j.Operation, took)
		log.Info("job ended", "job", j.ID, "state", j.State, "operation", j.Operation, "model", j.Model, "worker", j.Worker, "seconds", took.Seconds())
	}
}

// counted is who there is and what is under way, by state.
func counted(s queen.Snapshot) (hives, workers, jobs metrics.Count) {
	hives, workers, jobs = metrics.Count{}, metrics.Count{}, metrics.Count{}
	for _, h := range s.Hives {
		if h.Online {
			hives["online"]++
		} else {
			hives["lost"]++
		}
	}
	for _, w := range s.Workers {
		workers[w.State()]++
	}
	for _, j := range s.Jobs {
		jobs[string(j.State)]++
	}
	return hives, workers, jobs
}
