package queen

import (
	"fmt"
	"strings"
	"testing"
)

// One second of a hive that claims ten thousand workers: what the queen keeps of it, and a choice among them.
func BenchmarkCrowdedHive(b *testing.B) {
	var entries []string
	for i := range 10_000 {
		entries = append(entries, entryText(fmt.Sprint(20_000+i), 0))
	}
	text := []byte(`{"type":"telemetry","workers":[` + strings.Join(entries, ",") + `]}`)
	l, t := limits{}, timing{}
	l.fillIn()
	t.fillIn()
	f := newFleet(l, t)
	h, _, _ := f.subscribe("garden", "http://localhost:7835", func() {})
	for b.Loop() {
		got, _, err := parseTelemetry(text, l.hiveWorkers)
		if err != nil {
			b.Fatal(err)
		}
		f.report(h, got.processes)
		if _, release, ok := f.claim(wanted{model: "m"}, nil); ok {
			release()
		}
	}
}
