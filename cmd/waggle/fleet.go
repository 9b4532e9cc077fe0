package main

import (
	"slices"
	"time"

	"waggle/internal/job"
	"waggle/internal/queen"
	"waggle/web"
)

// fleetView turns what a queen knows into what her page shows.
func fleetView(s queen.Snapshot) web.Fleet {
	f := web.Fleet{Time: s.Time}
	for _, h := range s.Hives {
		f.Hives = append(f.Hives, web.FleetHive{ID: h.ID, URL: h.URL, Online: h.Online, For: s.Time.Sub(h.Since), Workers: h.Workers, Problem: h.Problem})
	}
	for _, w := range s.Workers {
		f.Workers = append(f.Workers, web.FleetWorker{
			Names: w.IDs, Hive: w.Hive, URL: w.URL, Models: w.Models, Device: w.Device, State: w.State(),
			GPUPercent: w.GPUPercent, MemoryMiB: w.VRAMMiB, MemoryMax: w.VRAMTotalMiB, Jobs: w.Jobs,
		})
	}
	for _, j := range s.Jobs {
		f.Jobs = append(f.Jobs, web.FleetJob{
			ID: string(j.ID), Operation: j.Operation, Model: j.Model, State: string(j.State), Worker: j.Worker,
			Step: j.Step, Total: j.Total, For: lasted(j, s.Time), Message: j.Message,
		})
	}
	slices.SortStableFunc(f.Jobs, func(a, b web.FleetJob) int { return rank(a) - rank(b) })
	return f
}

// lasted is how long a job has run, or waited.
func lasted(j queen.Job, now time.Time) time.Duration {
	from, to := j.Started, j.Finished
	if from.IsZero() {
		from = j.Created
	}
	if to.IsZero() {
		to = now
	}
	return to.Sub(from)
}

// rank puts running jobs before waiting ones, and those before ended ones.
func rank(j web.FleetJob) int {
	switch job.State(j.State) {
	case job.Running:
		return 0
	case job.Queued:
		return 1
	}
	return 2
}
