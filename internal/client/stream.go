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

// errBroken: a stream ended before the job's last event.
var errBroken = errors.New("the event stream broke off")

// Events follows a job from the event behind number after (0: from the first)
// to its last one, a CompleteEvent or an ErrorEvent. A stream that breaks is
// opened again where it broke. The sequence ends after the last event, or with
// an error.
func (c *Client) Events(ctx context.Context, id job.ID, after uint64) iter.Seq2[job.Event, error] {
	return func(yield func(job.Event, error) bool) {
		for try, wait := 1, firstWait; ; try, wait = try+1, 2*wait {
			before := after
			done, err := c.follow(ctx, id, &after, func(e job.Event) bool { return yield(e, nil) })
			if done {
				return
			}
			if after != before {
				try, wait = 1, firstWait
			}
			if !worthAnother(ctx, err, try) {
				yield(job.Event{}, err)
				return
			}
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
		}
	}
}

// worthAnother reports whether opening the stream again may help: not if the
// server refuses.
func worthAnother(ctx context.Context, err error, try int) bool {
	var refused *Error
	return ctx.Err() == nil && try < tries && !errors.As(err, &refused)
}

// follow reads one stream; done when the last event was handed out or the
// caller wants no more. after follows the events handed out.
func (c *Client) follow(ctx context.Context, id job.ID, after *uint64, hand func(job.Event) bool) (done bool, err error) {
	header := http.Header{"Accept": {"text/event-stream"}}
	if *after > 0 {
		header.Set("Last-Event-ID", strconv.FormatUint(*after, 10))
	}
	response, err := c.do(ctx, http.MethodGet, jobPath(id)+"/stream", nil, header)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	messages := sse.NewReader(response.Body, eventLimit)
	for {
		m, err := messages.Next()
		if err != nil {
			return false, broken(ctx, err)
		}
		if m.Name == "" { // an end marker, with nothing before it that was new
			return true, nil
		}
		e, err := eventOf(m)
		if err != nil {
			return false, err
		}
		*after = e.Number
		if !hand(e) || e.Final() {
			return true, nil
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

// eventOf reads a named message; its number is 0 if its id is no number.
func eventOf(m sse.Event) (job.Event, error) {
	var e job.Event
	if err := json.Unmarshal(m.Data, &e); err != nil {
		return e, fmt.Errorf("decode event %s: %w", m.Name, err)
	}
	e.Number, _ = strconv.ParseUint(m.ID, 10, 64)
	return e, nil
}
