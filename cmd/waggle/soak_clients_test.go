//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// mix are the clients of a soak, and what they have done.
type mix struct {
	*server
	jobs, complete, cancelled, paused, busy, watchers, sockets, deaf, bad atomic.Int64
	last                                                                  atomic.Pointer[string] // the newest job
}

func (m *mix) String() string {
	return fmt.Sprintf("%d jobs, %d watchers, %d sockets", m.jobs.Load(), m.watchers.Load(), m.sockets.Load())
}

func (m *mix) report() {
	fmt.Printf("%d jobs: %d complete, %d cancelled, %d paused and resumed; %d refused as the queue was full\n", m.jobs.Load(), m.complete.Load(), m.cancelled.Load(), m.paused.Load(), m.busy.Load())
	fmt.Printf("%d watchers that came and went, %d sockets, %d that never read, %d mistakes\n", m.watchers.Load(), m.sockets.Load(), m.deaf.Load(), m.bad.Load())
	if m.complete.Load() == 0 || m.watchers.Load() == 0 || m.sockets.Load() == 0 || m.bad.Load() == 0 {
		m.Errorf("a kind of client did nothing")
	}
}

// clients are all that go on beside one another, until their context ends.
func (m *mix) clients() []func(context.Context, *rand.Rand) {
	every := func(pause time.Duration, do func(context.Context, *rand.Rand)) func(context.Context, *rand.Rand) {
		return func(ctx context.Context, rng *rand.Rand) {
			for sleep(ctx, time.Duration(rng.Int64N(int64(2*pause)))) {
				do(ctx, rng)
			}
		}
	}
	list := []func(context.Context, *rand.Rand){
		every(500*time.Millisecond, m.worker), every(500*time.Millisecond, m.worker), every(time.Second, m.worker),
		every(200*time.Millisecond, m.mistake),
	}
	for range 8 {
		list = append(list, every(300*time.Millisecond, m.watcher), every(500*time.Millisecond, m.socketeer))
	}
	for range 4 {
		list = append(list, every(time.Second, m.silent))
	}
	return list
}

// sleep reports false when ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func (m *mix) pause(ctx context.Context, rng *rand.Rand, most time.Duration) {
	sleep(ctx, time.Duration(rng.Int64N(int64(most))))
}

// call makes a request that the server must answer.
func (m *mix) call(method, path string, body any) answer {
	var data []byte
	if body != nil {
		data, _ = json.Marshal(body)
	}
	a, err := m.reach(method, path, data)
	if err != nil {
		m.Errorf("%s %s: %v", method, path, err)
	}
	if a.status == http.StatusInternalServerError {
		m.Errorf("%s %s: %d %s", method, path, a.status, a.body)
	}
	return a
}

// worker submits a job and sees it to its end; some it cancels, some it pauses for a while.
func (m *mix) worker(ctx context.Context, rng *rand.Rand) {
	samplers := []string{"ddim", "euler_ancestral", "dpmpp_2m_sde", "dpmpp_2m"}
	f := star(fields{"steps": 2 + rng.IntN(10), "sampler": samplers[rng.IntN(len(samplers))], "seed": rng.IntN(1000), "priority": []string{"high", "normal", "low"}[rng.IntN(3)]})
	if rng.IntN(10) == 0 {
		f["batch"] = 2
	}
	a := m.call(http.MethodPost, "/v1/jobs", f)
	var taken struct {
		JobID string `json:"job_id"`
	}
	if a.status == http.StatusServiceUnavailable {
		m.busy.Add(1)
		return
	}
	if a.status != http.StatusOK || json.Unmarshal(a.body, &taken) != nil {
		m.Errorf("a job was refused: %d %s", a.status, a.body)
		return
	}
	m.jobs.Add(1)
	m.last.Store(&taken.JobID)
	path := "/v1/jobs/" + taken.JobID
	switch rng.IntN(8) {
	case 0:
		m.pause(ctx, rng, time.Second)
		m.call(http.MethodDelete, path, nil)
	case 1:
		m.pause(ctx, rng, time.Second)
		if m.call(http.MethodPost, path+"/pause", fields{}).status == http.StatusOK {
			m.paused.Add(1)
		}
		m.pause(ctx, rng, 2*time.Second)
		m.call(http.MethodPost, path+"/resume", fields{})
	}
	m.await(path)
}

// await waits for the end of a job, which must come.
func (m *mix) await(path string) {
	end := ""
	err := m.hear(path+"/stream", 0, func(e placedEvent) bool {
		end = e.Type
		if e.Type == "error" && e.Message != "Job cancelled by user" {
			m.Errorf("%s failed: %s", path, e.Message)
		}
		return e.Type != "complete" && e.Type != "error"
	})
	switch {
	case err != nil || end != "complete" && end != "error":
		m.Errorf("the stream of %s ended in %q, %v", path, end, err)
	case end == "complete":
		m.complete.Add(1)
		m.call(http.MethodGet, path+"/image?thumb=64", nil)
	default:
		m.cancelled.Add(1)
	}
}

func (m *mix) newest() string {
	if id := m.last.Load(); id != nil {
		return *id
	}
	return "none"
}

// watcher follows the newest job for a few events and goes away.
func (m *mix) watcher(_ context.Context, rng *rand.Rand) {
	m.watchers.Add(1)
	left := rng.IntN(12)
	_ = m.hear("/v1/jobs/"+m.newest()+"/stream", 0, func(placedEvent) bool { // a job may be forgotten meanwhile
		left--
		return left > 0
	})
}

// socketeer opens a WebSocket, says a few things, sensible and other, reads a while and goes, politely or not.
func (m *mix) socketeer(ctx context.Context, rng *rand.Rand) {
	conn := m.dial()
	if conn == nil {
		return
	}
	defer conn.Close()
	m.sockets.Add(1)
	for range rng.IntN(6) {
		text := []string{
			`{"type":"subscribe","job":"` + m.newest() + `","preview":"latent"}`, `{"type":"subscribe","job":"*"}`, `{"type":"ping","ref":1}`,
			`{"type":"subscribe","job":"` + m.newest() + `","preview":"png","after":2}`, `{"type":"unsubscribe","job":"` + m.newest() + `"}`,
			`{"type":"cancel","job":"none"}`, `{"type":"submit","operation":"image_generation"}`, `{"type":`, `[]`, strings.Repeat("[", 5000),
		}[rng.IntN(10)]
		if conn.WriteMessage(websocket.TextMessage, []byte(text)) != nil {
			return
		}
	}
	conn.SetReadDeadline(time.Now().Add(time.Duration(rng.IntN(1500)) * time.Millisecond))
	for ctx.Err() == nil {
		if _, _, err := conn.ReadMessage(); err != nil {
			break
		}
	}
	if rng.IntN(2) == 0 {
		conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
	}
}

func (m *mix) dial() *websocket.Conn {
	conn, _, err := websocket.DefaultDialer.Dial(strings.Replace(m.url, "http", "ws", 1)+"/v1/ws", nil)
	if err != nil {
		m.Errorf("open a socket: %v", err)
	}
	return conn
}

// silent asks for a stream, or for all states on a socket, and never reads.
func (m *mix) silent(ctx context.Context, rng *rand.Rand) {
	m.deaf.Add(1)
	if rng.IntN(2) == 0 {
		conn := m.dial()
		if conn == nil {
			return
		}
		defer conn.Close()
		_ = conn.WriteMessage(websocket.TextMessage, []byte(`{"type":"subscribe","job":"*"}`))
		m.pause(ctx, rng, 40*time.Second)
		return
	}
	where, err := url.Parse(m.url)
	if err != nil {
		return
	}
	conn, err := net.Dial("tcp", where.Host)
	if err != nil {
		m.Errorf("connect: %v", err)
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /v1/jobs/%s/stream HTTP/1.1\r\nHost: localhost\r\n\r\n", m.newest())
	m.pause(ctx, rng, 40*time.Second)
}

// mistake sends what no server should be sent.
func (m *mix) mistake(_ context.Context, rng *rand.Rand) {
	m.bad.Add(1)
	row := []struct {
		method, path string
		body         any
	}{
		{"POST", "/v1/jobs", "not an operation"}, {"POST", "/v1/jobs", star(fields{"steps": 1e9})}, {"POST", "/v1/jobs", star(fields{"sampler": "blah"})},
		{"POST", "/v1/jobs", star(fields{"prompt": strings.Repeat("star ", 20000)})}, {"GET", "/v1/jobs/none/stream", nil}, {"DELETE", "/v1/jobs/none", nil},
		{"POST", "/v1/jobs/none/pause", fields{}}, {"GET", "/v1/jobs?limit=-1", nil}, {"PUT", "/v1/jobs", fields{}}, {"GET", "/v1/jobs/" + m.newest() + "/image/99", nil},
		{"POST", "/v1/tokenize", fields{"text": 7}}, {"GET", "/v1/jobs?limit=500", nil}, {"GET", "/static/none", nil},
	}[rng.IntN(13)]
	m.call(row.method, row.path, row.body)
}
