package queen

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// readingLimit bounds the bytes of all bodies that are on their way, those
	// of small ones apart.
	readingLimit = 256 << 20
	smallBody    = 64 << 10
)

var errReading = errors.New("too many large bodies at a time")

// metered counts a body while it comes in, beyond what is small.
type metered struct {
	io.Reader
	all   *atomic.Int64
	seen  int64
	taken int64
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	m.seen += int64(n)
	if more := m.seen - smallBody - m.taken; more > 0 {
		m.taken += more
		if m.all.Add(more) > readingLimit {
			return n, errReading
		}
	}
	return n, err
}

func (m *metered) release() { m.all.Add(-m.taken) }

// readJSON reads a whole body within the limits of size and time, or answers
// why not. The body is valid JSON.
func (q *Queen) readJSON(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, bool) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" && !(strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json")) {
		http.Error(w, "Expected request with `Content-Type: application/json`", http.StatusUnsupportedMediaType)
		return nil, false
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout)) // not every test writer has one
	m := &metered{Reader: http.MaxBytesReader(w, r.Body, limit), all: &q.reading}
	body, err := io.ReadAll(m)
	m.release()
	if err == nil { // else net/http would wait for the rest, for ever
		_ = control.SetReadDeadline(time.Time{})
	}
	if err == nil && !json.Valid(body) {
		var v any
		http.Error(w, fmt.Sprintf("Failed to parse the request body as JSON: %v", json.Unmarshal(body, &v)), http.StatusBadRequest)
		return nil, false
	}
	if err != nil {
		notRead(w, err)
	}
	return body, err == nil
}

// notRead answers why a body could not be read.
func notRead(w http.ResponseWriter, err error) {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		http.Error(w, fmt.Sprintf("Failed to buffer the request body: more than %d bytes", tooLarge.Limit), http.StatusRequestEntityTooLarge)
	case errors.Is(err, errReading):
		unavailable(w, err)
	default:
		http.Error(w, "Failed to buffer the request body: "+err.Error(), http.StatusBadRequest)
	}
}
