package queen

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"waggle/internal/job"
	"waggle/internal/queue"
)

// Job is what the queen tells of one operation.
type Job struct {
	ID        job.ID    `json:"id"`                   // its name
	Operation string    `json:"operation,omitempty"`  // known once its stream was opened
	Model     string    `json:"model,omitempty"`      // that it asks for
	State     job.State `json:"state"`                // where it stands
	Worker    string    `json:"node,omitempty"`       // to whom it was given
	WorkerURL string    `json:"worker_url,omitempty"` // where that is
	Step      int       `json:"step,omitempty"`       // the last that the worker told of
	Total     int       `json:"total,omitempty"`      // steps of all its pictures
	Message   string    `json:"message,omitempty"`    // why it failed
	Shared    bool      `json:"-"`                    // it is the cluster's, not the queen's
	Created   time.Time `json:"created"`              // when it was submitted
	Started   time.Time `json:"started,omitzero"`     // when its stream was opened
	Finished  time.Time `json:"finished,omitzero"`    // when it ended
}

// task is a job with its body and all that was said of it. The shelf's lock
// guards everything but the id.
type task struct {
	Job
	submission // its body is nil once it has ended
	log        []entry
	fat        int           // bytes of previews with pictures in log
	marker     string        // the end marker; empty while there is more to come
	more       chan struct{} // closed and replaced when log or marker change

	begun  bool
	passed bool                    // the job is in the queue of the cluster, and no longer ours
	cancel context.CancelCauseFunc // of the run
	size   int64                   // what it counts for in the shelf
}

// shelf keeps jobs, bounded in number, bytes and age.
type shelf struct {
	limits limits
	timing timing
	ended  func(Job)

	mu    sync.Mutex
	tasks map[job.ID]*task
	order []*task // by age, the oldest first
	size  int64
}

var (
	errFull      = errors.New("the queen keeps as many jobs as she can")
	errCancelled = errors.New("cancelled by its client")
)

func newShelf(l limits, t timing) *shelf {
	return &shelf{limits: l, timing: t, ended: func(Job) {}, tasks: map[job.ID]*task{}}
}

// again returns the job that a submission names by its id, empty if there is
// none; queue.ErrConflict if its content is another.
func (s *shelf) again(of submission) (job.ID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.same(of)
}

func (s *shelf) same(of submission) (job.ID, error) {
	t := s.tasks[of.id]
	switch {
	case t == nil:
		return "", nil
	case t.digest != of.digest:
		return "", queue.ErrConflict
	}
	return t.ID, nil
}

// add keeps a submission, or returns the job that it is. Ended jobs make room
// for it, the oldest first.
func (s *shelf) add(new submission) (job.ID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id, err := s.same(new); id != "" || err != nil {
		return id, err
	}
	size := int64(len(new.body))
	s.drop(func(t *task) bool {
		return t.marker != "" && (len(s.tasks) >= s.limits.jobs || s.size+size > s.limits.keptBytes)
	})
	if len(s.tasks) >= s.limits.jobs || s.size+size > s.limits.keptBytes {
		return "", errFull
	}
	if new.id == "" {
		new.id = job.NewID()
	}
	t := &task{Job: Job{ID: new.id, State: job.Queued, Created: time.Now()}, submission: new, more: make(chan struct{})}
	s.tasks[t.ID], s.order = t, append(s.order, t)
	s.grow(t, size)
	return t.ID, nil
}

// drop forgets the jobs for which gone holds, asked from the oldest on.
func (s *shelf) drop(gone func(*task) bool) {
	s.order = slices.DeleteFunc(s.order, func(t *task) bool {
		if !gone(t) {
			return false
		}
		delete(s.tasks, t.ID)
		s.size -= t.size
		return true
	})
}

// sweep forgets what has expired: ended jobs, and those nobody came for.
func (s *shelf) sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(func(t *task) bool {
		if t.marker != "" {
			return now.Sub(t.Finished) > s.limits.expiry
		}
		return !t.begun && now.Sub(t.Created) > s.timing.unopened
	})
}

func (s *shelf) grow(t *task, by int64) {
	t.size += by
	s.size += by
}

// find returns a job, nil if there is none.
func (s *shelf) find(id job.ID) *task {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tasks[id]
}

// begin reports whether the caller is the first and shall run the job.
func (s *shelf) begin(t *task, cancel context.CancelCauseFunc) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.begun || t.marker != "" {
		return false
	}
	t.begun, t.cancel, t.State, t.Started = true, cancel, job.Running, time.Now()
	return true
}

// bodyOf returns a job's operation as it came; nil if it has ended.
func (s *shelf) bodyOf(t *task) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.body
}

// change lets a run note what it knows of its job.
func (s *shelf) change(t *task, f func(*Job)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.marker == "" {
		f(&t.Job)
	}
}

// say adds to what is known of a job, until it has ended. The error says why
// there is no room for more.
func (s *shelf) say(t *task, e entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.marker == "" {
		s.append(t, e)
		s.wake(t)
		s.dropEnded(nil)
	}
	switch {
	case t.size > s.limits.jobBytes:
		return fmt.Errorf("the job's events have more than %d bytes", s.limits.jobBytes)
	case s.size > s.limits.keptBytes:
		return errFull
	}
	return nil
}

// dropEnded forgets ended jobs but one until what is left has room.
func (s *shelf) dropEnded(but *task) {
	if s.size > s.limits.keptBytes {
		s.drop(func(t *task) bool { return t != but && t.marker != "" && s.size > s.limits.keptBytes })
	}
}

// append adds an entry. Older previews lose their pictures where they are too
// much, and all of them but the newest where the shelf is half full.
func (s *shelf) append(t *task, e entry) {
	t.log = append(t.log, e)
	s.grow(t, e.size())
	if !e.preview() {
		return
	}
	t.fat += len(e.data)
	most := s.limits.previews
	if s.size > s.limits.keptBytes/2 {
		most = 0
	}
	for i := 0; i < len(t.log)-1 && t.fat > most; i++ {
		if old := t.log[i]; old.preview() {
			t.log[i] = old.slim()
			t.fat -= len(old.data)
			s.grow(t, t.log[i].size()-old.size())
		}
	}
}

func (s *shelf) wake(t *task) {
	close(t.more)
	t.more = make(chan struct{})
}

// end closes a job with its last words and marker. The first end counts.
func (s *shelf) end(t *task, state job.State, failure string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.close(t, state, failure)
}

func (s *shelf) close(t *task, state job.State, failure string) bool {
	if t.marker != "" {
		return false
	}
	switch id := string(t.ID); state {
	case job.Failed:
		s.append(t, narrate(id, actorJobs, "failed", "Job "+id+" failed: "+failure))
	case job.Cancelled:
		s.append(t, narrate(id, actorJobs, "cancelled", "Job "+id+" was cancelled"))
	}
	t.State, t.Message, t.Finished = state, failure, time.Now()
	t.marker = markerOf(state, failure)
	s.grow(t, -int64(len(t.body)))
	t.body = nil
	s.wake(t)
	s.ended(t.Job)
	s.dropEnded(t)
	return true
}

func markerOf(state job.State, failure string) string {
	switch state {
	case job.Complete:
		return job.EndMarker(job.Event{Type: job.CompleteEvent})
	case job.Cancelled:
		return job.EndMarker(job.Event{Type: job.ErrorEvent, Kind: job.CancelledByUser})
	}
	return job.EndMarker(job.Event{Type: job.ErrorEvent, Message: failure})
}

// pass lets go of a job that is in the queue of the cluster from now on. It
// reports false, and does nothing, if the job has ended.
func (s *shelf) pass(t *task) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.marker != "" {
		return false
	}
	t.passed = true
	s.drop(func(other *task) bool { return other == t })
	s.wake(t)
	return true
}

// abandon ends a job at its client's wish and stops its run; false if there is
// none, or if it has ended.
func (s *shelf) abandon(id job.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tasks[id]
	if t == nil || !s.close(t, job.Cancelled, "") {
		return false
	}
	if t.cancel != nil {
		t.cancel(errCancelled)
	}
	return true
}

// said is a part of what was said of a job.
type said struct {
	entries []entry
	marker  string          // the end marker, if all is said
	passed  bool            // what follows is said of the job in the queue of the cluster
	more    <-chan struct{} // closed when there is more
}

// read returns what was said after the first n entries.
func (s *shelf) read(t *task, n int) said {
	s.mu.Lock()
	defer s.mu.Unlock()
	return said{slices.Clone(t.log[min(n, len(t.log)):]), t.marker, t.passed, t.more}
}

// list returns all jobs, the newest first.
func (s *shelf) list() []Job {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Job, 0, len(s.order))
	for _, t := range slices.Backward(s.order) {
		list = append(list, t.Job)
	}
	return list
}

// get returns one job.
func (s *shelf) get(id job.ID) (Job, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tasks[id]; t != nil {
		return t.Job, true
	}
	return Job{}, false
}
