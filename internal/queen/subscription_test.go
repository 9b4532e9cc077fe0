package queen

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Whatever a hive does, it is shown as lost with the reason, tried again, and its workers are gone meanwhile.
func TestHiveFaults(t *testing.T) {
	whole := "data: {\"type\":\"telemetry\",\"workers\":[" + entryText("8080", 0) + "]}\n\n"
	stream := func(says string, then func(*http.Request)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
			io.WriteString(w, says)
			w.(http.Flusher).Flush()
			then(r)
		}
	}
	leave := func(*http.Request) {}
	wait := func(r *http.Request) { <-r.Context().Done() }
	for _, row := range []struct {
		name    string
		handler http.HandlerFunc
		problem string
		timing  timing
	}{
		{"ends", stream(whole, leave), "the hive closed its stream", timing{}},
		{"ends in half a line", stream(whole+"data: {\"type\":\"tele", leave), "the hive closed its stream", timing{}},
		{"falls silent", stream(whole, wait), "not a word for 60ms", timing{hiveQuiet: 60 * time.Millisecond}},
		{"never answers", func(_ http.ResponseWriter, r *http.Request) { wait(r) }, "timeout awaiting response headers", timing{answer: 60 * time.Millisecond}},
		{"answers HTML", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<!doctype html>") }, `"text/html; charset=utf-8", no event stream`, timing{}},
		{"answers 404", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no\x1b[2J such", 404) }, "404: no[2J such", timing{}},
		{"sends a line without end", stream("data: "+strings.Repeat("x", telemetryLimit+1<<20), wait), "more than 16777216 bytes", timing{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.timing.reconnect = time.Millisecond
			h := open(t, Config{timing: row.timing})
			calls := make(chan bool, 1000)
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				select {
				case calls <- true:
				default:
				}
				row.handler(w, r)
			}))
			defer s.Close()
			defer s.CloseClientConnections()
			if err := h.subscribe("garden", s.URL); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				<-calls
			}
			waitFor(t, "the hive is lost, with a reason", func() bool {
				now := h.Snapshot()
				return !now.Hives[0].Online && strings.Contains(now.Hives[0].Problem, row.problem) && len(now.Workers) == 0
			})
		})
	}
}
