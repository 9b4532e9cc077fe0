package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"waggle/internal/job"
)

// Jobs is what this process has done with the jobs of a queue.
type Jobs struct {
	kinds names

	submitted, started prometheus.Counter
	ended, failed      *prometheus.CounterVec
	waited, ran        prometheus.Observer
}

func newJobs(p *Process) *Jobs {
	kinds := words(job.InvalidInput, job.ModelNotFound, job.ModelInvalid, job.OutOfMemory, job.DeviceLost, job.AttemptsExhausted, job.Internal)
	return &Jobs{
		submitted: p.count("waggle_jobs_submitted_total", "Jobs put into the queue here."),
		started:   p.count("waggle_jobs_started_total", "Runs of jobs begun here; a job that was paused or handed back is begun again."),
		ended:     p.countBy("waggle_jobs_ended_total", "Jobs ended here, by how.", "state", words(job.Complete, job.Failed, job.Cancelled)...),
		failed:    p.countBy("waggle_jobs_failed_total", "Jobs that failed here, by the kind of failure.", "kind", kinds...),
		waited:    p.measure("waggle_job_wait_seconds", "From a job's submission to its first start here.", forWaiting),
		ran:       p.measure("waggle_job_run_seconds", "The last run of jobs that ended here, all pictures.", forPictures),
	}
}

func words[T ~string](list ...T) (words []string) {
	for _, word := range list {
		words = append(words, string(word))
	}
	return words
}

// Changed counts a change of a job that this process has written. was is the zero Record for a new job.
func (j *Jobs) Changed(was, now job.Record) {
	switch {
	case was.ID == "":
		j.submitted.Inc()
	case now.State == job.Running:
		j.started.Inc()
		if was.Started.IsZero() {
			seconds(j.waited, now.Started.Sub(now.Created))
		}
	}
	if now.State.Final() {
		j.end(was, now)
	}
}

func (j *Jobs) end(was, now job.Record) {
	j.ended.WithLabelValues(string(now.State)).Inc()
	if now.State == job.Failed {
		j.failed.WithLabelValues(j.kinds.of(string(now.Kind))).Inc()
	}
	if was.State == job.Running {
		seconds(j.ran, now.Finished.Sub(now.Started))
	}
}
