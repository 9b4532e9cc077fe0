package door

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// retryAfter is what a client is told to wait where there is no room now.
const retryAfter = 5 * time.Second

// Problem is an answer that is not a success: a status and a text.
type Problem struct {
	Status     int
	Message    string
	RetryAfter time.Duration // in whole seconds; zero: not said, but where there is no room now
}

// Problemf returns a problem; its text is formatted.
func Problemf(status int, format string, args ...any) Problem {
	return Problem{Status: status, Message: fmt.Sprintf(format, args...)}
}

func (p Problem) Error() string { return p.Message }

// Answer answers with the problem, as plain text; only what a stranger gets is
// JSON, as the protocol has it.
func (p Problem) Answer(w http.ResponseWriter) {
	if p.Status == http.StatusServiceUnavailable && p.RetryAfter == 0 {
		p.RetryAfter = retryAfter
	}
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(p.RetryAfter/time.Second)))
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
		WriteJSON(w, p.Status, map[string]any{"error": map[string]string{"code": "unauthorized", "message": p.Message}})
		return
	}
	http.Error(w, p.Message, p.Status)
}

// WriteJSON answers with a value. An error here means the client has gone.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if w.Header().Get("Cache-Control") == "" {
		w.Header().Set("Cache-Control", "no-store")
	}
	w.WriteHeader(status)
	w.Write(append(b, '\n'))
}

// bodyless lets the status and headers of an answer through, and no body, as the
// protocol has it for what no route takes (404, 405).
type bodyless struct{ http.ResponseWriter }

func (b bodyless) WriteHeader(status int) {
	b.Header().Del("Content-Type")
	b.ResponseWriter.WriteHeader(status)
}

func (b bodyless) Write(p []byte) (int, error) { return len(p), nil }
