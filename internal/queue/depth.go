package queue

import (
	"maps"

	"waggle/internal/job"
)

// Standing is where a job that has not ended stands.
type Standing struct {
	State    job.State
	Priority job.Priority
}

// Depth is how many jobs stand where.
type Depth map[Standing]int

// Depth counts the jobs that have not ended, of all nodes. It costs the same however many there are.
func (q *JetStream) Depth() Depth {
	q.index.mu.Lock()
	defer q.index.mu.Unlock()
	return maps.Clone(q.index.depth)
}

// count adds a job, or with -1 takes it away.
func (d Depth) count(r job.Record, by int) {
	if !r.State.Final() {
		d[Standing{r.State, priorityOf(r)}] += by
	}
}

// of counts the jobs in one state.
func (d Depth) of(s job.State) (sum int) {
	for at, n := range d {
		if at.State == s {
			sum += n
		}
	}
	return sum
}
