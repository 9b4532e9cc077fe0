package door

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// retryAfterSeconds is what a client is told to wait where there is no room now.
const retryAfterSeconds = "5"

// Problem is an answer that is not a success: a status and a text.
type Problem struct {
	Status  int
	Message string
}

// Problemf returns a problem; its text is formatted.
func Problemf(status int, format string, args ...any) Problem {
	return Problem{status, fmt.Sprintf(format, args...)}
}

func (p Problem) Error() string { return p.Message }

// Answer answers with the problem, as plain text.
func (p Problem) Answer(w http.ResponseWriter) {
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfterSeconds)
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

// bare answers what no route takes (404, 405) without a body, as the protocol has it.
func bare(m *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := m.Handler(r); pattern == "" {
			w = bodyless{w}
		}
		m.ServeHTTP(w, r)
	})
}

// bodyless lets the status and headers of an answer through.
type bodyless struct{ http.ResponseWriter }

func (b bodyless) WriteHeader(status int) {
	b.Header().Del("Content-Type")
	b.ResponseWriter.WriteHeader(status)
}

func (b bodyless) Write(p []byte) (int, error) { return len(p), nil }
