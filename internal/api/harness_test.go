package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"waggle/internal/bus"
	"waggle/internal/events"
	"waggle/internal/job"
	"waggle/internal/natstest"
	"waggle/internal/openapi/openapitest"
	"waggle/internal/queue"
	"waggle/internal/store"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, natstest.Leaks()...)
}

const testNode = "worker-test-1"

// harness is a whole server on a port of its own, with a scripted engine that
// does what the real one does towards queue, events and store.
type harness struct {
	t      *testing.T
	url    string
	port   int
	server *Server
	doc    *openapitest.Document // which every answer to call is held to
	queue  queue.Queue
	events events.Log
	store  store.Store
	http   *http.Client
	lease  atomic.Value // of the job that runs: a running
	stop   func()       // ends the server; called at the end of the test anyway
}

// running is a lease as atomic.Value wants it.
type running struct{ queue.Lease }

// script is how the engine behaves.
type script struct {
	step time.Duration // each step takes this long
	hold chan struct{} // if set, the engine takes no job until it is closed
	pace chan struct{} // if set, each step waits for a value of it
}

// next is when the next step is done.
func (sc script) next() <-chan struct{} {
	if sc.pace != nil {
		return sc.pace
	}
	done := make(chan struct{})
	time.AfterFunc(sc.step, func() { close(done) })
	return done
}

// start runs a server; change may alter its configuration.
func start(t *testing.T, sc script, change ...func(*Config)) *harness {
	t.Helper()
	h := &harness{t: t, http: &http.Client{Transport: &http.Transport{}}}
	h.begin(t.TempDir())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.url, h.port = "http://"+l.Addr().String(), l.Addr().(*net.TCPAddr).Port
	c := Config{Queue: h.queue, Events: h.events, Store: h.store, NodeID: testNode, Version: "v0", Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	for _, f := range change {
		f(&c)
	}
	h.putNode(job.Ready)
	h.server = New(c)
	h.doc = openapitest.Load(t, h.server.table().Document(h.server.info()))
	h.run(h.server, l, sc)
	return h
}

// begin opens queue, events and store in a folder.
func (h *harness) begin(dir string) {
	h.t.Helper()
	log := slog.New(slog.NewTextHandler(h.t.Output(), nil))
	b, err := bus.Open(bus.Options{Dir: dir, Log: log})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { b.Close() })
	h.queue, err = queue.Open(h.t.Context(), b.JetStream, queue.Options{Length: 50, Log: log})
	if err == nil {
		h.events, err = events.Open(h.t.Context(), b.JetStream, events.Options{Alone: b.Alone(), Log: log})
	}
	if err == nil {
		h.store, err = store.Open(h.t.Context(), b.JetStream, store.Options{Log: log})
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// run starts server and engine, and stops them at the end of the test.
func (h *harness) run(s *Server, l net.Listener, sc script) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Serve(ctx, l); err != nil {
			h.t.Errorf("serve: %v", err)
		}
	})
	running.Go(func() { h.engine(ctx, sc) })
	h.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		h.http.CloseIdleConnections()
		h.queue.Close()
		h.events.Close()
		h.store.Close()
	})
	h.t.Cleanup(h.stop)
}

func (h *harness) putNode(s job.Status) {
	h.t.Helper()
	err := h.queue.PutNode(context.Background(), job.Node{
		ID: testNode, ModelID: "tiny", Device: "CPU-0", Port: h.port, Status: s,
		Implementation: "waggle", Version: "0.0.1",
		Samplers:  []job.Choice{{Name: "euler"}, {Name: "ddim"}, {Name: "dpmpp_2m", Label: "DPM++ 2M"}},
		Schedules: []job.Choice{{Name: "normal"}, {Name: "karras"}},
		Models: []job.ModelInfo{{
			Name: "tiny", Family: "sd1", Limits: job.DefaultLimits(), Loaded: true,
			Preview: job.LatentRGB{Factors: [][3]float32{{1}, {0, 1}, {0, 0, 1}, {}}, Downscale: 8},
		}},
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// engine takes jobs one by one.
func (h *harness) engine(ctx context.Context, sc script) {
	if sc.hold != nil {
		select {
		case <-sc.hold:
		case <-ctx.Done():
			return
		}
	}
	for {
		lease, err := h.queue.Next(ctx, queue.Consumer{Node: testNode})
		if err != nil {
			return
		}
		state, outcome := h.work(ctx, lease, sc)
		if state == "" {
			lease.HandBack(context.Background())
			return
		}
		if state == job.Paused {
			record, err := lease.Pause(context.Background())
			if err != nil {
				h.t.Errorf("pause: %v", err)
			}
			h.events.Publish(context.Background(), record.ID, job.StateEvent(record.State))
			continue
		}
		record, err := lease.Finish(context.Background(), state, outcome)
		if err != nil {
			h.t.Errorf("finish: %v", err)
		}
		last, _ := record.EndEvent()
		h.events.Publish(context.Background(), record.ID, last)
	}
}

// work runs one job; a prompt of "fail" fails it, other operations than
// generation are refused. It goes on behind the last step reported. An empty
// state means that ctx ended.
func (h *harness) work(ctx context.Context, l queue.Lease, sc script) (job.State, job.Outcome) {
	h.lease.Store(running{l})
	r, began := l.Record(), time.Now()
	h.events.Publish(ctx, r.ID, job.StateEvent(job.Running))
	if r.Request.Operation != job.Generation {
		return job.Failed, job.Outcome{Kind: job.InvalidInput, Message: string(r.Request.Operation) + " is not supported by this worker"}
	}
	reached, _, _ := h.events.Reached(ctx, r.ID)
	for step := reached + 1; step <= r.Request.Steps; step++ {
		select {
		case <-sc.next():
		case <-l.Cancelled():
			return job.Cancelled, job.Outcome{Kind: job.CancelledByUser, Message: job.CancelMessage}
		case <-ctx.Done():
			return "", job.Outcome{}
		}
		if r.Request.Prompt == "fail" && step == 2 {
			return job.Failed, job.Outcome{Kind: job.OutOfMemory, Message: "out of memory:\nneed 5 GiB"}
		}
		h.events.ShowPreview(ctx, r.ID, job.Preview{Step: step, Total: r.Request.Steps, Latent: syntheticLatent(r, step)})
		h.events.Publish(ctx, r.ID, job.StepEvent(step, r.Request.Steps))
		if l.PauseAsked() || step == r.StopAt {
			return job.Paused, job.Outcome{}
		}
	}
	var o job.Outcome
	for i := range r.Request.Pictures() {
		seed := r.Seed + uint64(i)
		h.store.Put(ctx, r.ID, i, syntheticPicture(seed, r.Request.Width, r.Request.Height))
		o.Pictures = append(o.Pictures, job.Picture{Seed: seed, Width: r.Request.Width, Height: r.Request.Height})
	}
	o.Elapsed = time.Since(began)
	return job.Complete, o
}

// syntheticLatent is red by the step.
func syntheticLatent(r job.Record, step int) job.Latent {
	h, w := r.Request.Height/8, r.Request.Width/8
	data := make([]float32, 4*h*w)
	for i := range h * w {
		data[i] = float32(step) / float32(r.Request.Steps)
	}
	return job.NewLatent(4, h, w, data)
}

func syntheticPicture(seed uint64, w, h int) []byte {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		m.SetNRGBA(i%w, i/w, color.NRGBA{byte(seed), byte(seed >> 8), byte(i), 255})
	}
	var b bytes.Buffer
	png.Encode(&b, m)
	return b.Bytes()
}

// answer is a response with its body read.
type answer struct {
	*http.Response
	body string
}

// call makes a request; header is "Name: value" pairs.
func (h *harness) call(method, path, body string, header ...string) answer {
	h.t.Helper()
	r, err := http.NewRequest(method, h.url+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			r.Host = value
		}
		r.Header.Set(name, value)
	}
	h.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := h.http.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, path, err)
	}
	if err := h.doc.Check(r, response, string(b)); err != nil {
		h.t.Errorf("not as the document says: %v", err)
	}
	return answer{response, string(b)}
}

func (h *harness) get(path string, header ...string) answer {
	h.t.Helper()
	return h.call("GET", path, "", header...)
}

// wants checks the status and the beginning of the body.
func (h *harness) wants(a answer, status int, begins string) answer {
	h.t.Helper()
	if a.StatusCode != status || !strings.HasPrefix(a.body, begins) {
		h.t.Errorf("%s %s: %d %.200q, want %d %q…", a.Request.Method, a.Request.URL.Path, a.StatusCode, a.body, status, begins)
	}
	return a
}

func decodeJSON[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%.200q: %v", text, err)
	}
	return v
}

// jobBody is the usual job of the checks, with members added or replaced.
func jobBody(extra string) string {
	return `{"operation":"image_generation","hive_id":"localhost","model":"tiny","prompt":"a lighthouse","width":256,"height":256,"steps":4,"seed":1` + extra + `}`
}

// submit posts an operation that must be accepted and returns its id.
func (h *harness) submit(body string) string {
	h.t.Helper()
	a := h.wants(h.call("POST", "/v1/jobs", body), 200, "{")
	got := decodeJSON[job.Accepted](h.t, a.body)
	if got.JobID == "" || got.SSEURL != "/v1/jobs/"+string(got.JobID)+"/stream" {
		h.t.Fatalf("submission answered %s", a.body)
	}
	return string(got.JobID)
}

// wireMessage is one message of an event stream.
type wireMessage struct {
	name, id, data string
	event          job.Event
}

func (m wireMessage) String() string { return fmt.Sprintf("{%s %s %.150s}", m.name, m.id, m.data) }

// parseSSE cuts a stream into its messages; comments come as messages with
// nothing in them.
func parseSSE(t *testing.T, text string) (list []wireMessage) {
	t.Helper()
	for block := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n\n") {
		var m wireMessage
		for line := range strings.SplitSeq(block, "\n") {
			field, value, _ := strings.Cut(line, ": ")
			switch field {
			case "event":
				m.name = value
			case "id":
				m.id = value
			case "data":
				m.data = value
			case ":":
			default:
				t.Errorf("line %q in a stream", line)
			}
		}
		if m.name != "" {
			m.event = decodeJSON[job.Event](t, m.data)
			if string(m.event.Type) != m.name {
				t.Errorf("event %q has type %q", m.name, m.event.Type)
			}
		}
		list = append(list, m)
	}
	return list
}

// follow reads a job's stream to its end, and leaves out changes of state, as
// clients do that know the worker's protocol alone.
func (h *harness) follow(id string, header ...string) []wireMessage {
	h.t.Helper()
	return slices.DeleteFunc(h.followAll(id, header...), func(m wireMessage) bool { return m.event.Type == job.ChangeEvent })
}

// followAll reads a job's stream to its end.
func (h *harness) followAll(id string, header ...string) []wireMessage {
	h.t.Helper()
	a := h.get("/v1/jobs/"+id+"/stream", header...)
	h.wants(a, 200, "")
	if !strings.HasPrefix(a.Header.Get("Content-Type"), "text/event-stream") || a.Header.Get("Cache-Control") != "no-cache" {
		h.t.Errorf("headers of a stream: %v", a.Header)
	}
	return parseSSE(h.t, a.body)
}

// steps are the step numbers of a stream's events of one type.
func steps(list []wireMessage, kind job.EventType) (numbers []int) {
	for _, m := range list {
		if m.event.Type == kind {
			numbers = append(numbers, m.event.Step)
		}
	}
	return numbers
}

// pixels decodes a bare base64 PNG.
func pixels(t *testing.T, text string) image.Image {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatalf("picture is not bare base64: %v", err)
	}
	m, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("picture is not a PNG: %v", err)
	}
	return m
}

// waitFor polls until a condition holds.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func (h *harness) state(id string) job.State {
	r, err := h.queue.Get(context.Background(), job.ID(id))
	if err != nil {
		return ""
	}
	return r.State
}
