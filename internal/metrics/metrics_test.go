package metrics

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"waggle/internal/job"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// used is a worker's metrics with something in each.
func used() *Worker {
	w := NewWorker("1.2")
	w.Queue(1000, func() func(job.State, job.Priority) int {
		return func(s job.State, p job.Priority) int { return len(s) + len(p) }
	})
	w.Connected(func() error { return errors.New("away") })
	w.Devices(func() []Device { return []Device{{"one", true, 2, 1 << 30}, {"two \xff", false, 0, 0}} })
	began := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	waits := job.Record{ID: "a", State: job.Queued, Created: began}
	runs, done := waits, waits
	runs.State, runs.Started = job.Running, began.Add(3*time.Second)
	done.State, done.Kind, done.Started, done.Finished = job.Failed, job.OutOfMemory, runs.Started, began.Add(5*time.Second)
	cancelled := job.Record{ID: "b", State: job.Cancelled}
	w.Changed(job.Record{}, waits)
	w.Changed(waits, runs)
	w.Changed(runs, waits) // handed back
	again := runs
	again.Started = runs.Started.Add(time.Hour)
	w.Changed(job.Record{ID: "a", State: job.Queued, Started: runs.Started}, again)
	w.Changed(runs, done)
	w.Changed(job.Record{ID: "b", State: job.Queued}, cancelled)
	w.Stepped("tiny", 3, 2*time.Second)
	w.Drew("tiny", time.Second)
	w.Showed()
	w.Saved(time.Millisecond, nil)
	w.Saved(0, errors.New("full"))
	w.Loaded("tiny", time.Second)
	w.Failed("hung")
	w.Abandoned("hung")
	w.PreviewBytes(func() int64 { return 12 })
	w.Came("GET /v1/jobs")
	w.Went("GET /v1/jobs", 200, time.Second)
	w.Came("")
	return w
}

// usedQueen is a queen's metrics with something in each.
func usedQueen() *Queen {
	q := NewQueen("1.2")
	q.Ended(job.Complete, "image_generation", 2*time.Second)
	q.Ended(job.Failed, "", time.Second)
	q.Ended(job.Cancelled, "image_generation", 0)
	q.Connected(func() error { return nil })
	q.Fleet(func() Fleet {
		return Fleet{Count{"online": 2}, Count{"idle": 3, "busy": 1}, Count{"ready": 5}, Count{"queued": 1, "complete": 7}}
	})
	return q
}

func TestQueen(t *testing.T) {
	has(t, read(t, usedQueen().Handler(slog.New(slog.DiscardHandler))),
		`waggle_queen_jobs_ended_total{state="complete"} 1`, `waggle_queen_jobs_ended_total{state="cancelled"} 1`,
		`waggle_queen_job_seconds_sum{operation="image_generation"} 2`, `waggle_queen_job_seconds_count{operation="other"} 1`,
		`waggle_queen_hives{state="online"} 2`, `waggle_queen_hives{state="lost"} 0`,
		`waggle_queen_workers{state="idle"} 3`, `waggle_queen_workers{state="busy"} 1`, `waggle_queen_workers{state="starting"} 0`,
		`waggle_queen_nodes{state="ready"} 5`, `waggle_nats_connected 1`, `waggle_queen_jobs{state="queued"} 1`, `waggle_queen_jobs{state="running"} 0`,
	)
}

func has(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
}

// Names and help are as Prometheus wants them.
func TestLint(t *testing.T) {
	for name, registry := range map[string]*prometheus.Registry{"worker": used().registry, "queen": usedQueen().registry} {
		problems, err := testutil.GatherAndLint(registry)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s: %s", name, p.Metric, p.Text)
		}
	}
}

// What was told can be read.
func TestWorker(t *testing.T) {
	text := read(t, used().Handler(slog.New(slog.DiscardHandler)))
	has(t, text,
		`waggle_queue_jobs{priority="high",state="queued"} 10`, `waggle_queue_jobs{priority="low",state="paused"} 9`, `waggle_queue_limit 1000`,
		`waggle_jobs_submitted_total 1`, `waggle_jobs_started_total 2`,
		`waggle_jobs_ended_total{state="failed"} 1`, `waggle_jobs_ended_total{state="cancelled"} 1`, `waggle_jobs_ended_total{state="complete"} 0`,
		`waggle_jobs_failed_total{kind="out_of_memory"} 1`, `waggle_jobs_failed_total{kind="internal"} 0`,
		`waggle_job_wait_seconds_count 1`, `waggle_job_wait_seconds_sum 3`, `waggle_job_run_seconds_sum 2`,
		`waggle_steps_total{model="tiny"} 3`, `waggle_step_seconds_sum{model="tiny"} 2`, `waggle_batch_pictures_sum 3`,
		`waggle_picture_seconds_count{model="tiny"} 1`, `waggle_previews_total 1`,
		`waggle_checkpoint_seconds_count 1`, `waggle_checkpoint_failures_total 1`, `waggle_model_load_seconds_sum{model="tiny"} 1`,
		`waggle_device_failures_total{reason="hung"} 1`, `waggle_device_failures_total{reason="memory"} 0`, `waggle_device_resets_total{reason="hung"} 1`,
		`waggle_device_up{device="0",name="one"} 1`, `waggle_device_up{device="1",name="two �"} 0`,
		`waggle_device_memory_bytes{device="0",name="one"} 1.073741824e+09`, `waggle_models_loaded{device="0",name="one"} 2`,
		`waggle_nats_connected 0`, `waggle_preview_bytes_total 12`,
		`waggle_http_requests_total{code="200",route="GET /v1/jobs"} 1`, `waggle_http_request_seconds_sum{route="GET /v1/jobs"} 1`,
		`waggle_http_requests_open{route="GET /v1/jobs"} 0`, `waggle_http_requests_open{route="none"} 1`,
	)
	for _, part := range []string{`waggle_build_info{goversion="go`, "process_resident_memory_bytes ", "process_open_fds ", "go_goroutines "} {
		if !strings.Contains(text, "\n"+part) {
			t.Errorf("no line begins with %s", part)
		}
	}
}

// However many models there are, and whatever they are called, there are so many series and no more.
func TestNamesAreBounded(t *testing.T) {
	w := NewWorker("1.2")
	for i := range 10 * namesLimit {
		w.Stepped(fmt.Sprintf("\xff%d %s", i, strings.Repeat("x", 1000)), 1, time.Second)
	}
	if n := testutil.CollectAndCount(w.steps); n != namesLimit+1 {
		t.Errorf("%d series, want %d", n, namesLimit+1)
	}
	if got := testutil.ToFloat64(w.steps.WithLabelValues(otherName)); got != 9*namesLimit {
		t.Errorf("%v steps of other models, want %d", got, 9*namesLimit)
	}
}

func read(t *testing.T, h http.Handler) string {
	t.Helper()
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	if answer.Code != http.StatusOK || !strings.HasPrefix(answer.Header().Get("Content-Type"), "text/plain") {
		t.Fatalf("%d %s", answer.Code, answer.Header())
	}
	return answer.Body.String()
}

// docs/metrics.md names every metric of ours, and none that is not there.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile("(?m)^\\| `(waggle_[a-z_]+)")
	var documented, there []string
	for _, row := range name.FindAllSubmatch(page, -1) {
		documented = append(documented, string(row[1]))
	}
	for _, registry := range []*prometheus.Registry{used().registry, usedQueen().registry} {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if strings.HasPrefix(f.GetName(), "waggle_") && !slices.Contains(there, f.GetName()) {
				there = append(there, f.GetName())
			}
		}
	}
	for _, n := range there {
		if !slices.Contains(documented, n) {
			t.Errorf("%s is not in docs/metrics.md", n)
		}
	}
	for i, n := range documented {
		if !slices.Contains(there, n) {
			t.Errorf("docs/metrics.md has %s, which is not there", n)
		}
		if slices.Contains(documented[:i], n) {
			t.Errorf("docs/metrics.md has %s twice", n)
		}
	}
	for _, used := range regexp.MustCompile(`waggle_[a-z_]+`).FindAll(page, -1) {
		base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(string(used), "")
		if !slices.Contains(there, base) && !slices.Contains(there, string(used)) {
			t.Errorf("docs/metrics.md speaks of %s, which is not there", used)
		}
	}
}
