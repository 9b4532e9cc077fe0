package main

import (
	"waggle/internal/engine"
	"waggle/internal/job"
	"waggle/internal/metrics"
	"waggle/internal/queue"
)

var _ engine.Meter = (*metrics.Worker)(nil)

// measure shows what the worker's parts know to those who read its metrics.
func (w *worker) measure(queueLimit int) {
	w.meters.Queue(queueLimit, func() func(job.State, job.Priority) int {
		depth := w.queue.Depth()
		return func(s job.State, p job.Priority) int { return depth[queue.Standing{State: s, Priority: p}] }
	})
	w.meters.PreviewBytes(func() int64 { return w.api.PreviewBytes() }) // there is an api when somebody asks it
	w.meters.Connected(w.bus.Connected)
	w.meters.Devices(func() (list []metrics.Device) {
		for _, s := range w.node.Seats() {
			list = append(list, metrics.Device{Name: s.Adapter, Usable: s.Status.Available(), Models: len(s.Models), Bytes: s.Bytes})
		}
		return list
	})
}
