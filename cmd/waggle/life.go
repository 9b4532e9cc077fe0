package main

import (
	"log/slog"

	"waggle/internal/job"
	"waggle/internal/metrics"
)

// changed counts and logs what this process makes of jobs.
func changed(m *metrics.Jobs, log *slog.Logger) func(was, now job.Record) {
	return func(was, now job.Record) {
		m.Changed(was, now)
		logChange(log, was, now)
	}
}

// logChange writes one line for each thing that happens to a job, by the process that made it happen. What was asked for in words and
// pictures is between a client and its server: it is in no line.
func logChange(log *slog.Logger, was, now job.Record) {
	log = log.With("job", now.ID)
	switch q := now.Request; {
	case was.ID == "":
		log.Info("job submitted", "client", q.Client, "operation", q.Operation, "model", q.Model,
			"width", q.Width, "height", q.Height, "steps", q.Steps, "pictures", q.Pictures(), "priority", q.Priority)
	case now.State == job.Running:
		log.Info("job started", "attempt", now.Attempt, "after", now.Started.Sub(now.Created).Seconds())
	case now.State == job.Paused:
		log.Info("job paused")
	case now.State == job.Queued && was.State == job.Running:
		log.Info("job handed back")
	case now.State == job.Queued:
		log.Info("job resumed")
	}
	if now.State.Final() {
		logEnd(log, now)
	}
}

// logEnd tells how a job ended. Why one failed through no fault of its client's, the engine has told.
func logEnd(log *slog.Logger, r job.Record) {
	log = log.With("state", r.State, "seconds", r.Elapsed.Seconds())
	switch {
	case r.State == job.Complete:
		log.Info("job ended", "pictures", len(r.Pictures), "steps", r.Request.Steps*len(r.Pictures))
	case r.State == job.Failed && r.Kind != job.InvalidInput:
		log.Warn("job ended", "kind", r.Kind)
	default:
		log.Info("job ended", "kind", r.Kind)
	}
}
