// Package sse reads and writes server-sent events, as the HTML standard has
// them (§9.2, "Server-sent events").
package sse

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Event is one message of a stream.
type Event struct {
	Name string // empty for one without a name
	ID   string // what a reader asks to go on behind; empty if the event has none
	Data []byte // its lines, joined by '\n'
}

// Reader cuts a stream into events. It takes what strangers send: lines that
// end in CRLF, data over several lines, fields without the space behind their
// colon, fields it does not know. Comments are read over.
type Reader struct {
	lines *bufio.Reader
	limit int // bytes
}

// NewReader reads from r. An event, and so each of its lines, may have limit
// bytes, comments aside, each of which may have as many.
func NewReader(r io.Reader, limit int) *Reader {
	return &Reader{bufio.NewReaderSize(r, 64<<10), limit}
}

// TooLargeError says that an event has more bytes than it may have.
type TooLargeError struct{ Limit int }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("an event has more than %d bytes", e.Limit)
}

// Next reads up to the blank line behind an event with data; those without are
// passed over. The error is io.EOF where a stream ends between events,
// io.ErrUnexpectedEOF where it ends within one. The event's memory is the caller's.
func (r *Reader) Next() (Event, error) {
	var e draft
	for {
		line, err := r.line(r.limit - e.size)
		switch {
		case errors.Is(err, io.EOF) && (e.size > 0 || len(line) > 0):
			return Event{}, fmt.Errorf("the stream ended within an event: %w", io.ErrUnexpectedEOF)
		case err != nil:
			return Event{}, err
		case len(line) == 0 && e.hasData:
			return e.Event, nil
		case len(line) == 0:
			e = draft{}
		default:
			e.take(line)
		}
	}
}

// draft is an event that is being read.
type draft struct {
	Event
	hasData bool // the standard tells empty data from none
	size    int  // bytes of its lines
}

// take adds a line that is not empty, and keeps its memory.
func (e *draft) take(line []byte) {
	field, value, _ := bytes.Cut(line, []byte(":"))
	if len(field) == 0 {
		return // a comment
	}
	e.size += len(line)
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(field) {
	case "event":
		e.Name = string(value)
	case "id":
		if bytes.IndexByte(value, 0) < 0 { // as the standard says
			e.ID = string(value)
		}
	case "data":
		if e.hasData {
			e.Data = append(append(e.Data, '\n'), value...)
		} else {
			e.Data, e.hasData = value, true
		}
	}
}

// line returns a line without its end, of at most limit bytes. With an error
// it returns what came before it.
func (r *Reader) line(limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.lines.ReadSlice('\n')
		part, whole := bytes.CutSuffix(part, []byte("\n"))
		line = append(line, part...)
		if whole {
			line = bytes.TrimSuffix(line, []byte("\r"))
		}
		switch {
		case len(line) > limit:
			return line, &TooLargeError{r.limit}
		case whole:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return line, err
		}
	}
}
