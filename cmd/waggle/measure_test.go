//go:build unix

package main

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// metrics are the values of /metrics, by name and labels as they are written.
func (s *server) metrics() map[string]float64 {
	s.Helper()
	a := s.ask(http.MethodGet, "/metrics", nil)
	if a.status != http.StatusOK {
		s.Fatalf("GET /metrics: %d %.200s", a.status, a.body)
	}
	values := map[string]float64{}
	for line := range strings.Lines(string(a.body)) {
		at := strings.LastIndexByte(strings.TrimSpace(line), ' ')
		if value, err := strconv.ParseFloat(strings.TrimSpace(line[at+1:]), 64); err == nil && line[0] != '#' {
			values[line[:at]] = value
		}
	}
	return values
}

// TestMetrics: what happened is counted, once, by those who know the token.
func TestMetrics(t *testing.T) {
	needAdapter(t)
	s := startServer(t, "serve", "--port", "0", "--token", "reader=s3cret", "--log-format", "json", "--checkpoint-every", "1ms")
	if a := s.ask(http.MethodGet, "/metrics", nil); a.status != http.StatusUnauthorized {
		t.Errorf("GET /metrics without a token: %d", a.status)
	}
	s.token = "s3cret"
	s.ready()
	s.made(star(fields{"steps": 4, "batch": 2, "model": "a model that is not there"}))
	s.made(star(fields{"steps": 4}))
	values := s.metrics()
	for name, want := range map[string]float64{
		`waggle_jobs_submitted_total`: 2, `waggle_jobs_started_total`: 2, `waggle_jobs_ended_total{state="complete"}`: 2,
		`waggle_jobs_ended_total{state="failed"}`: 0, `waggle_job_wait_seconds_count`: 2, `waggle_job_run_seconds_count`: 2,
		`waggle_steps_total{model="tiny-shapes"}`: 12, `waggle_picture_seconds_count{model="tiny-shapes"}`: 3,
		`waggle_model_load_seconds_count{model="tiny-shapes"}`: 1, `waggle_batch_pictures_sum`: 12,
		`waggle_queue_jobs{priority="normal",state="queued"}`: 0, `waggle_queue_jobs{priority="normal",state="running"}`: 0,
		`waggle_http_requests_total{code="200",route="POST /v1/jobs"}`: 2, `waggle_http_requests_total{code="401",route="GET /metrics"}`: 1,
		`waggle_http_requests_open{route="GET /metrics"}`: 1, `waggle_queue_limit`: 1000, `waggle_nats_connected`: 1, `waggle_device_resets_total{reason="lost"}`: 0,
	} {
		if got, ok := values[name]; !ok || got != want {
			t.Errorf("%s is %v (there: %v), want %v", name, got, ok, want)
		}
	}
	for _, name := range []string{"waggle_previews_total", "waggle_preview_bytes_total", "waggle_checkpoint_seconds_count", "process_resident_memory_bytes", "process_open_fds", "go_goroutines",
		`waggle_step_seconds_sum{model="tiny-shapes"}`} {
		if values[name] <= 0 {
			t.Errorf("%s is %v", name, values[name])
		}
	}
	devices := 0
	for name, value := range values {
		if strings.Contains(name, "not there") {
			t.Errorf("a stranger has made the series %s", name)
		}
		if family, _, _ := strings.Cut(name, "{"); family == "waggle_device_memory_bytes" || family == "waggle_models_loaded" || family == "waggle_device_up" {
			if devices++; value < 1 {
				t.Errorf("%s is %v", name, value)
			}
		}
	}
	if devices != 3 {
		t.Errorf("%d values of a device, want 3", devices)
	}
}

// TestQueenMetrics: a queen counts who there is and what became of jobs.
func TestQueenMetrics(t *testing.T) {
	t.Parallel()
	s, h, w := startQueen(t), newHive(t), newWorker(t)
	h.join(s, w)
	s.made(lighthouse(nil))
	s.made(lighthouse(fields{"model": "not there"}))
	s.made(fields{"operation": "status"})
	values := s.metrics()
	for name, want := range map[string]float64{
		`waggle_queen_hives{state="online"}`: 1, `waggle_queen_hives{state="lost"}`: 0, `waggle_queen_workers{state="idle"}`: 1,
		`waggle_queen_jobs{state="running"}`: 0, `waggle_queen_jobs_ended_total{state="complete"}`: 2, `waggle_queen_jobs_ended_total{state="failed"}`: 1,
		`waggle_queen_job_seconds_count{operation="image_generation"}`: 2, `waggle_queen_job_seconds_count{operation="status"}`: 1,
		`waggle_http_requests_total{code="200",route="POST /v1/jobs"}`: 3,
	} {
		if got, ok := values[name]; !ok || got != want {
			t.Errorf("%s is %v (there: %v), want %v", name, got, ok, want)
		}
	}
}
