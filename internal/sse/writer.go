package sse

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// WriteTimeout is how long a reader may take for chunkBytes.
	WriteTimeout = 30 * time.Second
	chunkBytes   = 64 << 10
)

// Writer writes events to one reader, each at once. One who takes nothing for
// WriteTimeout is let go: writing to them is an error then.
type Writer struct {
	w       io.Writer
	control *http.ResponseController
}

// NewWriter answers a request with a stream: it sends the headers.
func NewWriter(w http.ResponseWriter) *Writer {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no") // asks proxies not to hold events back
	w.WriteHeader(http.StatusOK)
	o := &Writer{w, http.NewResponseController(w)}
	_ = o.write() // whoever has gone is noticed at the first event
	return o
}

// Event writes an event. Nothing in it can break out of its field: carriage
// returns are left out, and so are line feeds but in the data.
func (o *Writer) Event(e Event) error {
	var before string
	if e.Name != "" {
		before = "event: " + oneLine(e.Name) + "\n"
	}
	if e.ID != "" {
		before += "id: " + oneLine(e.ID) + "\n"
	}
	var parts [][]byte
	for line := range bytes.SplitSeq(e.Data, []byte("\n")) {
		parts = append(parts, []byte(before+"data: "), withoutReturns(line))
		before = "\n"
	}
	return o.write(append(parts, []byte("\n\n"))...)
}

// Comment writes a line that says no more than that the stream lives.
func (o *Writer) Comment() error { return o.write([]byte(":\n\n")) }

func oneLine(s string) string {
	return strings.NewReplacer("\r", "", "\n", "").Replace(s)
}

// withoutReturns copies nothing where there is nothing to leave out: the data of many readers is one.
func withoutReturns(b []byte) []byte {
	if bytes.IndexByte(b, '\r') < 0 {
		return b
	}
	return bytes.ReplaceAll(b, []byte("\r"), nil)
}

// write sends parts, and the headers before the first.
func (o *Writer) write(parts ...[]byte) error {
	for _, part := range parts {
		for chunk := range slices.Chunk(part, chunkBytes) {
			o.within(WriteTimeout)
			if _, err := o.w.Write(chunk); err != nil {
				return err
			}
		}
	}
	o.within(WriteTimeout)
	return o.control.Flush()
}

func (o *Writer) within(limit time.Duration) {
	_ = o.control.SetWriteDeadline(time.Now().Add(limit)) // not every test writer has one
}
