package bus

import (
	"fmt"
	"log/slog"
	"sync"
)

// reporter passes on what the server in this process has to say, and keeps its
// last complaint to explain a failed start.
type reporter struct {
	log *slog.Logger

	mu   sync.Mutex
	last string
}

func (r *reporter) reason() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == "" {
		return "no reason given"
	}
	return r.last
}

func (r *reporter) complain(format string, v []any) string {
	text := fmt.Sprintf(format, v...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = text
	return text
}

// The methods of server.Logger.

func (r *reporter) Noticef(format string, v ...any) {
	r.log.Debug("NATS: " + fmt.Sprintf(format, v...))
}
func (r *reporter) Warnf(format string, v ...any)  { r.log.Warn("NATS: " + r.complain(format, v)) }
func (r *reporter) Errorf(format string, v ...any) { r.log.Error("NATS: " + r.complain(format, v)) }
func (r *reporter) Fatalf(format string, v ...any) { r.log.Error("NATS: " + r.complain(format, v)) }
func (r *reporter) Debugf(format string, v ...any) {}
func (r *reporter) Tracef(format string, v ...any) {}
