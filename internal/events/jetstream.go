package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"waggle/internal/bus"
	"waggle/internal/job"
)

const (
	streamName      = "waggle-events"
	eventSubjects   = "waggle.events."
	previewSubjects = "waggle.previews."

	// recentKept is how many of a job's newest events are kept in memory for
	// readers that follow it; others are read from the stream.
	recentKept = 16
	// previewFor is how long the last preview of an ended job is kept.
	previewFor = 10 * time.Minute
	// conflictsLimit bounds how often an event is numbered anew because
	// another process wrote one of the same job.
	conflictsLimit = 8
	conflictPause  = 2 * time.Millisecond // the first; it doubles, as a leader that was just replaced may answer
)

// publishPatience is how long an event is tried to be written while the
// servers do not answer, readPatience how long one is tried to be read.
var (
	publishPatience = bus.Patience{Each: 5 * time.Second, All: 10 * time.Minute}
	readPatience    = bus.Patience{Each: 5 * time.Second}
)

// Options bound what a JetStream keeps. Zero values mean the defaults.
type Options struct {
	Expiry   time.Duration // how long an ended job is kept; its events are forgotten with it; default 24 h
	Replicas int           // on how many servers of a cluster; default 1
	// Alone says that no other process is connected, as to a server inside
	// this one: previews need not be told.
	Alone bool
	Log   *slog.Logger // default: none

	compare time.Duration // how often what was heard is compared with what is kept; default 10 s
}

// JetStream is a Log on NATS JetStream: one stream with a subject for each
// job. An event carries its number; it is written only if the event before it
// is still the job's last, so that numbers have no gaps and nothing is said
// twice, whoever writes. Previews are messages that nobody keeps but the
// memory of those who listen.
//
// Readers of a live job are served from memory, which one consumer a process
// fills; what lies further back is read from the stream, message by message.
type JetStream struct {
	options Options
	js      jetstream.JetStream
	stream  jetstream.Stream
	tail    jetstream.ConsumeContext // belongs to listen, watchOver and the end of Close
	shown   *nats.Subscription

	stop chan struct{} // closed by Close
	once sync.Once
	work sync.WaitGroup

	mu    sync.Mutex
	jobs  map[job.ID]*tailOf
	heard uint64            // place of the event that the consumer delivered last
	gone  map[job.ID]uint64 // forgotten jobs, up to which place, while events of theirs may still be delivered
}

// tailOf is the newest part of one job's stream.
type tailOf struct {
	loaded   bool // last is known, even if there is none
	last     placed
	recent   []placed // the newest events, ending with last
	previews []job.Preview
	newest   uint64        // number of the newest preview event in recent
	changed  chan struct{} // closed and replaced at every change
	touched  time.Time
}

// placed is an event with its place in the stream of all jobs, and how far its
// own stream has come with it.
type placed struct {
	job.Event
	sequence uint64
	standing standing
}

// stored is an event's form in the stream; on the wire its number is elsewhere.
type stored struct {
	Number   uint64   `json:"number"`
	Standing standing `json:"standing,omitzero"`
	job.Event
}

var _ Log = (*JetStream)(nil)

// Open makes the stream if it is not there and begins to listen. Close the log
// before the connection.
func Open(ctx context.Context, js jetstream.JetStream, o Options) (*JetStream, error) {
	if o.Expiry == 0 {
		o.Expiry = 24 * time.Hour
	}
	if o.compare == 0 {
		o.compare = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &JetStream{options: o, js: js, stop: make(chan struct{}), jobs: map[job.ID]*tailOf{}, gone: map[job.ID]uint64{}}
	if err := l.open(ctx); err != nil {
		l.Close()
		return nil, fmt.Errorf("open event log: %w", err)
	}
	l.work.Go(l.sweep)
	return l, nil
}

func (l *JetStream) open(ctx context.Context) (err error) {
	replicas := max(l.options.Replicas, 1)
	l.stream, err = l.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: streamName, Subjects: []string{eventSubjects + "*"}, MaxAge: abandoned * l.options.Expiry, Replicas: replicas,
		AllowDirect: replicas == 1, // a copy may be behind: events would seem to be gone
	})
	if err != nil {
		return err
	}
	if err := l.listen(ctx); err != nil {
		return err
	}
	l.work.Go(l.watchOver)
	if l.options.Alone {
		return nil
	}
	l.shown, err = l.js.Conn().Subscribe(previewSubjects+"*", l.see)
	return err
}

// Close implements Log.
func (l *JetStream) Close() error {
	l.once.Do(func() {
		l.mu.Lock()
		close(l.stop)
		l.mu.Unlock()
		if l.shown != nil {
			_ = l.shown.Unsubscribe() // the connection may be closed already
		}
	})
	l.work.Wait()
	l.unlisten()
	return nil
}

func (l *JetStream) closed() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

func subject(id job.ID) string { return eventSubjects + string(id) }

// tailOf returns what is known of a job, made when first asked for. The caller holds mu.
func (l *JetStream) tailOf(id job.ID) *tailOf {
	t, ok := l.jobs[id]
	if !ok {
		t = &tailOf{changed: make(chan struct{}), touched: time.Now()}
		l.jobs[id] = t
	}
	return t
}

func (t *tailOf) wake() {
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *tailOf) ended() bool { return t.last.standing.ended }

// take adds an event that follows the last, or one that is newer with what
// lies between left to the stream. The caller holds mu.
func (t *tailOf) take(p placed, at time.Time) {
	if t.loaded && p.Number <= t.last.Number {
		return
	}
	if p.Number != t.last.Number+1 {
		t.recent = nil
	}
	t.recent = append(t.recent, p)
	if drop := len(t.recent) - recentKept; drop > 0 {
		t.recent = append([]placed(nil), t.recent[drop:]...)
	}
	t.last, t.loaded, t.touched = p, true, at
	if p.Type == job.PreviewEvent {
		t.newest = p.Number
	}
	t.wake()
}

// hear takes in an event as the stream delivers it.
func (l *JetStream) hear(m jetstream.Msg) {
	about, err := m.Metadata()
	if err != nil {
		return
	}
	id := job.ID(strings.TrimPrefix(m.Subject(), eventSubjects))
	p, err := decode(id, m.Data(), about.Sequence.Stream)
	if err != nil {
		l.options.Log.Warn("an event is left out", "error", err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.isGone(id, p.sequence) {
		l.tailOf(id).take(p, about.Timestamp)
	}
	l.heard = p.sequence
	maps.DeleteFunc(l.gone, func(_ job.ID, until uint64) bool { return until <= l.heard })
}

// isGone reports whether the event at a place was forgotten with its job. The caller holds mu.
func (l *JetStream) isGone(id job.ID, sequence uint64) bool {
	until, ok := l.gone[id]
	return ok && sequence <= until
}

func decode(id job.ID, data []byte, sequence uint64) (placed, error) {
	var s stored
	if err := json.Unmarshal(data, &s); err != nil {
		return placed{}, fmt.Errorf("read event of %s: %w", id, err)
	}
	s.Event.Number = s.Number
	at, _ := s.Standing.after(s.Event) // adds nothing but the end, and the step where an older version wrote the event
	return placed{s.Event, sequence, at}, nil
}

// last returns a job's newest event, from the stream if it is not known. Its
// number is 0 if there is none.
func (l *JetStream) last(ctx context.Context, id job.ID) (placed, error) {
	l.mu.Lock()
	t := l.tailOf(id)
	p, loaded := t.last, t.loaded
	l.mu.Unlock()
	if loaded {
		return p, nil
	}
	return l.reload(ctx, id)
}

// reload reads a job's newest event from the stream.
func (l *JetStream) reload(ctx context.Context, id job.ID) (placed, error) {
	var m *jetstream.RawStreamMsg
	err := bus.Patiently(ctx, l.stop, readPatience, func(ctx context.Context) (err error) {
		m, err = l.stream.GetLastMsgForSubject(ctx, subject(id))
		return err
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.tailOf(id)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		t.loaded = true
		return t.last, nil
	}
	if err != nil {
		return placed{}, l.failure("read the last event of", id, err)
	}
	p, err := decode(id, m.Data, m.Sequence)
	if err != nil {
		return placed{}, err
	}
	if l.isGone(id, p.sequence) {
		t.loaded = true
		return t.last, nil
	}
	t.take(p, m.Time)
	return t.last, nil
}

// failure explains an error; after Close it is ErrClosed.
func (l *JetStream) failure(what string, id job.ID, err error) error {
	if l.closed() {
		return ErrClosed
	}
	return fmt.Errorf("%s %s: %w", what, id, err)
}

// Publish implements Log. It waits a while for servers that do not answer.
func (l *JetStream) Publish(ctx context.Context, id job.ID, e job.Event) error {
	return bus.Patiently(ctx, l.stop, publishPatience, func(ctx context.Context) error { return l.publish(ctx, id, e) })
}

func (l *JetStream) publish(ctx context.Context, id job.ID, e job.Event) error {
	if l.closed() {
		return ErrClosed
	}
	last, err := l.last(ctx, id)
	for pause := conflictPause; pause < conflictPause<<conflictsLimit; pause *= 2 {
		if err != nil {
			return err
		}
		next, news := last.standing.after(e)
		if !news {
			return nil
		}
		e.Number = last.Number + 1
		var conflict bool
		if conflict, err = l.append(ctx, id, placed{e, last.sequence, next}); !conflict {
			return err
		}
		if err := wait(ctx, l, time.After(pause)); err != nil {
			return err
		}
		last, err = l.reload(ctx, id)
	}
	return fmt.Errorf("publish an event of %s: others write all the time", id)
}

// append writes an event behind the one whose place it carries; conflict if
// that is not the job's last.
func (l *JetStream) append(ctx context.Context, id job.ID, p placed) (conflict bool, err error) {
	data, err := json.Marshal(stored{p.Number, p.standing, p.Event})
	if err != nil {
		return false, err
	}
	ack, err := l.js.Publish(ctx, subject(id), data, jetstream.WithExpectLastSequencePerSubject(p.sequence))
	if wrongLast(err) {
		return true, nil
	}
	if err != nil {
		return false, l.failure("publish an event of", id, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p.sequence = ack.Sequence
	l.tailOf(id).take(p, time.Now())
	return false, nil
}

func wrongLast(err error) bool {
	var refused *jetstream.APIError
	return errors.As(err, &refused) &&
		(refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// Forget implements Log.
func (l *JetStream) Forget(ctx context.Context, id job.ID) error {
	last, err := l.last(ctx, id)
	if err != nil {
		return err
	}
	if err := l.stream.Purge(ctx, jetstream.WithPurgeSubject(subject(id))); err != nil {
		return l.failure("forget the events of", id, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if last.sequence > l.heard {
		l.gone[id] = last.sequence
	}
	l.discard(id)
	return nil
}

// discard drops what is known of a job; who waits for it looks again. The
// caller holds mu.
func (l *JetStream) discard(id job.ID) {
	if t, ok := l.jobs[id]; ok {
		delete(l.jobs, id)
		close(t.changed)
	}
}

// sweep drops what is old, until Close.
func (l *JetStream) sweep() {
	tick := time.NewTicker(min(max(l.options.Expiry/10, time.Second), settle))
	defer tick.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	l.work.Go(func() {
		<-l.stop
		cancel()
	})
	for {
		select {
		case <-l.stop:
			return
		case now := <-tick.C:
			l.expire(ctx, now)
		}
	}
}

func (l *JetStream) expire(ctx context.Context, now time.Time) {
	for _, id := range l.old(now) {
		if err := l.Forget(ctx, id); err != nil && ctx.Err() == nil {
			l.options.Log.Warn("drop old events", "job", id, "error", err)
			return
		}
	}
}

// old trims previews and returns the jobs whose events may go.
func (l *JetStream) old(now time.Time) (list []job.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, t := range l.jobs {
		idle := now.Sub(t.touched)
		switch {
		case idle > abandoned*l.options.Expiry:
			list = append(list, id)
		case t.ended() && idle >= previewFor:
			t.previews, t.recent = nil, nil
		case t.ended() && idle >= settle:
			t.previews = newest(t.previews, 1)
		}
	}
	return list
}
