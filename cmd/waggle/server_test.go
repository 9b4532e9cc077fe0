//go:build unix

package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// server is the real program serving, and a client that knows nothing but HTTP.
type server struct {
	testing.TB
	url   string
	token string
	trust *tls.Config // of a client, for https
	cmd   *exec.Cmd
	log   *safeBuffer
	began time.Time
	ended chan error
	once  sync.Once
}

// safeBuffer may be read while a process writes to it.
type safeBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

var announced = regexp.MustCompile(`is at (https?://\S+)`)

// startServer runs the program with the arguments given and waits for the line that says where it is.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	return startCommand(t, command(t, args...))
}

func startCommand(t testing.TB, c *exec.Cmd) *server {
	t.Helper()
	s, first := launch(t, c)
	s.up(<-first)
	return s
}

// launch starts a server and does not wait for its first line.
func launch(t testing.TB, c *exec.Cmd) (*server, <-chan string) {
	t.Helper()
	s, first, err := spawn(c)
	if err != nil {
		t.Fatal(err)
	}
	s.TB = t
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("the server's log:\n%s", clipped(s.log.String()))
		}
	})
	return s, first
}

// spawn starts a server's process. Its first line comes when it is written, empty if there is none.
func spawn(c *exec.Cmd) (*server, <-chan string, error) {
	s := &server{cmd: c, log: new(safeBuffer), began: time.Now(), ended: make(chan error, 1)}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	c.Stderr = s.log
	if err := c.Start(); err != nil {
		return nil, nil, err
	}
	first := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		first <- line
		s.ended <- c.Wait()
	}()
	return s, first, nil
}

// up takes the address from a server's first line.
func (s *server) up(first string) {
	s.Helper()
	found := announced.FindStringSubmatch(first)
	if found == nil {
		s.Fatalf("the first line is %q, standard error:\n%s", first, s.log)
	}
	s.url = found[1]
}

// stopLimit is how soon after SIGTERM a worker must be gone, on a machine that does much else. Of a worker with the machine
// to itself 2 s are asked, after which orchestrators send SIGKILL: make chaos looks at that.
const stopLimit = 10 * time.Second

// stop ends the server as orchestrators do and checks that it goes in time and in peace. It returns how long that took.
func (s *server) stop() (took time.Duration) {
	s.once.Do(func() {
		began := time.Now()
		if err := s.end(); err != nil {
			s.Error(err)
		}
		took = time.Since(began)
	})
	return took
}

// end ends the process and says what was wrong with it. One that does not go is asked for the stacks of its goroutines.
func (s *server) end() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself, which Wait tells
	select {
	case err := <-s.ended:
		if err != nil {
			return fmt.Errorf("ended after SIGTERM: %w", err)
		}
	case <-time.After(stopLimit):
		s.cmd.Process.Signal(syscall.SIGQUIT)
		select {
		case <-s.ended:
		case <-time.After(stopLimit):
			s.cmd.Process.Kill()
		}
		return fmt.Errorf("not gone within %v of SIGTERM:\n%s", stopLimit, s.log)
	}
	if text := s.log.String(); strings.Contains(text, "panic") || strings.Contains(text, "DATA RACE") {
		return fmt.Errorf("the log tells of trouble:\n%s", clipped(text))
	}
	return nil
}

// client is for requests; one that trusts somebody does not keep connections.
func (s *server) client() *http.Client {
	if s.trust == nil {
		return http.DefaultClient
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: s.trust.Clone(), ForceAttemptHTTP2: true, DisableKeepAlives: true}}
}

// freeAddress is one that nobody listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// answer is a whole answer of the server.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// ask makes a request, which must be answered; body may be nil.
func (s *server) ask(method, path string, body []byte) answer {
	s.Helper()
	a, err := s.reach(method, path, body)
	if err != nil {
		s.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// reach makes a request to a server that may not be there.
func (s *server) reach(method, path string, body []byte) (answer, error) {
	r, err := http.NewRequestWithContext(s.Context(), method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	return s.do(r)
}

// do makes a request with headers of its own.
func (s *server) do(r *http.Request) (answer, error) {
	if s.token != "" {
		r.Header.Set("Authorization", "Bearer "+s.token)
	}
	response, err := s.client().Do(r)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, data}, err
}

// get asks for a JSON object.
func (s *server) get(path string, into any) int {
	s.Helper()
	a := s.ask(http.MethodGet, path, nil)
	if err := json.Unmarshal(a.body, into); err != nil {
		s.Fatalf("GET %s: %d %q: %v", path, a.status, a.body, err)
	}
	return a.status
}

// ready waits until the server can draw.
func (s *server) ready() {
	s.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		var state struct {
			Ready  bool
			Reason string
		}
		status := s.get("/ready", &state)
		if status == http.StatusOK && state.Ready {
			return
		}
		if status != http.StatusServiceUnavailable || state.Ready || state.Reason != "model loading" {
			s.Fatalf("GET /ready while loading: %d, %+v", status, state)
		}
		if time.Now().After(deadline) {
			s.Fatal("not ready within a minute")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// fields are members of a request.
type fields map[string]any

// star is a request for a picture that the checker can judge.
func star(more fields) fields {
	f := fields{"operation": "image_generation", "hive_id": "localhost", "model": "tiny-shapes", "prompt": starPrompt,
		"width": 128, "height": 128, "guidance_scale": 5, "sampler": "ddim", "seed": 3}
	for name, value := range more {
		f[name] = value
	}
	return f
}

// post submits a job, which must be taken.
func (s *server) post(f fields) (id, stream string) {
	s.Helper()
	a := s.try(f)
	var taken struct {
		JobID  string `json:"job_id"`
		SSEURL string `json:"sse_url"`
	}
	if err := json.Unmarshal(a.body, &taken); err != nil || a.status != http.StatusOK || taken.SSEURL != "/v1/jobs/"+taken.JobID+"/stream" {
		s.Fatalf("POST /v1/jobs: %d %q, %v", a.status, a.body, err)
	}
	return taken.JobID, taken.SSEURL
}

func (s *server) try(f fields) answer {
	s.Helper()
	body, err := json.Marshal(f)
	if err != nil {
		s.Fatal(err)
	}
	return s.ask(http.MethodPost, "/v1/jobs", body)
}

// event is one of a stream.
type event struct {
	Type    string
	Step    int
	Total   int
	Percent float64
	Image   []byte // base64 in JSON
	Format  string
	Message string
	State   string
	Seed    *uint64
}

// follow reads a stream to its end, calling on for every event, and returns the events and the end marker.
func (s *server) follow(stream string, on func(event)) (list []event, marker string) {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), http.MethodGet, s.url+stream, nil)
	if err != nil {
		s.Fatal(err)
	}
	response, err := s.client().Do(r)
	if err != nil {
		s.Fatal(err)
	}
	defer response.Body.Close()
	if kind := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || !strings.HasPrefix(kind, "text/event-stream") {
		s.Fatalf("GET %s: %d, %s", stream, response.StatusCode, kind)
	}
	name := ""
	lines := bufio.NewReader(response.Body)
	for {
		text, err := lines.ReadString('\n')
		if err != nil {
			return list, marker // the connection closes when all is said
		}
		key, value, _ := strings.Cut(strings.TrimSuffix(text, "\n"), ": ")
		switch {
		case key == "event":
			name = value
		case key == "data" && name == "":
			marker = value
		case key == "data":
			var e event
			if err := json.Unmarshal([]byte(value), &e); err != nil || e.Type != name {
				s.Fatalf("event %s: %.200s: %v", name, value, err)
			}
			list, name = append(list, e), ""
			if on != nil {
				on(e)
			}
		}
	}
}

// finished follows a job that must give a picture.
func (s *server) finished(stream string) []byte {
	s.Helper()
	list, marker := s.follow(stream, nil)
	if len(list) == 0 || list[len(list)-1].Type != "complete" || marker != "[DONE]" {
		s.Fatalf("the stream ended in %.300s, marker %q", fmt.Sprintf("%+v", list), marker)
	}
	return list[len(list)-1].Image
}
