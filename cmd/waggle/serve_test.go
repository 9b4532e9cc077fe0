//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"waggle/internal/builtin"
)

// TestServe is one server's life: what a client sees of it from start to end.
func TestServe(t *testing.T) {
	needAdapter(t)
	s := startServer(t, "serve", "--port", "0", "--worker-id", "bee-1")
	s.ready()
	for _, step := range []struct {
		name string
		run  func(*testing.T, *server)
	}{
		{"models", testModels}, {"picture", testPicture}, {"document", testDocument}, {"bad requests", testRequests},
		{"tokens while drawing", testTokens}, {"socket", testSocket}, {"memory", testMemory},
	} {
		t.Run(step.name, func(t *testing.T) {
			step.run(t, &server{TB: t, url: s.url, cmd: s.cmd}) // reports to this test
		})
	}
	testStop(t, s)
}

func testModels(t *testing.T, s *server) {
	if a := s.ask(http.MethodGet, "/", nil); !bytes.Contains(a.body, []byte("<html")) {
		t.Errorf("GET /: %d, %.100q", a.status, a.body)
	}
	var models struct {
		Models []struct {
			Name     string
			Defaults struct{ Width, Steps int }
		}
	}
	if s.get("/v1/models", &models); len(models.Models) != 1 || models.Models[0].Name != builtin.Name || models.Models[0].Defaults.Width != builtin.Side {
		t.Errorf("GET /v1/models: %+v", models)
	}
}

// testPicture: the picture shows what was asked for, can be fetched, and is the command line's.
func testPicture(t *testing.T, s *server) {
	id, stream := s.post(star(fields{"steps": 20}))
	file := s.finished(stream)
	scene, _ := builtin.ParsePrompt(starPrompt)
	if verdict, err := builtin.Check(decoded(t, file), scene); err != nil || !verdict.Right() {
		t.Errorf("the picture of %q: %v, %v", starPrompt, verdict, err)
	}
	fetched := s.ask(http.MethodGet, "/v1/jobs/"+id+"/image", nil)
	if fetched.status != http.StatusOK || !bytes.Equal(fetched.body, file) || fetched.header.Get("Content-Type") != "image/png" {
		t.Errorf("GET image: %d, %q, %d bytes", fetched.status, fetched.header.Get("Content-Type"), len(fetched.body))
	}
	if local := generate(t, argsOf(parametersOf(t, file))...); builtin.Difference(decoded(t, local), decoded(t, file)) != 0 {
		t.Error("the command line makes another picture of the same parameters")
	}
}

func testRequests(t *testing.T, s *server) {
	for name, row := range map[string]struct {
		change fields
		begins string
	}{
		"steps a fraction": {fields{"steps": 1.5}, "Failed to parse operation: "},
		"width":            {fields{"width": 132}, "Invalid input: width"},
		"1 MB prompt":      {fields{"prompt": strings.Repeat("a", 1<<20)}, "Invalid input: Prompt too long"},
		"5000 tokens":      {fields{"prompt": strings.Repeat("?!", 2500)}, "Invalid input: Prompt too long: 5000 > 1200"},
		"long negative":    {fields{"negative_prompt": strings.Repeat("?!", 2500)}, "Invalid input: Negative prompt too long: 5000 > 1200"},
		"unknown sampler":  {fields{"sampler": "blah"}, `Invalid input: unknown sampler "blah"; there are euler`},
		"unknown schedule": {fields{"schedule": "blah"}, `Invalid input: unknown schedule "blah"; there are normal`},
		"bad id":           {fields{"id": "../x"}, "Invalid input: id"},
	} {
		t.Run(name, func(t *testing.T) {
			if a := s.try(star(row.change)); a.status != http.StatusBadRequest || !strings.HasPrefix(string(a.body), row.begins) {
				t.Errorf("got %d %.200q, want 400 %q…", a.status, a.body, row.begins)
			}
		})
	}
	if a := s.ask(http.MethodGet, "/v1/jobs/none/image", nil); a.status != http.StatusNotFound {
		t.Errorf("GET of a picture that is not there: %d %q", a.status, a.body)
	}
}

// testTokens counts tokens from many sides while a picture is drawn.
func testTokens(t *testing.T, s *server) {
	_, stream := s.post(star(fields{"steps": 30}))
	var askers sync.WaitGroup
	for i := range 4 {
		askers.Add(1)
		go func() {
			defer askers.Done()
			for range 5 {
				text := strings.Repeat("star ", i+1)
				body, _ := json.Marshal(map[string]string{"model": builtin.Name, "text": text})
				var tokens struct {
					Count  int
					Pieces []string
				}
				a := s.ask(http.MethodPost, "/v1/tokenize", body)
				if json.Unmarshal(a.body, &tokens) != nil || a.status != http.StatusOK || tokens.Count != i+1 || tokens.Pieces[0] != "star" {
					t.Errorf("POST /v1/tokenize %q: %d %s", text, a.status, a.body)
				}
			}
		}()
	}
	s.finished(stream)
	askers.Wait()
}

// testSocket counts distinct latents that a client sees while a picture forms.
func testSocket(t *testing.T, s *server) {
	where, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	conn, _, err := websocket.DefaultDialer.DialContext(t.Context(), "ws://"+where.Host+"/v1/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	id, _ := s.post(star(fields{"steps": 20, "seed": 8}))
	if err := conn.WriteJSON(map[string]any{"type": "subscribe", "job": id, "preview": "latent"}); err != nil {
		t.Fatal(err)
	}
	latents := map[string]bool{}
	for {
		kind, data, err := conn.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		if kind == websocket.BinaryMessage {
			head := 12 + (len(id)+3)/4*4
			if payload := 2 * 4 * 16 * 16; len(data) != head+payload || data[0] != 1 || data[1] != 1 || string(data[12:12+len(id)]) != id {
				t.Fatalf("a frame of %d bytes: % x", len(data), data[:min(12, len(data))])
			}
			latents[string(data[head:])] = true
			continue
		}
		if bytes.Contains(data, []byte(`"complete"`)) {
			break
		}
	}
	if len(latents) < 5 {
		t.Errorf("%d distinct latents, want 5 or more", len(latents))
	}
}

// testMemory: an idle server holds no more than its model and the kernels' programs.
func testMemory(t *testing.T, s *server) {
	if runtime.GOOS != "linux" || raceDetector {
		t.Skip("not measured here")
	}
	time.Sleep(time.Second) // what finished jobs leave is given back
	status := readFile(t, fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	for text := range strings.Lines(string(status)) {
		var kib int
		if n, _ := fmt.Sscanf(text, "VmRSS: %d kB", &kib); n == 1 {
			t.Logf("idle: %d MB resident", kib>>10)
			if kib > 300<<10 {
				t.Errorf("idle: %d MB resident, want under 300", kib>>10)
			}
			return
		}
	}
	t.Errorf("no VmRSS in\n%s", status)
}

// testStop ends the server in mid-picture. Its port is free again at once.
func testStop(t *testing.T, s *server) {
	_, stream := s.post(star(fields{"steps": 150}))
	list, marker := s.follow(stream, func(e event) {
		if e.Step == 2 {
			s.stop()
		}
	})
	if marker != "" || list[len(list)-1].Type == "complete" || list[len(list)-1].Type == "error" {
		t.Errorf("a job that could go on was ended: %+v, %q", list[len(list)-1].Type, marker)
	}
	where, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	next := startServer(t, "serve", "--port", where.Port())
	if next.url != s.url {
		t.Errorf("the next server is at %s, the first was at %s", next.url, s.url)
	}
}

// TestServeMissingModel: a worker without its model is alive and says what it lacks.
func TestServeMissingModel(t *testing.T) {
	t.Parallel()
	broken := builtinCopy(t)
	setMember(t, broken+"/unet/config.json", "attention_head_dim", 7)
	for name, row := range map[string]struct{ model, kind, reason string }{
		"missing": {"tiny-shape", "model_not_found", "tiny-shapes"},
		"damaged": {broken, "model_invalid", "attention_head_dim"},
	} {
		t.Run(name, func(t *testing.T) {
			needAdapter(t)
			s := startServer(t, "serve", "--port", "0", "--model", row.model)
			var state struct {
				Ready  bool
				Reason string
			}
			for state.Reason == "" || state.Reason == "model loading" {
				if status := s.get("/ready", &state); status != http.StatusServiceUnavailable {
					t.Fatalf("GET /ready: %d", status)
				}
				time.Sleep(5 * time.Millisecond)
			}
			if state.Ready || !strings.Contains(state.Reason, row.reason) || strings.Contains(state.Reason, "\n") {
				t.Errorf("GET /ready: %+v", state)
			}
			if a := s.ask(http.MethodGet, "/health", nil); a.status != http.StatusOK {
				t.Errorf("GET /health: %d", a.status)
			}
			id, stream := s.post(star(fields{"model": "the-servers-own"}))
			list, marker := s.follow(stream, nil)
			if last := list[len(list)-1]; len(list) != 2 || last.Type != "error" || !strings.Contains(last.Message, row.reason) || !strings.HasPrefix(marker, "[ERROR] ") {
				t.Errorf("the stream: %+v, %q", list, marker)
			}
			var record struct{ State, Kind string }
			if s.get("/v1/jobs/"+id, &record); record.State != "failed" || record.Kind != row.kind {
				t.Errorf("the record: %+v, want kind %s", record, row.kind)
			}
			_, stream = s.post(star(fields{"model": builtin.Name, "steps": 1}))
			s.finished(stream) // other models can be used
		})
	}
}

// TestServeAsWorker starts the program as an orchestrator does: flags, no verb, several of one user.
func TestServeAsWorker(t *testing.T) {
	t.Parallel()
	first := command(t, "--worker-id", "worker-cpu-8080", "--model", builtin.Name, "--port", "0")
	s := startCommand(t, first)
	for _, id := range []string{"worker-cpu-8081", "../w/ä"} {
		other := command(t, "--worker-id", id, "--model", builtin.Name, "--port", "0")
		other.Env = first.Env
		startCommand(t, other)
	}
	again := command(t, "--worker-id", "worker-cpu-8080", "--model", builtin.Name, "--port", "0")
	again.Env = first.Env
	fail(t, again, exitFailed, "in use", "worker-cpu-8080")
	var info struct{ ID string }
	if s.get("/info", &info); info.ID != "worker-cpu-8080" {
		t.Errorf("GET /info: %+v", info)
	}
}

func TestServeToken(t *testing.T) {
	t.Parallel()
	byFlag := command(t, "serve", "--port", "0", "--bind", "0.0.0.0", "--token", "s3cret")
	byVariable := command(t, "serve", "--port", "0")
	byVariable.Env = append(byVariable.Env, "LLORCH_API_TOKEN=s3cret")
	withComma := command(t, "serve", "--port", "0")
	withComma.Env = append(withComma.Env, "WAGGLE_TOKEN=s3cret, with, commas")
	several := command(t, "serve", "--port", "0", "--token", "anna=s3cret", "--token", "s3cret, with, commas")
	several.Env = append(several.Env, "WAGGLE_TOKEN=overruled")
	for i, c := range []*server{startCommand(t, byFlag), startCommand(t, byVariable), startCommand(t, withComma), startCommand(t, several)} {
		where, err := url.Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		c.url = "http://127.0.0.1:" + where.Port()
		for _, row := range []struct {
			token  string
			status [4]int
		}{
			{"", [4]int{401, 401, 401, 401}}, {"wrong", [4]int{401, 401, 401, 401}}, {"overruled", [4]int{401, 401, 401, 401}},
			{"s3cret", [4]int{200, 200, 401, 200}}, {"s3cret, with, commas", [4]int{401, 401, 200, 200}}, {" with", [4]int{401, 401, 401, 401}},
		} {
			c.token = row.token
			a := c.ask(http.MethodGet, "/v1/models", nil)
			if a.status != row.status[i] || a.status == 401 && !bytes.Contains(a.body, []byte(`"unauthorized"`)) {
				t.Errorf("with token %q: %d %s, want %d", row.token, a.status, a.body, row.status[i])
			}
		}
	}
}

// TestServeData keeps pictures in the folder named, and says what is wrong with one that cannot be.
func TestServeData(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	fail(t, command(t, "serve", "--port", "0", "--data", file), exitFailed, file)
}

// TestServeDiskFull: a server does not start without room, takes no jobs while it has none, and goes on when it has again.
func TestServeDiskFull(t *testing.T) {
	needAdapter(t)
	tiny := smallDisk(t, "8k")
	fail(t, command(t, "serve", "--port", "0", "--data", tiny), exitFailed, tiny, "full", "--data")

	disk := smallDisk(t, "64m")
	s := startServer(t, "serve", "--port", "0", "--data", disk)
	_, stream := s.post(star(fields{"steps": 1}))
	before := s.finished(stream)
	if err := os.WriteFile(disk+"/filler", make([]byte, 64<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if a := s.try(star(fields{"steps": 1})); a.status != http.StatusServiceUnavailable || !bytes.Contains(a.body, []byte("disk is full")) || a.header.Get("Retry-After") == "" {
		t.Errorf("a job for a full disk: %d %s", a.status, a.body)
	}
	if a := s.ask(http.MethodGet, "/ready", nil); a.status != http.StatusOK {
		t.Errorf("GET /ready: %d %s", a.status, a.body)
	}
	if again := s.finished(stream); !bytes.Equal(again, before) {
		t.Error("on a full disk the picture made before cannot be read")
	}
	if err := os.Remove(disk + "/filler"); err != nil {
		t.Fatal(err)
	}
	_, stream = s.post(star(fields{"steps": 1}))
	if after := s.finished(stream); !bytes.Equal(after, before) {
		t.Error("the picture is another when the disk has been full")
	}
}
