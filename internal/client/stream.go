package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"waggle/internal/job"
	"waggle/internal/sse"
)

const (
	// eventLimit bounds one event: a batch of large pictures in base64.
	eventLimit = 512 << 20
	// tries is how often a broken stream is opened again without an event in between.
	tries     = 6
	firstWait = 200 * time.Millisecond
)

var (
	// errBroken: a stream ended before the job's last event.
	errBroken = errors.New("the event stream broke off")
	// errNoEvent: what came is none, and would be none another time.
	errNoEvent = errors.New("no event of a job")
)

// Narration is what a queen says of a job between its events.
type Narration struct {
	Type   string `json:"type"` // narration; data for programs; text if it was no more
	Actor  string `json:"actor,omitempty"`
	Action string `json:"action,omitempty"`
	Human  string `json:"human,omitempty"` // in words; not fit for a terminal before it was cleaned
	// Payload is what data is about.
	Payload json.RawMessage `json:"payload,omitempty"`
}

// Events follows a job from the event behind number after (0: from the first)
// to its last one, a CompleteEvent or an ErrorEvent. A stream that breaks is
// opened again where it broke. The sequence ends after the last event, or with
// an error; without either if the server says no more than that all is said,
// as queens do of operations that make no picture.
func (c *Client) Events(ctx context.Context, id job.ID, after uint64) iter.Seq2[job.Event, error] {
	return c.Follow(ctx, id, after, func(Narration) {})
}

// Follow is Events, with what is narrated in between.
func (c *Client) Follow(ctx context.Context, id job.ID, after uint64, said func(Narration)) iter.Seq2[job.Event, error] {
	return func(yield func(job.Event, error) bool) {
		f := follower{client: c, id: id, said: said, hand: func(e job.Event) bool { return yield(e, nil) }}
		if after > 0 {
			f.last = strconv.FormatUint(after, 10)
		}
		if err := f.follow(ctx); err != nil {
			yield(job.Event{}, err)
		}
	}
}

// Start has a queen begin with a job, as she does when its stream is opened for
// the first time. Servers that have begun already do not mind.
func (c *Client) Start(ctx context.Context, id job.ID) error {
	response, err := c.openStream(ctx, id, "")
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// openStream asks for a job's events behind one; from the first if after is empty.
func (c *Client) openStream(ctx context.Context, id job.ID, after string) (*http.Response, error) {
	header := http.Header{"Accept": {"text/event-stream"}}
	if after != "" {
		header.Set("Last-Event-ID", after)
	}
	return c.do(ctx, http.MethodGet, jobPath(id)+"/stream", nil, header)
}

// follower reads the stream of one job, opened anew as often as it breaks.
type follower struct {
	client *Client
	id     job.ID
	said   func(Narration)
	hand   func(job.Event) bool // false: the caller wants no more

	last    string    // id of the last event with one
	unnamed int       // messages without a name or id since: they come again in a new stream
	failure job.Event // what the narrations say of the job's end, if anything
}

// follow returns nil after the last event, or when no more is wanted.
func (f *follower) follow(ctx context.Context) error {
	for try, wait := 1, firstWait; ; try, wait = try+1, 2*wait {
		last, unnamed := f.last, f.unnamed
		done, err := f.read(ctx)
		if done {
			return nil
		}
		if f.last != last || f.unnamed > unnamed {
			try, wait = 1, firstWait
		}
		if !worthAnother(ctx, err, try) {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// worthAnother reports whether opening the stream again may help: not if the
// server refuses, or sends what cannot be read.
func worthAnother(ctx context.Context, err error, try int) bool {
	var refused *Error
	var tooLarge *sse.TooLargeError
	return ctx.Err() == nil && try < tries && !errors.As(err, &refused) && !errors.As(err, &tooLarge) && !errors.Is(err, errNoEvent)
}

// read reads one stream; done when nothing is to come that the caller wants.
func (f *follower) read(ctx context.Context) (done bool, err error) {
	response, err := f.client.openStream(ctx, f.id, f.last)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	messages := sse.NewReader(response.Body, eventLimit)
	for known := f.unnamed; ; {
		m, err := messages.Next()
		switch {
		case err != nil:
			return false, broken(ctx, err)
		case m.Name == "" && m.ID == "" && known > 0 && !marker(m.Data):
			known-- // heard before
		default:
			known = 0
			if done, err := f.take(m); done || err != nil {
				return done, err
			}
		}
	}
}

func broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, io.EOF) {
		return errBroken
	}
	return fmt.Errorf("%w: %w", errBroken, err)
}

// take hands out one message; done if it is the last.
func (f *follower) take(m sse.Event) (done bool, err error) {
	var e job.Event
	switch {
	case m.Name != "":
		e, err = eventOf(m)
	case marker(m.Data):
		if e = f.end(string(m.Data)); e.Type == "" {
			return true, nil
		}
	default:
		f.narrated(m.Data)
	}
	if err != nil {
		return false, err
	}
	if m.ID != "" {
		f.last, f.unnamed = m.ID, 0
	} else {
		f.unnamed++
	}
	return e.Type != "" && (!f.hand(e) || e.Final()), nil
}

// eventOf reads a named message: zero if nobody here knows the name. Its number
// is 0 if its id is no number.
func eventOf(m sse.Event) (e job.Event, err error) {
	switch kind := job.EventType(m.Name); kind {
	case job.ProgressEvent, job.PreviewEvent, job.ChangeEvent, job.CompleteEvent, job.ErrorEvent:
		err = json.Unmarshal(m.Data, &e)
		e.Type = kind
	}
	if err != nil {
		return job.Event{}, fmt.Errorf("%w: %s: %w", errNoEvent, m.Name, err)
	}
	e.Number, _ = strconv.ParseUint(m.ID, 10, 64)
	return e, nil
}

func marker(data []byte) bool {
	text := string(data[:min(len(data), 20)])
	return text == job.MarkDone || text == job.MarkCancelled || strings.HasPrefix(text, job.MarkError)
}

// end is the last event that a marker stands for where none came before it;
// zero if there is nothing to say.
func (f *follower) end(marker string) job.Event {
	reason, failed := strings.CutPrefix(marker, job.MarkError)
	switch {
	case marker == job.MarkCancelled:
		return job.Event{Type: job.ErrorEvent, Kind: job.CancelledByUser, Message: job.CancelMessage}
	case failed:
		return job.Event{Type: job.ErrorEvent, Message: strings.TrimSpace(reason)}
	}
	return f.failure
}

// narrated reads a message without a name. Queens other than ours end a job
// that failed with [DONE], after a narration that says so.
func (f *follower) narrated(data []byte) {
	var n Narration
	if json.Unmarshal(data, &n) != nil || n.Type == "" {
		n = Narration{Type: "text", Human: string(data)}
	}
	switch n.Action {
	case "failed":
		reason := n.Human
		if _, after, ok := strings.Cut(reason, "failed: "); ok { // Job ID failed: why
			reason = after
		}
		f.failure = job.Event{Type: job.ErrorEvent, Message: strings.TrimSpace(reason)}
	case "cancelled":
		f.failure = job.Event{Type: job.ErrorEvent, Kind: job.CancelledByUser, Message: job.CancelMessage}
	}
	f.said(n)
}
