package api

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
)

const (
	// smallBytes of each body need no room in the budget: commands and requests
	// without pictures are let in however many large bodies are on their way.
	smallBytes = 64 << 10
	// budgetBytes is how much of large bodies may be in memory at a time.
	budgetBytes = 256 << 20
)

// budget bounds what all bodies together take that have come so far; a claim
// in a header takes nothing.
type budget struct{ used atomic.Int64 }

// errOverBudget is the answer when there is no room for a body now.
var errOverBudget = problem{http.StatusServiceUnavailable, "Failed to buffer the request body: too many large requests at once"}

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
