package queen

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseTelemetry(t *testing.T) {
	good := entryText("8080", 12.5)
	for _, row := range []struct {
		name, text     string
		ports          string
		dropped        int
		ok, wantsError bool
	}{
		{"one", `{"type":"telemetry","timestamp":"2025-11-14T20:00:00+00:00","workers":[` + good + `]}`, "8080", 0, true, false},
		{"without a model", `{"type":"telemetry","workers":[` + strings.Replace(good, `"model":"m"`, `"model":null`, 1) + `]}`, "8080", 0, true, false},
		{"null for a number", `{"type":"telemetry","workers":[` + strings.Replace(good, `"vram_mb":1`, `"vram_mb":null`, 1) + `]}`, "", 1, true, false},
		{"text for a number", `{"type":"telemetry","workers":[` + strings.Replace(good, `"vram_mb":1`, `"vram_mb":"1"`, 1) + `]}`, "", 1, true, false},
		{"no port", `{"type":"telemetry","workers":[` + entryText("0", 0) + "," + entryText("65536", 0) + "," + entryText("-1", 0) + "," + good + `]}`, "8080", 3, true, false},
		{"too many", `{"type":"telemetry","workers":[` + strings.Repeat(good+",", 4) + good + `]}`, "8080 8080 8080 8080", 1, true, false},
		{"none", `{"type":"telemetry"}`, "", 0, true, false},
		{"another type", `{"type":"gossip","workers":7}`, "", 0, false, true},
		{"half", `{"type":"telemetry","workers":[`, "", 0, false, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, ok, err := parseTelemetry([]byte(row.text), 4)
			var ports []string
			for _, p := range got.processes {
				ports = append(ports, p.Instance)
			}
			if strings.Join(ports, " ") != row.ports || got.dropped != row.dropped || ok != row.ok || (err != nil) != row.wantsError {
				t.Errorf("ports %q, %d dropped, %v, %v", ports, got.dropped, ok, err)
			}
		})
	}
}

// No bytes of others can stop the queen or get onto her terminal.
func FuzzForeignBytes(f *testing.F) {
	f.Add([]byte(`{"type":"telemetry","workers":[` + entryText("8080", 1) + `]}`))
	f.Add([]byte(`{"worker":{"id":"w","model_id":"m","port":1,"status":"ready"}}`))
	f.Add([]byte(`{"operation":"image_generation","hive_id":"h","model":"m","prompt":"p","worker_id":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, ok, _ := parseTelemetry(data, 10); ok {
			for _, p := range got.processes {
				if !isPort(p.Instance) || !proper(p.Group) {
					t.Errorf("believed %+v", p)
				}
			}
			json.Unmarshal(hiveHeartbeat("h", got).data, &struct{}{})
		}
		if b, err := parseBeat(data, "127.0.0.1"); err == nil && (!proper(b.Worker.ID) || !proper(b.Worker.ModelID)) {
			t.Errorf("believed %+v", b)
		}
		if _, err := parseOperation(data); err != nil && plain(err.Error(), 1<<20) != err.Error() {
			t.Errorf("error %q", err)
		}
		if s := plain(string(data), 100); len(s) > 103 || !utf8.ValidString(s) || strings.ContainsAny(s, "\n\r\x1b") {
			t.Errorf("plain text %q", s)
		}
		entry{name: "preview", data: data}.slim()
	})
}
