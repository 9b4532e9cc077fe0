package queen

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"waggle/internal/job"
)

func smallFleet() *fleet {
	l, t := limits{hives: 2, workers: 2}, timing{}
	l.fillIn()
	t.fillIn()
	return newFleet(l, t)
}

func mustBeat(t *testing.T, f *fleet, host, id, port, status string) {
	t.Helper()
	b, err := parseBeat(fmt.Appendf(nil, `{"worker":{"id":%q,"model_id":"m","device":"GPU-0","port":%s,"status":%q}}`, id, port, status), host)
	if err == nil {
		err = f.beat(b)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func entryText(port string, util float64) string {
	return fmt.Sprintf(`{"pid":1,"group":"llm","instance":%q,"cpu_pct":0,"rss_mb":1,"io_r_mb_s":0,"io_w_mb_s":0,"uptime_s":3,"gpu_util_pct":%g,"vram_mb":1,"total_vram_mb":2,"model":"m"}`, port, util)
}

func mustReport(t *testing.T, f *fleet, h *hive, entries ...string) {
	t.Helper()
	got, ok, err := parseTelemetry([]byte(`{"type":"telemetry","workers":[`+strings.Join(entries, ",")+`]}`), 100)
	if err != nil || !ok || got.dropped > 0 {
		t.Fatalf("telemetry: %v, %v, %d dropped", ok, err, got.dropped)
	}
	f.online(h)
	f.report(h, got.processes)
}

// One address is one worker, whoever tells of it and however this machine is called.
func TestFleetJoins(t *testing.T) {
	f := smallFleet()
	h, _, _ := f.subscribe("garden", "http://localhost:7835", func() {})
	mustReport(t, f, h, entryText("8080", 0), entryText("8081", 40))
	mustBeat(t, f, "127.0.0.1", "bee", "8080", "busy")
	mustBeat(t, f, "10.0.0.9", "far", "8080", "ready")
	_, workers := f.snapshot()
	var got []string
	for _, w := range workers {
		got = append(got, fmt.Sprint(w.URL, w.IDs, w.Hive, w.Status, w.Idle))
	}
	want := []string{"http://10.0.0.9:8080[far]readytrue", "http://localhost:8080[llm-8080 bee]gardenbusyfalse", "http://localhost:8081[llm-8081]gardenreadyfalse"}
	if !slices.Equal(got, want) {
		t.Errorf("workers %q, want %q", got, want)
	}
	f.lost(h, errors.New("gone\n\x1b[2J"))
	hives, workers := f.snapshot()
	if len(workers) != 2 || hives[0].Online || hives[0].Problem != "gone [2J" {
		t.Errorf("after the hive was lost: %+v, %+v", hives, workers)
	}
}

// A worker that starts where another was, which did not say that it stopped, is the only one there: nobody has the old one's model.
func TestFleetReplaces(t *testing.T) {
	f := smallFleet()
	mustBeat(t, f, "127.0.0.1", "old", "8080", "ready")
	mustBeat(t, f, "127.0.0.1", "other", "8081", "ready")
	b, err := parseBeat([]byte(`{"worker":{"id":"new","model_id":"M","port":8080,"status":"starting"}}`), "::1")
	if err == nil {
		err = f.beat(b)
	}
	_, workers := f.snapshot()
	if err != nil || len(workers) != 2 {
		t.Fatalf("%v, %+v", err, workers)
	}
	if w := workers[0]; !slices.Equal(w.IDs, []string{"new"}) || !slices.Equal(w.Models, []string{"M"}) || w.Status != job.Starting {
		t.Errorf("at the old one's address: %+v", w)
	}
	mustBeat(t, f, "127.0.0.1", "old", "8080", "stopped") // its last word comes late
	if _, workers := f.snapshot(); len(workers) != 2 {
		t.Errorf("after the old one's last word: %+v", workers)
	}
}

func TestFleetForgets(t *testing.T) {
	f := smallFleet()
	mustBeat(t, f, "127.0.0.1", "bee", "8080", "ready")
	if f.sweep(time.Now().Add(89 * time.Second)); len(f.beats) != 1 {
		t.Error("a worker was forgotten after 89 s")
	}
	if f.sweep(time.Now().Add(91 * time.Second)); len(f.beats) != 0 {
		t.Error("a worker is still known after 91 s")
	}
	stopped := false
	h, _, _ := f.subscribe("garden", "http://a", func() { stopped = true })
	f.lost(h, errors.New("gone"))
	for _, stop := range f.sweep(time.Now().Add(25 * time.Hour)) {
		stop()
	}
	if len(f.hives) != 0 || !stopped {
		t.Errorf("after a day: %d hives, subscription stopped: %v", len(f.hives), stopped)
	}
}

func TestFleetIsBounded(t *testing.T) {
	f := smallFleet()
	mustBeat(t, f, "127.0.0.1", "a", "1", "ready")
	mustBeat(t, f, "127.0.0.1", "b", "2", "ready")
	if err := f.beat(beat{host: "127.0.0.1", Worker: job.Node{ID: "c", Status: job.Ready}}); !errors.Is(err, errManyWorkers) {
		t.Errorf("a third worker: %v", err)
	}
	mustBeat(t, f, "127.0.0.1", "b", "3", "ready") // a known one may change
	mustBeat(t, f, "127.0.0.1", "a", "1", "stopped")
	mustBeat(t, f, "127.0.0.1", "c", "4", "ready")

	one, _, _ := f.subscribe("one", "http://1", func() {})
	two, _, _ := f.subscribe("two", "http://2", func() {})
	f.online(one)
	if h, old, err := f.subscribe("three", "http://3", func() {}); err != nil || h == nil || old != two {
		t.Errorf("a third hive took the place of %v, %v", old, err)
	}
	f.online(f.hives["three"])
	if _, _, err := f.subscribe("four", "http://4", func() {}); !errors.Is(err, errManyHives) {
		t.Errorf("a hive too many, all online: %v", err)
	}
	if h, _, err := f.subscribe("one", "http://1", func() {}); h != nil || err != nil {
		t.Errorf("a hive that is online was subscribed to again: %v, %v", h, err)
	}
	f.lost(one, errors.New("gone"))
	if h, old, _ := f.subscribe("one", "http://1", func() {}); h == nil || old != one {
		t.Error("a hive that was lost is not tried again at once")
	}
	one = f.hives["one"]
	if h, old, _ := f.subscribe("one", "http://elsewhere", func() {}); h == nil || old != one {
		t.Error("a hive that moved was not")
	}
}

// What a worker has of ours counts until it is given back, and survives reports.
func TestFleetCounts(t *testing.T) {
	f := smallFleet()
	h, _, _ := f.subscribe("garden", "http://localhost:7835", func() {})
	mustReport(t, f, h, entryText("1", 0), entryText("2", 0))
	var urls []string
	var releases []func()
	for range 4 {
		w, release, ok := f.claim(wanted{model: "m"}, nil)
		if !ok {
			t.Fatal("no worker")
		}
		urls, releases = append(urls, w.URL), append(releases, release)
		mustReport(t, f, h, entryText("1", 0), entryText("2", 0))
	}
	if urls[0] == urls[1] || urls[2] == urls[3] {
		t.Errorf("four jobs went to %q", urls)
	}
	for _, release := range releases {
		release()
		release() // counts once
	}
	f.report(h, nil)
	f.sweep(time.Now())
	if len(f.loads) != 0 {
		t.Errorf("loads of workers that are gone: %v", f.loads)
	}
}

// A worker's address can be called, whatever its kind.
func TestAddressOf(t *testing.T) {
	for _, row := range []struct{ host, want string }{
		{"127.0.0.1", "http://localhost:8080"}, {"::1", "http://localhost:8080"}, {"LocalHost", "http://localhost:8080"}, {"127.0.0.9", "http://localhost:8080"},
		{"10.0.0.1", "http://10.0.0.1:8080"}, {"fd00::1", "http://[fd00::1]:8080"}, {"fe80::1%eth0", "http://[fe80::1%25eth0]:8080"}, {"hive.example", "http://hive.example:8080"},
	} {
		got := addressOf(row.host, "8080")
		if u, err := url.Parse(got); got != row.want || err != nil || row.want != "http://localhost:8080" && u.Hostname() != row.host {
			t.Errorf("%s: %s, %v, want %s", row.host, got, err, row.want)
		}
	}
}

func TestHiveAddress(t *testing.T) {
	for _, row := range []struct{ url, caller, want string }{
		{"http://127.0.0.1:7835", "127.0.0.1", "http://127.0.0.1:7835"},
		{"http://127.0.0.1:7835/", "10.1.2.3", "http://10.1.2.3:7835"},
		{"http://localhost", "10.1.2.3", "http://10.1.2.3:80"},
		{"http://[::1]:7835", "fd00::1", "http://[fd00::1]:7835"},
		{"http://10.9.9.9:7835", "10.1.2.3", "http://10.9.9.9:7835"},
		{"http://127.0.0.1:7835", "fe80::1%eth0", "http://[fe80::1%25eth0]:7835"},
		{"https://hive.example", "10.1.2.3", "https://hive.example"},
		{"ftp://127.0.0.1", "127.0.0.1", ""}, {"127.0.0.1:7835", "127.0.0.1", ""}, {"http://", "127.0.0.1", ""},
		{"http://a@b", "127.0.0.1", ""}, {"http://a/?q", "127.0.0.1", ""}, {"http://a/#f", "127.0.0.1", ""},
	} {
		got, err := hiveAddress(row.url, row.caller)
		if got != row.want || (err == nil) != (row.want != "") {
			t.Errorf("%s by %s: %q, %v, want %q", row.url, row.caller, got, err, row.want)
		}
	}
}
