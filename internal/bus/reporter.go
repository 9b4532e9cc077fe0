package bus

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// reporter passes on what the server in this process has to say, keeps its
// last complaint to explain a failed start, and notices when the server has
// given up writing, which it tells nobody else.
type reporter struct {
	log    *slog.Logger
	broken chan struct{} // has a token when the server no longer writes

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

// gaveUp looks for the words in which the server says that it will write no more.
func (r *reporter) gaveUp(text string) string {
	for _, words := range []string{"ritical write error", "no space left", "DISABLED", "disabling JetStream"} {
		if strings.Contains(text, words) {
			select {
			case r.broken <- struct{}{}:
			default:
			}
		}
	}
	return text
}

// The methods of server.Logger.

func (r *reporter) Noticef(format string, v ...any) {
	r.log.Debug("NATS: " + fmt.Sprintf(format, v...))
}
func (r *reporter) Warnf(format string, v ...any) { r.log.Warn("NATS: " + r.complain(format, v)) }
func (r *reporter) Errorf(format string, v ...any) {
	r.log.Error("NATS: " + r.gaveUp(r.complain(format, v)))
}
func (r *reporter) Fatalf(format string, v ...any) { r.log.Error("NATS: " + r.complain(format, v)) }
func (r *reporter) Debugf(format string, v ...any) {}
func (r *reporter) Tracef(format string, v ...any) {}
