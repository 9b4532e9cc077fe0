package queue

import (
	"sync"

	"waggle/internal/job"
)

// wishes is what others want of a running job, as its lease hears it from the
// job's record.
type wishes struct {
	lease  string // the lease's name
	cancel chan struct{}

	mu       sync.Mutex
	revision uint64 // of the newest record heard of
	stopped  bool   // cancel is closed
	pause    bool
}

func newWishes(s stored, revision uint64) *wishes {
	return &wishes{lease: s.Lease, cancel: make(chan struct{}), revision: revision, pause: s.PauseRequested}
}

// Cancelled implements Lease.
func (w *wishes) Cancelled() <-chan struct{} { return w.cancel }

// PauseAsked implements Lease.
func (w *wishes) PauseAsked() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pause
}

// told hears of the job's record: it may be asked to stop or to pause, or
// belong to somebody else.
func (w *wishes) told(s stored, revision uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if revision <= w.revision {
		return
	}
	w.revision, w.pause = revision, s.PauseRequested
	lost := s.Lease != w.lease || s.State != job.Running
	if (lost || s.CancelRequested) && !w.stopped {
		w.stopped = true
		close(w.cancel)
	}
}
