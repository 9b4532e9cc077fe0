package web

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
)

// sampleFleet is a fleet with one row of every kind.
func sampleFleet() Fleet {
	return Fleet{
		Time: time.Date(2025, 11, 14, 20, 0, 0, 0, time.UTC),
		Hives: []FleetHive{
			{ID: "garden", URL: "http://10.0.0.5:7835", Online: true, For: 3 * time.Hour, Workers: 2},
			{ID: "shed", URL: "http://10.0.0.6:7835", For: 70 * time.Second, Problem: "dial tcp 10.0.0.6:7835: connection refused"},
		},
		Workers: []FleetWorker{
			{Names: []string{"llm-8080", "worker-cuda-8080"}, Hive: "garden", URL: "http://10.0.0.5:8080", Models: []string{"tiny-shapes"}, Device: "GPU-0",
				State: "busy", GPUPercent: 87.5, MemoryMiB: 9216, MemoryMax: 24576, Jobs: 2},
			{Names: []string{"llm-8081"}, Hive: "garden", URL: "http://10.0.0.5:8081", Models: []string{"sd-turbo"}, State: "idle", MemoryMax: 24576},
			{Names: []string{"bee"}, URL: "http://localhost:8080", Models: []string{`<b>"x"</b>`}, State: "starting"},
		},
		Cluster: &FleetCluster{Nodes: []FleetNode{
			{ID: "bee-1", Device: "llvmpipe", State: "busy", Models: []string{"tiny-shapes", "sd-turbo"}, Running: 2, Waiting: 5, For: 26 * time.Hour},
			{ID: "bee-2", State: "starting"},
		}},
		Jobs: []FleetJob{
			{ID: "job-4", Operation: "image_generation", Model: "tiny-shapes", State: "running", Worker: "llm-8080", Step: 7, Total: 20, For: 4 * time.Second},
			{ID: "job-5", Operation: "image_generation", Model: "tiny-shapes", State: "queued", InLine: true, For: 3 * time.Second},
			{ID: "job-3", State: "queued", For: 2 * time.Second},
			{ID: "job-2", Operation: "image_transform", Model: "sd-turbo", State: "failed", Worker: "llm-8081", For: time.Second, Message: "Worker returned error 503: full"},
			{ID: "job-1", Operation: "queen_check", State: "complete", For: 1500 * time.Millisecond},
		},
	}
}

// The queen's page as HTML: what a component changes shows as a difference here.
func TestQueenPageHTML(t *testing.T) {
	var html bytes.Buffer
	data := queenData{sampleFleet(), "v0", "/static/0/app.css", "/static/0/queen.css", "/static/0/queen.js", "/static/0/icon.svg"}
	if err := queenPage(data).Render(context.Background(), &html); err != nil {
		t.Fatal(err)
	}
	got := strings.ReplaceAll(html.String(), "><", ">\n<") + "\n"
	const name = "testdata/queen.html"
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the page changed; if that is wanted: go test ./web -run QueenPageHTML -update\n%s", diff)
	}
}

// The page as it is without a script: all there is to see, and nothing that the policy forbids.
func TestQueenPageAlone(t *testing.T) {
	fleet := sampleFleet()
	h := QueenHandler("v0", func() Fleet { return fleet })
	a := get(t, h, "/", "")
	for _, part := range []string{"step 7 of 20", "Worker returned error 503: full", "worker-cuda-8080", "connection refused", "by itself", "9.0 of 24 GiB",
		"1 hive online · 3 workers, 1 idle · 2 nodes · 1 job running", "&lt;b&gt;", "20:00:00"} {
		if !strings.Contains(a.body, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	for _, pattern := range []string{`<style`, ` style=`, ` on[a-z]+=`, `<script[^>]*>[^<]`} {
		if found := regexp.MustCompile(pattern).FindString(a.body); found != "" {
			t.Errorf("the page contains %q", found)
		}
	}
	if a.Header.Get("Content-Security-Policy") != policy || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", a.Header)
	}
	for _, link := range regexp.MustCompile(`(?:href|src)="(/static/[^"]+)"`).FindAllStringSubmatch(a.body, -1) {
		if got := get(t, h, link[1], ""); got.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", link[1], got.Status)
		}
	}
	fleet = Fleet{}
	for _, part := range []string{"No jobs yet", "No workers yet", "No hives yet", "0 hives online"} {
		if body := get(t, h, "/", "").body; !strings.Contains(body, part) {
			t.Errorf("an empty page lacks %q", part)
		}
	}
}

// A crowd does not make an endless page.
func TestQueenPageIsBounded(t *testing.T) {
	var fleet Fleet
	for i := range 10_000 {
		fleet.Workers = append(fleet.Workers, FleetWorker{Names: []string{fmt.Sprint("w", i)}})
		fleet.Jobs = append(fleet.Jobs, FleetJob{ID: fmt.Sprint(i)})
	}
	body := get(t, QueenHandler("v0", func() Fleet { return fleet }), "/", "").body
	if rows := strings.Count(body, "<tr data-state"); rows != fleetRows+jobRows || !strings.Contains(body, "and 9800 more") || !strings.Contains(body, "and 9950 more") {
		t.Errorf("%d rows", rows)
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 0: "0 s", 59 * time.Second: "59 s", 61 * time.Second: "1 min", 59 * time.Minute: "59 min", 25 * time.Hour: "25 h", 49 * time.Hour: "2 days",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) is %q, want %q", d, got, want)
		}
	}
}

// In a browser: the page is live, says when it is not, and comes back.
func TestQueenPageIsLive(t *testing.T) {
	chromium(t)
	q := &watchedQueen{fleet: sampleFleet(), news: make(chan struct{})}
	page := QueenHandler("v0", q.now)
	mux := http.NewServeMux()
	mux.Handle("/", page)
	mux.HandleFunc("GET /favicon.ico", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /v1/heartbeats/stream", q.stream)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	b := blank(t, 1280, 900, server.URL)
	t.Cleanup(q.hangUp)
	b.do(chromedp.Navigate(b.url + "/"))
	b.wait(`document.querySelector('#link').dataset.state === 'open'`)
	b.shoot("light")
	b.scheme("dark")
	b.shoot("dark")
	b.do(chromedp.Evaluate(`window.hives_ = document.querySelector('#hives')`, nil))
	q.change(func(f *Fleet) { f.Jobs[0].Step = 8; f.Workers = f.Workers[:1] })
	b.wait(`document.querySelector('#jobs').textContent.includes('step 8 of 20') && document.querySelectorAll('#workers tbody tr').length === 1`)
	b.wait(`window.hives_ === document.querySelector('#hives')`) // what did not change was left alone
	q.hangUp()
	b.wait(`document.querySelector('#link').dataset.state === 'lost'`)
	b.wait(`document.querySelector('#link').dataset.state === 'open'`) // a browser calls again by itself
	b.do(chromedp.EmulateViewport(360, 740))
	b.shoot("phone")
	b.wait(`document.documentElement.scrollWidth <= 360`)
	b.forgive("ERR_INCOMPLETE_CHUNKED_ENCODING")
}

// watchedQueen is a queen of whom there is nothing but a page and heartbeats.
type watchedQueen struct {
	mu    sync.Mutex
	fleet Fleet
	news  chan struct{} // closed and replaced when there is news, or nothing more to hear
	down  bool
}

func (q *watchedQueen) now() Fleet {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.fleet
}

func (q *watchedQueen) change(f func(*Fleet)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	f(&q.fleet)
	close(q.news)
	q.news = make(chan struct{})
}

// hangUp ends the streams of now.
func (q *watchedQueen) hangUp() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.down = true
	close(q.news)
	q.news = make(chan struct{})
}

func (q *watchedQueen) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	q.mu.Lock()
	q.down = false
	q.mu.Unlock()
	for {
		fmt.Fprint(w, "event: heartbeat\ndata: {\"type\":\"queen\"}\n\n")
		w.(http.Flusher).Flush()
		q.mu.Lock()
		news := q.news
		q.mu.Unlock()
		select {
		case <-news:
		case <-r.Context().Done():
			return
		}
		q.mu.Lock()
		down := q.down
		q.mu.Unlock()
		if down {
			return
		}
	}
}
