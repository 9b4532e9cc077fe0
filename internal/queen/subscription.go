package queen

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"waggle/internal/job"
)

// telemetryLimit bounds one message of a hive, in bytes.
const telemetryLimit = 16 << 20

var (
	errHiveEnded = errors.New("the hive closed its stream")
	errClosing   = errors.New("the queen is stopping")
)

// Subscribe listens to a hive from now on, as if the hive itself had called
// from this machine.
func (q *Queen) Subscribe(id, url string) error {
	return q.welcome(id, url, "localhost")
}

// welcome checks a hive's name and address and listens to it. caller is the
// host that told of it.
func (q *Queen) welcome(id, url, caller string) error {
	if !proper(id) {
		return job.Errorf(job.InvalidInput, "Invalid input: hive_id must be 1 to %d bytes of plain text", nameLimit)
	}
	address, err := hiveAddress(url, caller)
	if err != nil {
		return job.Errorf(job.InvalidInput, "Invalid input: %w", err)
	}
	return q.subscribe(id, address)
}

// subscribe listens to a hive from now on. One that is being listened to is
// left alone, one that was lost is tried again at once; another subscription
// under its name ends first.
func (q *Queen) subscribe(id, url string) error {
	ctx, stop := context.WithCancel(q.ctx)
	h, old, err := q.fleet.subscribe(id, url, stop)
	if err != nil || h == nil {
		stop()
		return err
	}
	if old != nil && old.ID == id && old.URL != url {
		q.Log.Warn("another hive has taken a name", "hive", id, "was", old.URL, "is", url)
	}
	spawned := q.spawn(func() {
		defer stop()
		defer close(h.ended)
		if old != nil {
			old.stop()
			<-old.ended
		}
		q.follow(ctx, h)
	})
	if !spawned {
		return errClosing
	}
	return nil
}

// follow listens again and again until ctx ends.
func (q *Queen) follow(ctx context.Context, h *hive) {
	for {
		q.fleet.trying(h)
		err := q.listen(ctx, h)
		if ctx.Err() != nil {
			return
		}
		level := slog.LevelDebug
		if q.fleet.lost(h, err) {
			level = slog.LevelInfo
		}
		q.Log.Log(ctx, level, "hive lost", "hive", h.ID, "url", h.URL, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(q.timing.reconnect):
		}
	}
}

// listen reads one telemetry stream to its end.
func (q *Queen) listen(ctx context.Context, h *hive) error {
	events, closeStream, err := q.openStream(ctx, request{url: h.URL + "/v1/heartbeats/stream", quiet: q.timing.hiveQuiet, limit: telemetryLimit})
	if err != nil {
		return err
	}
	defer closeStream()
	q.fleet.online(h)
	q.Log.Info("hive online", "hive", h.ID, "url", h.URL)
	for {
		e, err := events.Next()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return errors.Join(errHiveEnded, err)
		}
		q.hear(h, e.Data)
	}
}

// hear takes one message of a hive. What cannot be read changes nothing.
func (q *Queen) hear(h *hive, message []byte) {
	t, ok, err := parseTelemetry(message, q.limits.hiveWorkers)
	if err != nil || t.dropped > 0 {
		q.Log.Debug("telemetry", "hive", h.ID, "dropped", t.dropped, "error", err)
	}
	if !ok {
		return
	}
	q.fleet.report(h, t.processes)
	if q.hub.watched() {
		q.hub.send(hiveHeartbeat(h.ID, t))
	}
}
