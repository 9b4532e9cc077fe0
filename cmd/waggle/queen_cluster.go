package main

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"time"

	"waggle/internal/bus"
	"waggle/internal/events"
	"waggle/internal/job"
	"waggle/internal/metrics"
	"waggle/internal/queen"
	"waggle/internal/queue"
	"waggle/internal/store"
	"waggle/internal/stream"
)

const (
	// firstPatience is how long a queen waits for her cluster before she begins without it.
	firstPatience = 2 * time.Second
	keepAlive     = 15 * time.Second // as the protocol has it
)

// cluster returns how the queen gets onto her cluster; nil if there is none. The first try is now: what cannot be mended by
// waiting is an error. A cluster that does not answer is tried again while she works.
func (c *queenCommand) cluster(ctx context.Context, m *metrics.Jobs, log *slog.Logger) (func(context.Context) (*queen.Cluster, error), error) {
	if err := c.natsFlags.check(); err != nil || len(c.NATS) == 0 {
		return nil, err
	}
	first, err := c.join(ctx, m, log, firstPatience)
	if err != nil && !errors.Is(err, bus.ErrNoAnswer) && !bus.Unreachable(err) {
		return nil, err
	}
	return func(ctx context.Context) (*queen.Cluster, error) {
		if cluster := first; cluster != nil {
			first = nil
			return cluster, nil
		}
		return c.join(ctx, m, log, 0)
	}, nil
}

// join opens what lies on the cluster as a guest: it is the servers that say how much is kept and for how long.
func (c *queenCommand) join(ctx context.Context, m *metrics.Jobs, log *slog.Logger, patience time.Duration) (*queen.Cluster, error) {
	o := c.natsFlags.options(log)
	o.Guest, o.Patience = true, patience
	b, err := bus.OpenContext(ctx, o)
	if err != nil {
		return nil, advised(err)
	}
	w := &worker{bus: b}
	if err := w.visit(ctx, m, log); err != nil {
		w.close()
		return nil, err
	}
	return &queen.Cluster{
		Jobs:      &stream.Jobs{Queue: w.queue, Events: w.events, Store: w.store, KeepAlive: keepAlive, Log: log},
		Reachable: b.Connected, Close: w.close,
	}, nil
}

// visit opens what a guest needs of what open opens.
func (w *worker) visit(ctx context.Context, m *metrics.Jobs, log *slog.Logger) (err error) {
	js, replicas := w.bus.JetStream, w.bus.Replicas
	if w.store, err = store.Open(ctx, js, store.Options{Bytes: math.MaxInt64, Replicas: replicas, Log: log}); err != nil {
		return err
	}
	if w.events, err = events.Open(ctx, js, events.Options{Replicas: replicas, Log: log}); err != nil {
		return err
	}
	w.queue, err = queue.Open(ctx, js, queue.Options{Guest: true, Replicas: replicas, Log: log, Ended: w.tellEnd(log), Changed: changed(m, log)})
	return err
}

// tellEnd ends the events of a job that the queue ended itself.
func (w *worker) tellEnd(log *slog.Logger) func(context.Context, job.Record) {
	return func(ctx context.Context, r job.Record) {
		if last, ended := r.EndEvent(); ended {
			warn(log, "end a job's events", r.ID, w.events.Publish(ctx, r.ID, last))
		}
	}
}
