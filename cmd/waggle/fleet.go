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
	if s.Clustered {
		f.Cluster = clusterView(s)
	}
	for _, j := range s.Jobs {
		f.Jobs = append(f.Jobs, web.FleetJob{
			ID: string(j.ID), Operation: j.Operation, Model: j.Model, State: string(j.State), Worker: j.Worker, InLine: j.Shared,
			Step: j.Step, Total: j.Total, For: lasted(j, s.Time), Message: j.Message,
		})
	}
	slices.SortStableFunc(f.Jobs, func(a, b web.FleetJob) int { return rank(a) - rank(b) })
	return f
}

func clusterView(s queen.Snapshot) *web.FleetCluster {
	c := &web.FleetCluster{Problem: s.Problem}
	for _, n := range s.Nodes {
		row := web.FleetNode{ID: n.ID, Device: n.Device, State: string(n.Status), Running: n.Load.Running, Waiting: n.Load.Waiting}
		if n.Status == job.Ready {
			row.State = "idle" // as workers are called that wait for work
		}
		if !n.Since.IsZero() {
			row.For = s.Time.Sub(n.Since)
		}
		for _, m := range n.Models {
			row.Models = append(row.Models, m.Name)
		}
		c.Nodes = append(c.Nodes, row)
	}
	return c
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
