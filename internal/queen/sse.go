package queen

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// sseReader cuts a stream of server-sent events into messages.
type sseReader struct {
	lines *bufio.Reader
	limit int // bytes of one event
}

func newSSEReader(r io.Reader, limit int) *sseReader {
	return &sseReader{bufio.NewReaderSize(r, 64<<10), limit}
}

// next reads up to the blank line behind a message that has data; others are
// skipped, as comments are. Several data lines are joined.
func (r *sseReader) next() (entry, error) {
	var e entry
	hasData := false
	for size := 0; ; {
		line, err := r.line(r.limit - size)
		if err != nil {
			return entry{}, err
		}
		size += len(line)
		if len(line) == 0 {
			if hasData {
				return e, nil
			}
			e, size = entry{}, 0
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			e.name = string(value)
		case "data":
			if hasData {
				e.data = append(e.data, '\n')
			}
			e.data = append(e.data, value...)
			hasData = true
		}
	}
}

// line returns a line without its end, at most limit bytes.
func (r *sseReader) line(limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.lines.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > limit {
			return nil, fmt.Errorf("an event has more than %d bytes", r.limit)
		}
		if err == nil {
			return bytes.TrimRight(line, "\r\n"), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
	}
}

// sseWriter writes server-sent events. Each write has a time limit, so that a
// reader that has stopped reading is let go.
type sseWriter struct {
	w       io.Writer
	control *http.ResponseController
}

// newSSEWriter sends the headers.
func newSSEWriter(w http.ResponseWriter) *sseWriter {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no") // asks proxies not to hold events back
	w.WriteHeader(http.StatusOK)
	o := &sseWriter{w, http.NewResponseController(w)}
	_ = o.control.Flush()
	return o
}

// message writes a message; number is its id, 0 for none.
func (o *sseWriter) message(e entry, number int) error {
	var b bytes.Buffer
	if e.name != "" {
		fmt.Fprintf(&b, "event: %s\n", oneLine([]byte(e.name)))
	}
	if number > 0 {
		fmt.Fprintf(&b, "id: %d\n", number)
	}
	for line := range bytes.SplitSeq(e.data, []byte("\n")) {
		b.WriteString("data: ")
		b.Write(oneLine(line))
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return o.write(b.Bytes())
}

// oneLine takes out the one character that also ends a line.
func oneLine(b []byte) []byte {
	if bytes.IndexByte(b, '\r') < 0 {
		return b
	}
	return bytes.ReplaceAll(b, []byte("\r"), nil)
}

func (o *sseWriter) marker(text string) error { return o.message(entry{data: []byte(text)}, 0) }

func (o *sseWriter) comment() error { return o.write([]byte(":\n\n")) }

func (o *sseWriter) write(b []byte) error {
	_ = o.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := o.w.Write(b); err != nil {
		return err
	}
	return o.control.Flush()
}
