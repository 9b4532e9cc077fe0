package queen

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// process is a worker as its hive's telemetry describes it. All members but
// Model are required on the wire.
type process struct {
	PID          uint32  `json:"pid"`
	Group        string  `json:"group"`
	Instance     string  `json:"instance"` // the port, in digits
	CPUPercent   float64 `json:"cpu_pct"`
	RSSMiB       uint64  `json:"rss_mb"`
	ReadMiBs     float64 `json:"io_r_mb_s"`
	WriteMiBs    float64 `json:"io_w_mb_s"`
	UptimeSecs   uint64  `json:"uptime_s"`
	GPUPercent   float64 `json:"gpu_util_pct"`
	VRAMMiB      uint64  `json:"vram_mb"`
	VRAMTotalMiB uint64  `json:"total_vram_mb"`
	Model        *string `json:"model"`
}

// processMembers are those without which an entry is not believed.
var processMembers = []string{"pid", "group", "instance", "cpu_pct", "rss_mb", "io_r_mb_s", "io_w_mb_s", "uptime_s", "gpu_util_pct", "vram_mb", "total_vram_mb"}

// nameLimit bounds names that others choose, in bytes.
const nameLimit = 512

// telemetry is one message of a hive.
type telemetry struct {
	timestamp string
	processes []process
	dropped   int // entries that could not be read, or were too many
}

// parseTelemetry reads a hive's message and keeps at most limit workers. ok is
// false for messages of another type.
func parseTelemetry(data []byte, limit int) (t telemetry, ok bool, err error) {
	var wire struct {
		Type      string            `json:"type"`
		Timestamp string            `json:"timestamp"`
		Workers   []json.RawMessage `json:"workers"`
	}
	if err := json.Unmarshal(data, &wire); err != nil {
		return telemetry{}, false, fmt.Errorf("telemetry: %w", err)
	}
	if wire.Type != "telemetry" {
		return telemetry{}, false, nil
	}
	t.timestamp = wire.Timestamp
	if _, err := time.Parse(time.RFC3339Nano, t.timestamp); err != nil {
		t.timestamp = time.Now().UTC().Format(time.RFC3339Nano)
	}
	for _, raw := range wire.Workers[:min(limit, len(wire.Workers))] {
		if p, ok := parseProcess(raw); ok {
			t.processes = append(t.processes, p)
		}
	}
	t.dropped = len(wire.Workers) - len(t.processes)
	return t, true, nil
}

func parseProcess(raw json.RawMessage) (p process, ok bool) {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return p, false
	}
	for _, name := range processMembers {
		if m := members[name]; m == nil || string(m) == "null" {
			return p, false
		}
	}
	if json.Unmarshal(raw, &p) != nil {
		return p, false
	}
	return p, isPort(p.Instance) && proper(p.Group) && (p.Model == nil || proper(*p.Model))
}

// proper reports whether a name of others is fit to be kept and shown.
func proper(s string) bool {
	return s != "" && len(s) <= nameLimit && utf8.ValidString(s) && s == plain(s, nameLimit)
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// id is the worker's name in the protocol.
func (p process) id() string { return p.Group + "-" + p.Instance }

// describe adds what a hive said at a time to a worker.
func (p process) describe(w *Worker, hive string, told time.Time) {
	w.IDs = addName(w.IDs, p.id())
	w.Hive, w.hives = hive, append(w.hives, hive)
	if p.Model != nil {
		w.Models = addName(w.Models, *p.Model)
	}
	w.Idle = w.Idle && p.GPUPercent == 0
	w.GPUPercent, w.VRAMMiB, w.VRAMTotalMiB = p.GPUPercent, p.VRAMMiB, p.VRAMTotalMiB
	w.seen(told.Add(-time.Duration(min(p.UptimeSecs, 1<<32))*time.Second), told)
}
