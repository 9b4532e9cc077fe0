package events

import (
	"context"

	"waggle/internal/job"
)

// reader is a place in a job's stream; it holds no events of its own.
type reader struct {
	log    *Memory
	stream *stream
	next   int // index of the event to deliver next
	newest int // index of the newest preview event when the reader was opened
}

// Read implements Log.
func (l *Memory) Read(_ context.Context, id job.ID, after uint64) (Reader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed() {
		return nil, ErrClosed
	}
	s := l.stream(id)
	r := &reader{log: l, stream: s, next: int(min(after, 1<<31-1))}
	for i, e := range s.events {
		if e.Type == job.PreviewEvent {
			r.newest = i
		}
	}
	return r, nil
}

// Next implements Reader.
func (r *reader) Next(ctx context.Context) (job.Event, error) {
	for {
		e, changed, err := r.take()
		if changed == nil {
			return e, err
		}
		if err := r.log.wait(ctx, changed); err != nil {
			return job.Event{}, err
		}
	}
}

// take returns the next event, or ErrEnd, or what to wait for.
func (r *reader) take() (job.Event, <-chan struct{}, error) {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	if r.next >= len(r.stream.events) {
		if r.stream.ended() {
			return job.Event{}, nil, ErrEnd
		}
		return job.Event{}, r.stream.changed, nil
	}
	e := r.stream.events[r.next]
	if e.Type == job.PreviewEvent && r.next < r.newest {
		e.Type = job.ProgressEvent
	}
	r.next++
	return e, nil, nil
}

// Close implements Reader.
func (r *reader) Close() {}

// previewReader remembers the step it delivered last.
type previewReader struct {
	log    *Memory
	stream *stream
	step   int
}

// Previews implements Log.
func (l *Memory) Previews(_ context.Context, id job.ID) (PreviewReader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed() {
		return nil, ErrClosed
	}
	return &previewReader{log: l, stream: l.stream(id)}, nil
}

// Next implements PreviewReader.
func (r *previewReader) Next(ctx context.Context) (job.Preview, error) {
	for {
		p, changed, err := r.take()
		if changed == nil {
			return p, err
		}
		if err := r.log.wait(ctx, changed); err != nil {
			return job.Preview{}, err
		}
	}
}

func (r *previewReader) take() (job.Preview, <-chan struct{}, error) {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	if n := len(r.stream.previews); n > 0 && r.stream.previews[n-1].Step > r.step {
		p := r.stream.previews[n-1]
		r.step = p.Step
		return p, nil, nil
	}
	if r.stream.ended() {
		return job.Preview{}, nil, ErrEnd
	}
	return job.Preview{}, r.stream.changed, nil
}

// Close implements PreviewReader.
func (r *previewReader) Close() {}

// wait returns when changed is closed, or with the error of ctx or of the log.
func (l *Memory) wait(ctx context.Context, changed <-chan struct{}) error {
	select {
	case <-changed:
		return nil
	case <-l.stop:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}
