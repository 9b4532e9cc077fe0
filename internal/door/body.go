package door

import (
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
	bodyTimeout = 5 * time.Minute
	// strangerTimeout is for the rest of a request that has been refused.
	strangerTimeout = 5 * time.Second
	// smallBytes of each body need no room in the budget: commands and requests
	// without pictures are let in however many large bodies are on their way.
	smallBytes = 64 << 10
	// budgetBytes is how much of large bodies may be in memory at a time.
	budgetBytes = 256 << 20
)

// limitBody gives a body its time to come, whether a handler reads it or not:
// what handlers leave of it net/http waits for, before it answers.
func limitBody(w http.ResponseWriter, r *http.Request, limit time.Duration) {
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(limit)) // not every test writer has one
	}
}

// limitAnswer gives an answer its time to be made and taken, so that whoever
// asks and reads nothing holds nobody for ever. Streams put it off.
func (d *Door) limitAnswer(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(2 * d.BodyTime))
}

// ReadJSON reads a whole body of at most limit bytes, or answers why not. Call
// release when the body is no longer needed.
func (d *Door) ReadJSON(w http.ResponseWriter, r *http.Request, limit int64) (body []byte, release func(), ok bool) {
	if !isJSON(r.Header.Get("Content-Type")) {
		http.Error(w, "Expected request with `Content-Type: application/json`", http.StatusUnsupportedMediaType)
		return nil, func() {}, false
	}
	body, release, err := d.Read(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		w.Header().Set("Connection", "close") // so that the answer goes out before the rest of the body has come
		limitBody(w, r, min(strangerTimeout, d.BodyTime))
		problemOf(err).Answer(w)
		return nil, release, false
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // what limitBody has set
	return body, release, true
}

func isJSON(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && (kind == "application/json" || strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json"))
}

// problemOf says why a body could not be read.
func problemOf(err error) (p Problem) {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &tooLarge):
		return Problemf(http.StatusRequestEntityTooLarge, "Failed to buffer the request body: more than %d bytes", tooLarge.Limit)
	}
	return Problemf(http.StatusBadRequest, "Failed to buffer the request body: %v", err)
}

// Read reads all that comes, within what all bodies together may take: an error
// may be a Problem that says so. Call release when it is no longer needed, also
// after an error.
func (d *Door) Read(r io.Reader) (body []byte, release func(), err error) { return d.bodies.read(r) }

// budget bounds what all bodies together take that have come so far; a claim
// in a header takes nothing.
type budget struct{ used atomic.Int64 }

// errOverBudget is the answer when there is no room for a body now.
var errOverBudget = Problemf(http.StatusServiceUnavailable, "Failed to buffer the request body: too many large requests at once")

// read reads a whole body. Call release when it is no longer needed, also
// after an error.
func (b *budget) read(r io.Reader) (body []byte, release func(), err error) {
	m := &meteredReader{budget: b, r: r}
	body, err = io.ReadAll(m)
	return body, func() { b.used.Add(-m.taken) }, err
}

type meteredReader struct {
	budget *budget
	r      io.Reader
	read   int64
	taken  int64 // of the budget
}

// Read implements io.Reader.
func (m *meteredReader) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.read += int64(n)
	more := max(0, m.read-smallBytes) - m.taken
	m.taken += more
	if more > 0 && m.budget.used.Add(more) > budgetBytes {
		return 0, fmt.Errorf("after %d bytes: %w", m.read, errOverBudget)
	}
	return n, err
}
