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
	over     bool // the lease has made its last change
}

func newWishes(s stored, revision uint64) *wishes {
	return &wishes{lease: s.Lease, cancel: make(chan struct{}), revision: revision, pause: s.PauseRequested}
}

// end marks the lease as over, which hears of nothing more; false if it was
// already.
func (w *wishes) end() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.over
	w.over = true
	return !was
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
	if revision <= w.revision || w.over {
		return
	}
	w.revision, w.pause = revision, s.PauseRequested
	if s.Lease != w.lease || s.State != job.Running || s.CancelRequested {
		w.stop()
	}
}

// lose tells that the job belongs to somebody else.
func (w *wishes) lose() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stop()
}

func (w *wishes) stop() {
	if !w.stopped {
		w.stopped = true
		close(w.cancel)
	}
}
