package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"image/png"
	"slices"
	"strings"
	"testing"
	"time"

	"waggle/internal/client"
	"waggle/internal/door"
	"waggle/internal/job"
	"waggle/internal/queue"
)

func TestFullQueue(t *testing.T) {
	h := start(t, script{hold: make(chan struct{})})
	for range 50 {
		h.submit(jobBody(""))
	}
	a := h.wants(h.call("POST", "/v1/jobs", jobBody("")), 503, "Failed to add request to queue: ")
	if a.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func TestIdempotency(t *testing.T) {
	h := start(t, script{})
	if id := h.submit(jobBody(`,"id":"mine"`)); id != "mine" {
		t.Errorf("the client's id became %s", id)
	}
	h.submit(`{"id":"mine",` + jobBody("")[1:])
	h.wants(h.call("POST", "/v1/jobs", jobBody(`,"id":"mine","steps":5`)), 409, "This id belongs to a job with other content")
	for range 2 {
		h.wants(h.call("POST", "/v1/jobs", jobBody(""), "Idempotency-Key: key-1"), 200, `{"job_id":"key-1"`)
	}
	h.wants(h.call("POST", "/v1/jobs", jobBody(`,"id":"other"`), "Idempotency-Key: key-1"), 400, "Invalid input: ")
	h.wants(h.call("POST", "/v1/jobs", jobBody(""), "Idempotency-Key: ../x"), 400, "Invalid input: ")
	if list, _ := h.queue.List(t.Context(), queue.Filter{}); len(list) != 2 {
		t.Errorf("%d jobs, want 2", len(list))
	}
}

func TestList(t *testing.T) {
	h := start(t, script{hold: make(chan struct{})})
	for i := range 3 {
		h.submit(jobBody(fmt.Sprintf(`,"id":"j%d"`, i)))
	}
	picture := base64.StdEncoding.EncodeToString(syntheticPicture(1, 64, 64))
	h.submit(`{"operation":"image_transform","hive_id":"h","model":"m","prompt":"p","id":"t","input_image":"` + picture + `"}`)
	h.call("DELETE", "/v1/jobs/j1", "")
	for query, want := range map[string][]job.ID{
		"": {"t", "j2", "j1", "j0"}, "?limit=1": {"t"}, "?before=j2": {"j1", "j0"}, "?state=cancelled": {"j1"}, "?state=running": nil,
	} {
		a := h.wants(h.get("/v1/jobs"+query), 200, `{"jobs":[`)
		var got []job.ID
		for _, r := range decodeJSON[struct{ Jobs []struct{ ID job.ID } }](t, a.body).Jobs {
			got = append(got, r.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", query, got, want)
		}
		if strings.Contains(a.body, picture) {
			t.Error("a list carries the pictures that were sent")
		}
	}
	for _, query := range []string{"?limit=0", "?limit=x", "?state=odd", "?before=nobody"} {
		h.wants(h.get("/v1/jobs"+query), 400, "Invalid input: ")
	}
	h.wants(h.get("/v1/jobs/j0"), 200, `{"id":"j0","state":"queued"`)
	if a := h.get("/v1/jobs/j0"); strings.Contains(a.body, "elapsed") || strings.Contains(a.body, "digest") {
		t.Errorf("a job that waits: %s", a.body)
	}
	h.wants(h.get("/v1/jobs/nobody"), 404, "Job not found")
}

func TestImages(t *testing.T) {
	h := start(t, script{})
	id := h.submit(jobBody(`,"batch":2`))
	list := h.follow(id)
	end := list[len(list)-2].event
	if len(end.Images) != 2 || end.Images[0].Image != end.Image || end.Images[1].Seed != 2 || end.Images[1].Image == end.Image {
		t.Errorf("complete of a batch: %d images", len(end.Images))
	}
	for path, side := range map[string]int{"/image": 256, "/image/1": 256, "/image?thumb=100": 100, "/image/1?thumb=1000": 256} {
		a := h.wants(h.get("/v1/jobs/"+id+path), 200, "\x89PNG")
		m, err := png.Decode(strings.NewReader(a.body))
		if err != nil || m.Bounds().Dx() != side || a.Header.Get("Content-Type") != "image/png" {
			t.Errorf("%s: %v, %v", path, err, a.Header)
		}
	}
	for path, status := range map[string]int{"/image/2": 404, "/image/-1": 404, "/image/x": 404, "/image?thumb=0": 400, "/image?thumb=9999": 400} {
		h.wants(h.get("/v1/jobs/"+id+path), status, "")
	}
	h.wants(h.get("/v1/jobs/%2e%2e/image"), 404, "")
	h.wants(h.call("DELETE", "/v1/pictures/"+id, ""), 200, "{")
	h.wants(h.get("/v1/jobs/"+id), 404, "")
	h.wants(h.get("/v1/jobs/"+id+"/image"), 404, "")
	h.wants(h.get("/v1/jobs/"+id+"/stream"), 404, "")
}

func TestLists(t *testing.T) {
	h := start(t, script{}, func(c *Config) {
		c.Tokenize = func(model, text string) (Tokens, error) {
			if model != "tiny" {
				return Tokens{}, job.Errorf(job.ModelNotFound, "no model %q", model)
			}
			return Tokens{2, []string{"a", "cat"}}, nil
		}
	})
	models := decodeJSON[struct{ Models []job.ModelInfo }](t, h.get("/v1/models").body).Models
	if len(models) != 1 || models[0].Name != "tiny" || models[0].Preview.Downscale != 8 {
		t.Errorf("models %+v", models)
	}
	h.wants(h.get("/v1/samplers"), 200, `{"samplers":[{"name":"euler"},`)
	h.wants(h.get("/v1/nodes"), 200, `{"nodes":[{"id":"worker-test-1"`)
	h.wants(h.call("POST", "/v1/tokenize", `{"model":"tiny","text":"a cat"}`), 200, `{"count":2,"pieces":["a","cat"]}`)
	h.wants(h.call("POST", "/v1/tokenize", `{"model":"other","text":"a cat"}`), 404, `no model "other"`)
	h.wants(h.call("POST", "/v1/tokenize", `[`), 400, "Failed to parse")
	h.putNode(job.Ready)
	r := h.submit(jobBody(`,"model":"tiny","sampler":"DPM++ 2M Karras"`))
	if got, _ := h.queue.Get(t.Context(), job.ID(r)); got.Request.Sampler != "dpmpp_2m" || got.Request.Schedule != "karras" {
		t.Errorf("sampler %s, schedule %s", got.Request.Sampler, got.Request.Schedule)
	}
}

// TestModelsOfNodes: a model is loaded if any node has it loaded, and a job is
// held to the bounds of the model that it names, wherever that is.
func TestModelsOfNodes(t *testing.T) {
	h := start(t, script{})
	h.putNode(job.Ready)
	small := job.DefaultLimits()
	small.SizeMax, small.SizeMultiple = 512, 64
	err := h.queue.PutNode(t.Context(), job.Node{ID: "other", Status: job.Ready, Models: []job.ModelInfo{
		{Name: "tiny"}, {Name: "small", Limits: small, Loaded: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var models []job.ModelInfo
	for len(models) < 2 { // the other's record comes by way of the server
		models = decodeJSON[struct{ Models []job.ModelInfo }](t, h.get("/v1/models").body).Models
	}
	for _, m := range models {
		if !m.Loaded {
			t.Errorf("model %s is not loaded anywhere", m.Name)
		}
	}
	h.wants(h.call("POST", "/v1/jobs", jobBody(`,"model":"small","width":200`)), 400, "Invalid input: width must be a multiple of 64, got 200")
	h.wants(h.call("POST", "/v1/jobs", jobBody(`,"model":"small","width":576`)), 400, "Invalid input: width must be 64 to 512, got 576")
	h.submit(jobBody(`,"model":"small","width":128`))
	h.submit(jobBody(`,"model":"tiny","width":200`))
}

// TestIDAgain: what readers share of a job's events is not taken for those of
// another that has its id later.
func TestIDAgain(t *testing.T) {
	h := start(t, script{})
	var pictures []string
	for seed := range 2 {
		list := h.follow(h.submit(jobBody(fmt.Sprintf(`,"id":"again","seed":%d`, seed))))
		pictures = append(pictures, list[len(list)-2].event.Image)
		if again := h.follow("again"); again[len(again)-2].event.Image != pictures[seed] {
			t.Errorf("seed %d: another picture the second time", seed)
		}
		h.wants(h.call("DELETE", "/v1/pictures/again", ""), 200, "{")
	}
	if pictures[0] == pictures[1] {
		t.Error("a job has the picture of the one that had its id before")
	}
}

// TestStateEvents: a change of state is an event like the others on both ways,
// with a number and without a step.
func TestStateEvents(t *testing.T) {
	h := start(t, script{})
	id := h.submit(jobBody(""))
	list := h.followAll(id)
	if first := list[0]; first.name != "state" || first.id != "1" || first.data != `{"type":"state","state":"running"}` {
		t.Errorf("the first event is %v", first)
	}
	if len(list) != 7 || list[1].id != "2" || list[1].event.Step != 1 {
		t.Errorf("want the start, four steps, complete and the marker, got %v", list)
	}
	w := h.dial(nil)
	w.send(`{"type":"subscribe","job":%q}`, id)
	events, _, _ := w.job(job.ID(id))
	if e := events[0]; e.ID != 1 || e.Event.Type != job.ChangeEvent || e.Event.State != job.Running {
		t.Errorf("the socket's first event is %+v", e)
	}
}

// TestKeepAlive: silence is filled with comments, and a stream whose job has
// ended without saying so is ended.
func TestKeepAlive(t *testing.T) {
	hold := make(chan struct{})
	h := start(t, script{hold: hold}, func(c *Config) { c.KeepAlive = 20 * time.Millisecond })
	stream := h.open("/v1/jobs/" + h.submit(jobBody("")) + "/stream")
	if m := <-stream.messages; m.name != "" || m.data != "" {
		t.Errorf("silence was filled with %v", m)
	}
	id := h.submit(jobBody(""))
	if _, err := h.queue.Cancel(t.Context(), job.ID(id)); err != nil { // behind the server's back
		t.Fatal(err)
	}
	if list := h.follow(id); list[len(list)-1].data != "[CANCELLED]" {
		t.Errorf("the stream of a job that ended silently: %v", list)
	}
	close(hold)
}

// TestShutdown: open streams end without a marker, sockets with a close frame,
// and the job is handed back, even if its reader asked for a cancel.
func TestShutdown(t *testing.T) {
	h := start(t, script{step: 20 * time.Millisecond})
	id := h.submit(jobBody(`,"steps":150`))
	stream := h.open("/v1/jobs/" + id + "/stream?cancel_on_disconnect=1")
	<-stream.messages
	began := time.Now()
	h.stop()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("stopping took %v", took)
	}
	for m := range stream.messages {
		if m.event.Final() || m.data == "[CANCELLED]" {
			t.Errorf("the stream was ended with %v", m)
		}
	}
	if got := h.state(id); got != job.Queued {
		t.Errorf("the job is %s, want queued", got)
	}
}

// TestClient drives the server with the Go client.
func TestClient(t *testing.T) {
	h := start(t, script{step: time.Millisecond}, func(c *Config) { c.Door.Keys = []door.Key{{Secret: "abc"}} })
	stranger, _ := client.New(h.url, "", nil)
	defer stranger.Close()
	if _, err := stranger.Models(t.Context()); err == nil || !strings.Contains(err.Error(), "token") {
		t.Errorf("without a token: %v", err)
	}
	c, err := client.New(h.url, "abc", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	request := job.NewRequest(job.Generation, "tiny", "a lighthouse")
	request.Width, request.Height, request.Batch = 128, 64, 2
	id, err := c.Submit(ctx, request)
	if err != nil {
		t.Fatal(err)
	}
	var last job.Event
	n := 0
	for e, err := range c.Events(ctx, id, 0) {
		if err != nil {
			t.Fatal(err)
		}
		last = e
		n++
	}
	if n != 22 || last.Type != job.CompleteEvent || last.Width != 128 {
		t.Errorf("%d events, last %+v", n, last.Type)
	}
	file, err := c.Image(ctx, id, 1)
	if m, derr := png.Decode(bytes.NewReader(file)); err != nil || derr != nil || m.Bounds().Dy() != 64 {
		t.Errorf("picture: %v, %v", err, derr)
	}
	record, err := c.Job(ctx, id)
	if record.ElapsedMS < 1 || record.ElapsedMS > 20_000 {
		t.Errorf("elapsed %d ms", record.ElapsedMS)
	}
	if err != nil || record.State != job.Complete || record.Request.Prompt != "a lighthouse" || len(record.Pictures) != 2 {
		t.Errorf("record %+v, %v", record, err)
	}
	if list, err := c.Jobs(ctx, job.Complete, "", 10); err != nil || len(list) != 1 {
		t.Errorf("jobs: %d, %v", len(list), err)
	}
	if err := c.Cancel(ctx, id); err == nil {
		t.Error("a finished job was cancelled")
	}
	samplers, _, err := c.Samplers(ctx)
	node, nodeErr := c.Node(ctx)
	if err != nil || nodeErr != nil || len(samplers) != 3 || node.ID != testNode || c.Ready(ctx) != nil {
		t.Errorf("samplers %v, node %+v, %v, %v", samplers, node, err, nodeErr)
	}
}
