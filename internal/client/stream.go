package client

import (
	"bufio"
	"bytes"
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
	lines := bufio.NewReaderSize(response.Body, 64<<10)
	for {
		m, err := readMessage(lines)
		if err != nil {
			return false, broken(ctx, err)
		}
		if m.name == "" { // an end marker, with nothing before it that was new
			return true, nil
		}
		e, err := m.event()
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

// message is one server-sent event.
type message struct {
	name string
	id   uint64
	data []byte
}

func (m message) event() (job.Event, error) {
	var e job.Event
	if err := json.Unmarshal(m.data, &e); err != nil {
		return e, fmt.Errorf("decode event %d: %w", m.id, err)
	}
	e.Number = m.id
	return e, nil
}

// readMessage reads up to the blank line after an event that has data: comments
// are skipped, several data lines are joined, a space after the colon is not
// part of the value.
func readMessage(r *bufio.Reader) (message, error) {
	var m message
	hasData := false
	for size := 0; ; {
		line, err := readLine(r, eventLimit-size)
		if err != nil {
			return m, err
		}
		size += len(line)
		if len(line) == 0 {
			if hasData {
				return m, nil
			}
			m = message{}
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			m.name = string(value)
		case "id":
			m.id, _ = strconv.ParseUint(string(value), 10, 64) // others' ids are not numbers
		case "data":
			if hasData {
				m.data = append(m.data, '\n')
			}
			m.data = append(m.data, value...)
			hasData = true
		}
	}
}

// readLine returns a line without its end, at most limit bytes.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > limit {
			return nil, fmt.Errorf("an event has more than %d bytes", eventLimit)
		}
		if err == nil {
			return bytes.TrimRight(line, "\r\n"), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
	}
}
