package queen

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"waggle/internal/job"
)

// beat is a worker's own heartbeat: its node record, and where it came from.
type beat struct {
	Worker job.Node

	host  string // the address that sent it
	at    time.Time
	since time.Time // the first of them came
}

// parseBeat reads a heartbeat. Errors name the member.
func parseBeat(data []byte, host string) (beat, error) {
	var said workerBeat
	if err := json.Unmarshal(data, &said); err != nil {
		return beat{}, fmt.Errorf("heartbeat: %w", err)
	}
	b := beat{Worker: said.Worker.node(), host: host, at: time.Now()}
	return b, b.check()
}

func (b beat) check() error {
	w := b.Worker
	switch {
	case !proper(w.ID):
		return fmt.Errorf("heartbeat: `worker.id` must be 1 to %d bytes of plain text", nameLimit)
	case !proper(w.ModelID):
		return fmt.Errorf("heartbeat: `worker.model_id` must be 1 to %d bytes of plain text", nameLimit)
	case w.Port < 1 || w.Port > 65535:
		return fmt.Errorf("heartbeat: `worker.port` is %d, want 1 to 65535", w.Port)
	case w.Status != job.Starting && w.Status != job.Ready && w.Status != job.Busy && w.Status != job.Stopping && w.Status != job.Stopped:
		return fmt.Errorf("heartbeat: `worker.status` must be starting, ready, busy, stopping or stopped")
	case !tlsName.MatchString(w.TLSName):
		return fmt.Errorf("heartbeat: `worker.tls_name` must be the host that the worker's certificate is for")
	case w.Device != "" && !proper(w.Device), len(w.Implementation) > nameLimit, len(w.Version) > nameLimit:
		return fmt.Errorf("heartbeat: `worker.device`, `implementation` and `version` may have %d bytes of plain text", nameLimit)
	}
	return nil
}

// tlsName is a name or an address, or nothing.
var tlsName = regexp.MustCompile(`^[A-Za-z0-9.:_-]{0,253}$`)

func (b beat) port() string { return strconv.Itoa(b.Worker.Port) }

// describe adds what a worker says of itself.
func (b beat) describe(w *Worker) {
	w.IDs = addName(w.IDs, b.Worker.ID)
	w.Models = addName(w.Models, b.Worker.ModelID)
	w.Device, w.Status = b.Worker.Device, b.Worker.Status
	w.Implementation, w.Version = plain(b.Worker.Implementation, nameLimit), plain(b.Worker.Version, nameLimit)
	w.seen(b.since, b.at)
	w.Idle = w.Idle && b.Worker.Status == job.Ready
	if b.Worker.TLSName != "" {
		w.TLSName, w.URL = b.Worker.TLSName, "https"+strings.TrimPrefix(w.place, "http")
	}
}
