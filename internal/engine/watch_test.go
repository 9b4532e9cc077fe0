package engine

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"waggle/internal/job"
)

// Whoever watches a node is told how it is, and at last that it has stopped.
func TestWatch(t *testing.T) {
	var mu sync.Mutex
	var told []job.Status
	rigged(t, func(t *testing.T, r *rig) {
		r.completes(r.submit("a"), 7, 4)
		synctest.Wait() // until the engine waits for work again
	}, func(r *rig, _ *Config) {
		r.node.Watch(func(n job.Node) {
			mu.Lock()
			defer mu.Unlock()
			if len(told) == 0 || told[len(told)-1] != n.Status {
				told = append(told, n.Status)
			}
		})
	})
	if !slices.Contains(told, job.Ready) || !slices.Contains(told, job.Busy) || told[len(told)-1] != job.Stopped {
		t.Errorf("told %v", told)
	}
}
