//go:build unix

package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"waggle/gpu"
	"waggle/internal/natstest"
)

// fakeQueen takes heartbeats, or does with them what answer does.
type fakeQueen struct {
	*httptest.Server
	mu    sync.Mutex
	beats []fields // the workers in them
	auth  []string
}

func newFakeQueen(t *testing.T, answer http.HandlerFunc) *fakeQueen {
	q := &fakeQueen{}
	q.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var beat struct {
			Worker    fields
			Timestamp time.Time
		}
		if err := json.NewDecoder(r.Body).Decode(&beat); err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/worker-heartbeat" || beat.Timestamp.IsZero() {
			t.Errorf("%s %s: %v, %v", r.Method, r.URL, beat, err)
		}
		q.mu.Lock()
		q.beats, q.auth = append(q.beats, beat.Worker), append(q.auth, r.Header.Get("Authorization"))
		q.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(func() { q.CloseClientConnections(); q.Close() })
	return q
}

func taken(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, `{"status":"ok","message":"heard"}`)
}

func (q *fakeQueen) heard() []fields {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.beats)
}

// TestWorkerOfAHive is started as a hive does it: by a link called after the worker, with what is printed thrown away, and with
// a queen that never answers. The log goes to a file.
func TestWorkerOfAHive(t *testing.T) {
	t.Parallel()
	needAdapter(t)
	hanging := newFakeQueen(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	l.Close() // free for the worker, which must be told a port
	id := "worker-cpu-" + port
	link := filepath.Join(t.TempDir(), id)
	if err := os.Symlink(program, link); err != nil {
		t.Fatal(err)
	}
	info := command(t, "--build-info")
	info.Path = link
	want := map[bool]string{false: "release\n", true: "debug\n"}[raceDetector]
	if o := succeed(t, info); o.out != want || o.err != "" {
		t.Errorf("--build-info: %q, %q, want %q", o.out, o.err, want)
	}

	log := filepath.Join(t.TempDir(), "worker.log")
	c := command(t, "--worker-id", id, "--model", "tiny-shapes", "--device", "0", "--port", port, "--queen-url", hanging.URL, "--log-file", log)
	c.Path, c.Args[0] = link, link
	nobody, broken, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	c.Stdout, c.Stderr = broken, broken
	s := &server{TB: t, cmd: c, url: "http://127.0.0.1:" + port, log: new(safeBuffer), ended: make(chan error, 1)}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	broken.Close()
	go func() { s.ended <- c.Wait() }()
	t.Cleanup(func() { s.stop() })
	eventually(t, time.Minute, "answer of the worker", func() bool {
		a, err := s.reach(http.MethodGet, "/", nil)
		return err == nil && a.status == http.StatusOK
	})
	s.ready()
	if err := c.Process.Signal(syscall.SIGHUP); err != nil { // as those who rotate logs do
		t.Fatal(err)
	}
	_, stream := s.post(star(fields{"steps": 1}))
	s.finished(stream)
	s.stop()
	for _, words := range []string{"model loaded", "job ended"} {
		if text := string(readFile(t, log)); !strings.Contains(text, words) {
			t.Errorf("%q is not in the log:\n%s", words, clipped(text))
		}
	}
	if len(hanging.heard()) == 0 {
		t.Error("the queen that hangs heard nothing")
	}
}

// TestWorkerReports: a queen learns of a worker by itself, gives it jobs by the model's name as its orchestrator wrote it, and
// knows at once when it is gone.
func TestWorkerReports(t *testing.T) {
	t.Parallel()
	needAdapter(t)
	dir := filepath.Join(t.TempDir(), "models")
	if err := os.MkdirAll(filepath.Join(dir, "runwayml"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(builtinCopy(t), filepath.Join(dir, "runwayml", "stable-diffusion-v1-5")); err != nil {
		t.Fatal(err)
	}
	queen := startQueen(t)
	w := startServer(t, "--worker-id", "bee-1", "--sd-version", "V1-5", "--models="+dir, "--port", "0", "--queen-url="+queen.url)
	w.ready()
	var models struct{ Models []struct{ Name string } }
	if w.get("/v1/models", &models); len(models.Models) != 2 || models.Models[0].Name != "runwayml/stable-diffusion-v1-5" {
		t.Errorf("GET /v1/models: %+v", models)
	}
	beats := queen.openStream("/v1/heartbeats/stream")
	workers := func(available int, ids string) func(message) bool {
		return func(m message) bool {
			var beat struct {
				Type      string
				Available int      `json:"workers_available"`
				IDs       []string `json:"worker_ids"`
			}
			return json.Unmarshal([]byte(m.data), &beat) == nil && beat.Type == "queen" && beat.Available == available && strings.Join(beat.IDs, " ") == ids
		}
	}
	await(t, beats, time.Minute, "heartbeat with the worker", workers(1, "bee-1"))
	_, events, marker := parts(t, queen.made(star(fields{"model": "V1-5", "steps": 2, "worker_id": "bee-1"})))
	if marker != "[DONE]" || len(events) == 0 || events[len(events)-1].name != "complete" {
		t.Errorf("a job ended in %s, events %.200s", marker, fmt.Sprint(events))
	}
	w.stop()
	await(t, beats, 10*time.Second, "heartbeat without the worker", workers(0, ""))
}

// TestWorkerByEnvironment starts a worker with hardly a flag, on a NATS cluster.
func TestWorkerByEnvironment(t *testing.T) {
	t.Parallel()
	needAdapter(t)
	queen := newFakeQueen(t, taken)
	c := command(t, "--nats", natstest.StartCluster(t, 1).URLs()[0])
	c.Env = append(c.Env, "WORKER_ID=bee-2", "SD_VERSION=v1-5", "MODEL_PATH="+builtinCopy(t), "PORT=0", "CALLBACK_URL="+queen.URL, "CUDA_DEVICE=0",
		"USE_F16=1", "WAGGLE_QUEEN_TOKEN=wax", "WAGGLE_GPU=")
	s := startCommand(t, c)
	s.ready()
	var info fields
	if s.get("/info", &info); info["id"] != "bee-2" || info["model_id"] != "v1-5" {
		t.Errorf("GET /info: %v", info)
	}
	eventually(t, time.Minute, "heartbeat that says ready", func() bool {
		heard := queen.heard()
		return len(heard) > 0 && heard[len(heard)-1]["status"] == "ready"
	})
	s.stop()
	heard := queen.heard()
	first, last := heard[0], heard[len(heard)-1]
	if first["status"] != "starting" || last["status"] != "stopped" || last["id"] != "bee-2" || last["model_id"] != "v1-5" || !strings.HasSuffix(s.url, fmt.Sprint(":", last["port"])) {
		t.Errorf("the queen heard %v", heard)
	}
	if slices.ContainsFunc(queen.auth, func(a string) bool { return a != "Bearer wax" }) {
		t.Errorf("the queen was shown %q", queen.auth)
	}
	said := s.log.String()
	if !strings.Contains(said, "--use-f16") || strings.Contains(said, "wax") {
		t.Errorf("the log: %s", clipped(said))
	}
	adapters, err := gpu.Adapters()
	if software, hardware := split(adapters); err == nil && len(software) > 0 && strings.Contains(said, "stands in") != (len(hardware) == 0) {
		t.Errorf("with %d hardware adapters the log says: %s", len(hardware), clipped(said))
	}
}

// TestWorkerOfAStranger: where a web page answers in a queen's place, a worker falls silent and works on. What it cannot do
// yet it says in the job's stream.
func TestWorkerOfAStranger(t *testing.T) {
	t.Parallel()
	needAdapter(t)
	page := newFakeQueen(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<!doctype html><title>rbee</title>") })
	s := startServer(t, "--port", "0", "--queen-url", page.URL)
	s.ready()
	picture := base64.StdEncoding.EncodeToString(readFile(t, squarePNG(t)))
	draw := func() {
		_, stream := s.post(star(fields{"steps": 1}))
		s.finished(stream)
	}
	for range 3 {
		draw() // so that there is news
	}
	eventually(t, time.Minute, "word that the worker gives up", func() bool { draw(); return strings.Contains(s.log.String(), "no queen answers there") })
	draw()
	for _, f := range []fields{
		{"operation": "image_transform", "input_image": picture, "strength": 0.5},
		{"operation": "image_transform", "init_image": picture},
		{"operation": "image_inpaint", "init_image": picture, "mask_image": picture},
	} {
		f["hive_id"], f["model"], f["prompt"] = "localhost", "tiny-shapes", starPrompt
		_, stream := s.post(f)
		list := s.reads(stream)
		if len(list) != 2 || list[0].name != "error" || !strings.Contains(list[0].Message, fmt.Sprint(f["operation"])) || list[1].data != "[ERROR] "+list[0].Message {
			t.Errorf("%s ends in %v", f["operation"], list)
		}
	}
	for name, f := range map[string]fields{
		"Failed to load image from memory: input image": {"input_image": picture[:len(picture)/8*4]},
		"Invalid input: strength":                       {"input_image": picture, "strength": 1.5},
		"Failed to decode base64 input image":           {"input_image": "%%%"},
		"Failed to parse operation: missing field":      {"strength": 0.5},
	} {
		f["operation"], f["hive_id"], f["model"], f["prompt"] = "image_transform", "localhost", "tiny-shapes", starPrompt
		s.refuses(s.try(f), name)
	}
	if n := len(page.heard()); n != 3 {
		t.Errorf("the page got %d heartbeats, want 3", n)
	}
}

// squarePNG is a file with a picture.
func squarePNG(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "square.png")
	if err := os.WriteFile(file, noisyPicture(t, 128), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestWorkerFlagErrors: what cannot be is one line on standard error, and in the log file where there is one.
func TestWorkerFlagErrors(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		args, words []string
		code        int
	}{
		"two adapters": {[]string{"--device", "0", "--cuda-device", "1"}, []string{"--device", "--cuda-device"}, exitUsage},
		"ours too":     {[]string{"--gpu", "0", "--device", "0"}, []string{"--gpu", "--device"}, exitUsage},
		"no adapter":   {[]string{"--device", "banana"}, []string{"--device banana", "cuda"}, exitUsage},
		"no queen":     {[]string{"--queen-url", "localhost:7833"}, []string{"--queen-url", "http://host:7833"}, exitUsage},
		"no log":       {[]string{"--log-file", "/nonexistent/waggle.log"}, []string{"--log-file", "/nonexistent"}, exitFailed},
		"no authority": {[]string{"--port", "0", "--queen-url", "https://localhost", "--ca", "/nonexistent"}, []string{"--ca", "/nonexistent"}, exitFailed},
	} {
		t.Run(name, func(t *testing.T) { fail(t, command(t, row.args...), row.code, row.words...) })
	}
	log := filepath.Join(t.TempDir(), "worker.log")
	fail(t, command(t, "--port", "65536", "--log-file", log), exitFailed, "--port 65536")
	if text := string(readFile(t, log)); !strings.Contains(text, "--port 65536") {
		t.Errorf("the log file: %q", text)
	}
}
