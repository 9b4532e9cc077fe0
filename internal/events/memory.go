package events

import (
	"context"
	"sync"
	"time"

	"waggle/internal/job"
)

const (
	// previewsKept is how many previews a running job keeps, so that readers a
	// few steps behind still find the picture of their step. It spans more
	// steps than lie between two preview events.
	previewsKept = 8
	// settle is how long an ended job keeps more than its newest preview.
	settle = 30 * time.Second
	// abandoned is how many times longer than a job its events are kept where
	// nobody forgets them: it may be waiting long, or a clock may have been set.
	abandoned = 7
)

// Memory is a Log in this process's memory, gone with it. The service does not
// use it: it is for tests that run in fake time, where no server can.
type Memory struct {
	expiry time.Duration
	stop   chan struct{} // closed by Close
	swept  chan struct{} // closed when the sweeper has ended

	mu   sync.Mutex
	jobs map[job.ID]*stream
}

// stream is what one job has reported.
type stream struct {
	events   []job.Event // event number n at n-1
	standing standing
	previews []job.Preview
	changed  chan struct{} // closed and replaced at every change
	touched  time.Time
}

var _ Log = (*Memory)(nil)

// NewMemory returns an empty log that drops streams which nobody forgets, long
// after expiry (0: 24 h). Close it.
func NewMemory(expiry time.Duration) *Memory {
	if expiry == 0 {
		expiry = 24 * time.Hour
	}
	l := &Memory{expiry: expiry, stop: make(chan struct{}), swept: make(chan struct{}), jobs: map[job.ID]*stream{}}
	go l.sweep()
	return l
}

// Close implements Log.
func (l *Memory) Close() error {
	l.mu.Lock()
	if !l.closed() {
		close(l.stop)
	}
	l.mu.Unlock()
	<-l.swept
	return nil
}

func (l *Memory) closed() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

// stream returns the stream of a job, made when first asked for.
func (l *Memory) stream(id job.ID) *stream {
	s, ok := l.jobs[id]
	if !ok {
		s = &stream{changed: make(chan struct{}), touched: time.Now()}
		l.jobs[id] = s
	}
	return s
}

func (s *stream) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
	s.touched = time.Now()
}

// Publish implements Log.
func (l *Memory) Publish(_ context.Context, id job.ID, e job.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed() {
		return ErrClosed
	}
	s := l.stream(id)
	next, news := s.standing.after(e)
	if !news {
		return nil
	}
	s.standing = next
	e.Number = uint64(len(s.events)) + 1
	s.events = append(s.events, e)
	s.wake()
	return nil
}

func (s *stream) ended() bool { return s.standing.ended }

// Reached implements Log.
func (l *Memory) Reached(_ context.Context, id job.ID) (step, total int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s, ok := l.jobs[id]; ok {
		step, total = s.standing.Step, s.standing.Total
	}
	return step, total, nil
}

// ShowPreview implements Log.
func (l *Memory) ShowPreview(_ context.Context, id job.ID, p job.Preview) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed() {
		return ErrClosed
	}
	s := l.stream(id)
	if n := len(s.previews); n > 0 && s.previews[n-1].Step >= p.Step {
		return nil
	}
	s.previews = append(s.previews, p)
	s.trim(previewsKept)
	s.wake()
	return nil
}

// trim keeps the newest n previews and lets go of the memory of the others.
func (s *stream) trim(n int) {
	if drop := len(s.previews) - n; drop > 0 {
		s.previews = append([]job.Preview(nil), s.previews[drop:]...)
	}
}

// Preview implements Log.
func (l *Memory) Preview(_ context.Context, id job.ID, step int) (job.Preview, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s, ok := l.jobs[id]; ok {
		for _, p := range s.previews {
			if p.Step == step {
				return p, true
			}
		}
	}
	return job.Preview{}, false
}

// Forget implements Log.
func (l *Memory) Forget(_ context.Context, id job.ID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.jobs, id)
	return nil
}

// sweep drops what is old, until Close.
func (l *Memory) sweep() {
	defer close(l.swept)
	tick := time.NewTicker(min(max(l.expiry/10, time.Second), settle))
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case now := <-tick.C:
			l.expire(now)
		}
	}
}

func (l *Memory) expire(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, s := range l.jobs {
		idle := now.Sub(s.touched)
		if s.ended() && idle >= settle {
			s.trim(1)
		}
		if idle > abandoned*l.expiry {
			delete(l.jobs, id)
		}
	}
}
