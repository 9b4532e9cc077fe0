//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"waggle/internal/builtin"
)

// sharedWorker is a worker that checks share, as to start one takes longer than most of them. The first that needs it starts it.
var sharedWorker = sync.OnceValues(func() (*server, error) { return startShared(filepath.Dir(program)) })

// startShared starts a worker that keeps its data in a folder. Beside its own model it offers one called broken, which is none.
func startShared(dir string) (*server, error) {
	models := filepath.Join(dir, "models")
	if err := os.Mkdir(models, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(models, "broken.safetensors"), []byte("not a model at all"), 0o644); err != nil {
		return nil, err
	}
	c := exec.Command(program, "serve", "--port", "0", "--worker-id", "worker-cpu-1", "--model", builtin.Name, "--models", models,
		"--data", filepath.Join(dir, "data"))
	c.Env = cleanEnviron()
	s, first, err := spawn(c)
	if err != nil {
		return nil, err
	}
	atEnd = append(atEnd, s.end)
	line := <-first
	found := announced.FindStringSubmatch(line)
	if found == nil {
		return nil, fmt.Errorf("the shared worker's first line is %q:\n%s", line, s.log)
	}
	s.url = found[1]
	return s, nil
}

// aWorker is the shared worker, once it can draw, reporting to this test.
func aWorker(t *testing.T) *server {
	t.Helper()
	if os.Getenv("NO_GPU") == "1" {
		leaveOut(t, "NO_GPU=1: there is no adapter to draw with")
	}
	shared, err := sharedWorker()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the shared worker's log:\n%s", clipped(shared.log.String()))
		}
	})
	s := &server{TB: t, url: shared.url, cmd: shared.cmd}
	s.ready()
	return s
}

// lamp is a job as the checks mean one, where they say nothing else.
func lamp(more fields) fields {
	f := fields{"operation": "image_generation", "hive_id": "localhost", "model": builtin.Name, "prompt": "a lighthouse",
		"width": 256, "height": 256, "steps": 4, "seed": 1}
	for name, value := range more {
		f[name] = value
	}
	return f
}

func TestCheck01Health(t *testing.T) {
	check(t, rbee, "GET /health: 200, healthy, and when")
	var health struct{ Status, Timestamp string }
	status := aWorker(t).get("/health", &health)
	if _, err := time.Parse(time.RFC3339, health.Timestamp); err != nil || status != http.StatusOK || health.Status != "healthy" {
		t.Errorf("%d, %+v, %v", status, health, err)
	}
}

// readiness is what GET /ready answers.
type readiness struct {
	Ready  bool
	Reason string
}

func TestCheck02Ready(t *testing.T) {
	check(t, both, "GET /ready: 200 with a model; 503 model loading before, while /health is 200")
	var state readiness
	if status := aWorker(t).get("/ready", &state); status != http.StatusOK || !state.Ready {
		t.Errorf("with the model loaded: %d, %+v", status, state)
	}
	s := startServer(t, "serve", "--port", "0", "--model", slowModel(t))
	if status := s.get("/ready", &state); status != http.StatusServiceUnavailable || state.Ready || state.Reason != "model loading" {
		t.Errorf("right after the start: %d, %+v", status, state)
	}
	if a := s.ask(http.MethodGet, "/health", nil); a.status != http.StatusOK {
		t.Errorf("GET /health while the model is loading: %d %s", a.status, a.body)
	}
	s.ready()
}

// slowModel is the built-in model with a vocabulary that takes its time to be read. The words more are never used.
func slowModel(t *testing.T) string {
	t.Helper()
	dir := builtinCopy(t)
	path := filepath.Join(dir, "tokenizer", "vocab.json")
	var ids map[string]int
	if err := json.Unmarshal(readFile(t, path), &ids); err != nil {
		t.Fatal(err)
	}
	for id := len(ids); id < 300_000; id++ {
		ids[fmt.Sprint("word", id)] = id
	}
	text, err := json.Marshal(ids)
	if err == nil {
		err = os.WriteFile(path, text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCheck03Root(t *testing.T) {
	check(t, ours, "GET /: 2xx within 1 s of the start")
	s := startServer(t, "serve", "--port", "0", "--model", slowModel(t)) // it is not waited for
	a := s.ask(http.MethodGet, "/", nil)
	if took := time.Since(s.began); a.status/100 != 2 || took > within(time.Second) {
		t.Errorf("%d, %v after the start", a.status, took)
	}
}

func TestCheck04Info(t *testing.T) {
	check(t, ours, "GET /info: id, model_id and port as they were given, a state that exists")
	s := aWorker(t)
	var info struct {
		ID      string
		ModelID string `json:"model_id"`
		Port    int
		Status  string
	}
	if status := s.get("/info", &info); status != http.StatusOK || info.ID != "worker-cpu-1" || info.ModelID != builtin.Name || !strings.HasSuffix(s.url, fmt.Sprint(":", info.Port)) {
		t.Errorf("GET %s/info: %d, %+v", s.url, status, info)
	}
	switch info.Status {
	case "starting", "ready", "busy", "stopping", "stopped":
	default:
		t.Errorf("status %q", info.Status)
	}
}

func TestCheck28HiveArguments(t *testing.T) {
	check(t, ours, "a hive's list of arguments starts a worker; --model stands by itself in /proc")
	if _, err := os.Stat("/proc/self/cmdline"); err != nil {
		leaveOut(t, "this system has no /proc")
	}
	port := freePort(t)
	id := "worker-cpu-" + port
	c := command(t, "--worker-id", id, "--model", builtin.Name, "--device", "0", "--port", port, "--queen-url", "http://localhost:"+freePort(t))
	c.Path = filepath.Join(t.TempDir(), id) // hives look for a program of that name
	if err := os.Symlink(program, c.Path); err != nil {
		t.Fatal(err)
	}
	s := startCommand(t, c)
	if a := s.ask(http.MethodGet, "/", nil); a.status/100 != 2 || !strings.HasSuffix(s.url, ":"+port) {
		t.Errorf("GET %s/: %d", s.url, a.status)
	}
	line := strings.Split(string(readFile(t, fmt.Sprintf("/proc/%d/cmdline", s.cmd.Process.Pid))), "\x00")
	if at := slices.Index(line, "--model"); at < 0 || line[at+1] != builtin.Name {
		t.Errorf("the command line is %q", line)
	}
}

func TestCheck29WorkerArguments(t *testing.T) {
	check(t, ours, "an rbee worker's list of arguments is taken; without the model: /health 200, /ready 503")
	port := freePort(t)
	s := startServer(t, "--worker-id", "w", "--sd-version", "v1-5", "--port", port, "--callback-url", "http://127.0.0.1:9")
	if a := s.ask(http.MethodGet, "/health", nil); a.status != http.StatusOK || !strings.HasSuffix(s.url, ":"+port) {
		t.Errorf("GET %s/health: %d %s", s.url, a.status, a.body)
	}
	var state readiness
	for state.Reason == "" || state.Reason == "model loading" { // until it knows that the model is missing
		if status := s.get("/ready", &state); status != http.StatusServiceUnavailable || state.Ready {
			t.Fatalf("GET /ready: %d, %+v", status, state)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// freePort is a port that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}
