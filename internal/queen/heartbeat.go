package queen

import (
	"sync"
	"time"

	"waggle/internal/job"
)

// hiveHeartbeat passes a hive's telemetry on.
func hiveHeartbeat(id string, t telemetry) entry {
	e := jsonEntry(hiveBeat{"hive_telemetry", id, t.timestamp, append([]process{}, t.processes...)})
	e.name = "heartbeat"
	return e
}

// heartbeat is the queen's own: how many there are, and who.
func (q *Queen) heartbeat(now time.Time) entry {
	hives, _ := q.fleet.snapshot()
	workers := q.workers(q.ctx)
	beat := queenBeat{Type: "queen", WorkerIDs: []string{}, HiveIDs: []string{}, Timestamp: now.UTC()}
	for _, h := range hives {
		if h.Online {
			beat.HivesOnline++
			beat.HivesAvailable++
			beat.HiveIDs = append(beat.HiveIDs, h.ID)
		}
	}
	for _, w := range workers {
		if w.Status != job.Stopping {
			beat.WorkersOnline++
		}
		if w.Status.Available() {
			beat.WorkersAvailable++
		}
		beat.WorkerIDs = append(beat.WorkerIDs, w.IDs[0])
	}
	for _, n := range q.sharedNodes(q.ctx) {
		if n.Status != job.Stopping && n.Status != job.Stopped {
			beat.WorkersOnline++
		}
		if n.Status.Available() {
			beat.WorkersAvailable++
		}
		beat.WorkerIDs = append(beat.WorkerIDs, n.ID)
	}
	e := jsonEntry(beat)
	e.name = "heartbeat"
	return e
}

// hub hands heartbeats to those who watch. A watcher that is slow misses the
// oldest.
type hub struct {
	mu       sync.Mutex
	watchers map[chan entry]bool
}

const watcherBuffer = 64 // heartbeats

func newHub() *hub { return &hub{watchers: map[chan entry]bool{}} }

// watch returns a channel of heartbeats, and how to stop.
func (h *hub) watch() (<-chan entry, func()) {
	c := make(chan entry, watcherBuffer)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers[c] = true
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, c)
	}
}

// watched reports whether anybody would hear.
func (h *hub) watched() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.watchers) > 0
}

func (h *hub) send(e entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.watchers {
		select {
		case c <- e:
			continue
		default:
		}
		select {
		case <-c:
		default:
		}
		c <- e // only send fills it, and the lock is ours
	}
}
