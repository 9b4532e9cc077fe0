package queen

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"waggle/internal/job"
	"waggle/internal/queue"
)

// TestShared: what the cluster can do is in its queue when the answer comes;
// any queen streams it, with the words of the protocol around the events.
func TestShared(t *testing.T) {
	c := newCommons(t, queue.Options{})
	c.bee(job.Ready, "m")
	one, two := c.queen(), c.queen()
	_, id := one.submit(`,"sampler":"DDIM"`)
	if got := c.states(); got != id+" queued" {
		t.Fatalf("in the queue: %s, want %s", got, id)
	}
	l := c.take()
	if r := l.Record().Request; r.Sampler != "ddim" || r.Client == "" {
		t.Errorf("sampler %q, client %q", r.Sampler, r.Client)
	}
	c.finish(l)
	for _, h := range []*harness{one, two} {
		text := h.read(id)
		var said []string
		for part := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
			lines := strings.Split(part, "\n")
			var n narration
			if strings.HasPrefix(lines[0], "data: {") && json.Unmarshal([]byte(lines[0][len("data: "):]), &n) == nil && n.JobID == id {
				said = append(said, n.Action)
			} else {
				said = append(said, strings.TrimPrefix(strings.Join(lines[:min(2, len(lines))], " "), "event: "))
			}
		}
		want := "execute, route_job, image_schedule, image_worker_sel, image_streaming, state id: 1, progress id: 2, complete id: 3, image_complete, data: [DONE]"
		if got := strings.Join(said, ", "); got != want {
			t.Errorf("said %s\nwant %s", got, want)
		}
		if !strings.Contains(text, `"image":"cGljdHVyZQ=="`) || !strings.Contains(text, "Node bee is done") {
			t.Errorf("no picture, or not of bee:\n%s", text)
		}
	}
	if status, text := two.call(http.MethodGet, "/v1/jobs/"+id); status != 200 || !strings.Contains(text, `"state":"complete"`) || !strings.Contains(text, `"operation":"image_generation","model":"m"`) {
		t.Errorf("GET of the job: %d %s", status, text)
	}
	if status, _ := two.call(http.MethodGet, "/v1/jobs/nobody"); status != 404 {
		t.Errorf("GET of no job: %d", status)
	}
	if status, _ := two.call(http.MethodDelete, "/v1/jobs/"+id); status != 404 {
		t.Errorf("DELETE of a job that has ended: %d", status)
	}
}

// TestSharedEnds: jobs that fail or are cancelled end as others do.
func TestSharedEnds(t *testing.T) {
	c := newCommons(t, queue.Options{})
	c.bee(job.Ready, "m")
	h := c.queen()
	_, id := h.submit("")
	l := c.take()
	r, err := l.Finish(t.Context(), job.Failed, job.Outcome{Kind: job.OutOfMemory, Message: "no\nmemory"})
	if err != nil {
		t.Fatal(err)
	}
	last, _ := r.EndEvent()
	c.publish(job.ID(id), last)
	if text := h.read(id); markerOfText(text) != "[ERROR] no memory" || !strings.Contains(text, "Job "+id+" failed: no memory") {
		t.Errorf("a job that failed:\n%s", text)
	}
	_, id = h.submit("")
	if status, text := h.call(http.MethodDelete, "/v1/jobs/"+id); status != 200 || !strings.Contains(text, `"status":"cancelled"`) {
		t.Errorf("DELETE: %d %s", status, text)
	}
	if got := markerOfText(h.read(id)); got != "[CANCELLED]" {
		t.Errorf("a job that was cancelled ended with %s", got)
	}
	_, id = h.submit("")
	ctx, leave := context.WithCancel(t.Context())
	request, _ := http.NewRequestWithContext(ctx, http.MethodGet, h.url+"/v1/jobs/"+id+"/stream?cancel_on_disconnect=1", nil)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	leave()
	response.Body.Close()
	waitFor(t, "the job of the reader that left is cancelled", func() bool { return strings.HasPrefix(c.states(), id+" cancelled") })
}

// TestSharedRefusals: what is wrong with an operation for the cluster is said in its stream.
func TestSharedRefusals(t *testing.T) {
	c := newCommons(t, queue.Options{})
	c.bee(job.Ready, "m")
	h := c.queen()
	var damaged bytes.Buffer
	if err := png.Encode(&damaged, image.NewGray(image.Rect(0, 0, 64, 64))); err != nil {
		t.Fatal(err)
	}
	damaged.Truncate(damaged.Len() - 20)
	control := fmt.Sprintf(`,"controls":[{"model":"m","image":%q}]`, base64.StdEncoding.EncodeToString(damaged.Bytes()))
	for more, want := range map[string]string{
		control:                "[ERROR] Failed to load image from memory: control image",
		`,"steps":0`:           "[ERROR] Invalid input: steps must be 1 to 150, got 0",
		`,"steps":"x"`:         "[ERROR] Failed to parse operation: field `steps`",
		`,"width":512`:         "[ERROR] Invalid input: width must be 64 to 256, got 512",
		`,"sampler":"magic"`:   `[ERROR] Invalid input: unknown sampler "magic"; there are euler, ddim`,
		`,"worker_id":"bee"`:   "[ERROR] Scheduling failed: 'bee' is a node of the cluster, whose nodes take jobs from one queue; leave worker_id out",
		`,"worker_id":"other"`: "[ERROR] Scheduling failed: No available worker found for model 'm'.",
		`,"id":"not an id"`:    "[ERROR] Invalid input: id must be",
		`,"webhook":{"url":"http://example.com/"}`: "[ERROR] Invalid input: webhook.url: a queen sends no webhooks",
	} {
		status, id := h.submit(more)
		if status != 200 {
			t.Errorf("%s: %d %s", more, status, id)
			continue
		}
		if got := markerOfText(h.read(id)); !strings.HasPrefix(got, want) {
			t.Errorf("%s ended with %s, want %s", more, got, want)
		}
	}
	if got := c.states(); got != "" {
		t.Errorf("in the queue: %s", got)
	}
}

// TestSharedIDs: an id is one job at all queens, wherever it is done.
func TestSharedIDs(t *testing.T) {
	c := newCommons(t, queue.Options{})
	c.bee(job.Ready, "m")
	one, two := c.queen(), c.queen()
	alone := open(t, Config{})
	for _, row := range []struct {
		at     *harness
		more   string
		key    []string
		status int
		text   string
	}{
		{one, `,"id":"a"`, nil, 200, "a"},
		{one, `,"id":"a"`, nil, 200, "a"},
		{two, `,"id":"a"`, nil, 200, "a"},
		{two, `,"id":"a"`, []string{"a"}, 200, "a"},
		{two, ``, []string{"a"}, 200, "a"},
		{two, `,"id":"a","steps":3`, nil, 409, "This id belongs to a job with other content\n"},
		{two, `,"id":"a","steps":0`, nil, 409, "This id belongs to a job with other content\n"},
		{two, `,"id":"a"`, []string{"b"}, 400, "Invalid input: id and Idempotency-Key differ\n"},
		{two, ``, []string{"not a key"}, 400, "Invalid input: Idempotency-Key must be 1 to 64 of A-Z a-z 0-9 _ -\n"},
		{alone, ``, []string{"a"}, 200, "a"},
		{alone, ` `, []string{"a"}, 200, "a"},
		{alone, `,"steps":3`, []string{"a"}, 409, "This id belongs to a job with other content\n"},
		{alone, `,"id":"b"`, nil, 200, "b"},
		{alone, `,"id":"b"`, nil, 200, "b"},
		{alone, `,"id":"b","x":1`, nil, 409, "This id belongs to a job with other content\n"},
	} {
		if status, text := row.at.submit(row.more, row.key...); status != row.status || text != row.text {
			t.Errorf("%s, key %q: %d %q, want %d %q", row.more, row.key, status, text, row.status, row.text)
		}
	}
	if got := c.states(); got != "a queued" {
		t.Errorf("in the queue: %s", got)
	}
	if n := len(alone.Snapshot().Jobs); n != 2 {
		t.Errorf("the queen by herself has %d jobs", n)
	}
}

// TestPassedOn: a job for which there was nobody when it came goes to the
// cluster if that has the model when its stream is opened.
func TestPassedOn(t *testing.T) {
	c := newCommons(t, queue.Options{})
	h := c.queen()
	_, id := h.submit("")
	if got := c.states(); got != "" {
		t.Fatalf("in the queue: %s", got)
	}
	c.bee(job.Busy, "m")
	texts := make(chan string)
	for range 2 {
		go func() { texts <- h.read(id) }()
	}
	waitFor(t, "the job is in the queue", func() bool { return c.states() == id+" queued" })
	c.finish(c.take())
	for range 2 {
		text := <-texts
		if markerOfText(text) != "[DONE]" || strings.Count(text, `"action":"execute"`) != 1 || strings.Count(text, "event: complete") != 1 {
			t.Errorf("the stream:\n%s", text)
		}
	}
	if n := len(h.Snapshot().Jobs); n != 1 {
		t.Errorf("it is %d jobs", n)
	}
}

// TestBothKinds: workers and nodes with one model share the work.
func TestBothKinds(t *testing.T) {
	c := newCommons(t, queue.Options{})
	c.bee(job.Busy, "m")
	h := c.queen()
	h.worker(func(w io.Writer, _ *http.Request) { io.WriteString(w, picture) })
	_, id := h.submit("")
	if got := markerOfText(h.read(id)); got != "[DONE]" || c.states() != "" {
		t.Errorf("beside a busy node the idle worker's job ended with %s; in the queue: %s", got, c.states())
	}
	c.bee(job.Ready, "m")
	_, id = h.submit("")
	if got := c.states(); got != id+" queued" {
		t.Errorf("with an idle node, in the queue: %s", got)
	}
	_, second := h.submit("") // the node is spoken for
	if got := markerOfText(h.read(second)); got != "[DONE]" {
		t.Errorf("the second ended with %s", got)
	}
	_, named := h.submit(`,"worker_id":"w"`)
	if got := markerOfText(h.read(named)); got != "[DONE]" || c.states() != id+" queued" {
		t.Errorf("the worker named: %s; in the queue: %s", got, c.states())
	}
	if status, text := h.call(http.MethodGet, "/v1/jobs"); status != 200 || strings.Count(text, `"model":"m"`) < 4 || strings.Index(text, second) > strings.Index(text, id) {
		t.Errorf("the list, the newest first: %d %s", status, text)
	}
}

// TestDoubles: a node of the cluster that reports to the queen besides is one,
// and has its jobs from the queue.
func TestDoubles(t *testing.T) {
	c := newCommons(t, queue.Options{})
	c.bee(job.Busy, "m")
	h := c.queen()
	h.worker(func(w io.Writer, _ *http.Request) { io.WriteString(w, picture) }) // its name is w
	node := job.Node{ID: "w", Status: job.Busy, Models: []job.ModelInfo{{Name: "m"}}}
	if err := c.queue.PutNode(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	_, id := h.submit("")
	if got := c.states(); got != id+" queued" {
		t.Errorf("in the queue: %s", got)
	}
	_, id = h.submit(`,"worker_id":"w"`)
	if got := markerOfText(h.read(id)); !strings.Contains(got, "leave worker_id out") {
		t.Errorf("a job for it alone ended with %s", got)
	}
	if _, text := h.call(http.MethodGet, "/v1/nodes"); strings.Count(text, `"id":`) != 2 {
		t.Errorf("the nodes: %s", text)
	}
}

func TestLineBefore(t *testing.T) {
	idle, one, three := worker("1"), worker("1", func(w *Worker) { w.Jobs = 1 }), worker("1", func(w *Worker) { w.Jobs = 3 })
	for _, row := range []struct {
		name  string
		line  line
		w     Worker
		found bool
		want  bool
	}{
		{"nobody", line{}, Worker{}, false, false},
		{"no node", line{}, three, true, false},
		{"no worker", line{nodes: 1, jobs: 100}, Worker{}, false, true},
		{"both idle", line{nodes: 1, idle: 1}, idle, true, true},
		{"the node idle", line{nodes: 9, idle: 1, jobs: 50}, one, true, true},
		{"the worker idle", line{nodes: 9, jobs: 0}, idle, true, false},
		{"as many jobs each", line{nodes: 2, jobs: 6}, three, true, true},
		{"more jobs each", line{nodes: 2, jobs: 7}, three, true, false},
	} {
		if got := row.line.before(row.w, row.found); got != row.want {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
}

// TestClusterAway: without her cluster a queen serves her workers, and says why
// she does no more.
func TestClusterAway(t *testing.T) {
	c := newCommons(t, queue.Options{})
	c.bee(job.Ready, "m", "n")
	var answers atomic.Bool
	h := open(t, Config{timing: timing{reconnect: 10 * time.Millisecond}, Cluster: func(ctx context.Context) (*Cluster, error) {
		if !answers.Load() {
			return nil, errors.New("no server answers")
		}
		return c.join(ctx)
	}})
	h.worker(func(w io.Writer, _ *http.Request) { io.WriteString(w, picture) })
	check := func(why string) {
		t.Helper()
		_, id := h.submit("")
		if got := markerOfText(h.read(id)); got != "[DONE]" {
			t.Errorf("a worker's job ended with %s", got)
		}
		_, id = h.submit(`,"model":"n"`)
		if got := markerOfText(h.read(id)); !strings.Contains(got, "No available worker found for model 'n'") || !strings.Contains(got, why) {
			t.Errorf("a job for the cluster ended with %s", got)
		}
		for _, path := range []string{"/v1/jobs/x", "/v1/jobs/x/stream"} {
			if status, text := h.call(http.MethodGet, path); status != 503 || !strings.Contains(text, why) {
				t.Errorf("GET %s: %d %s", path, status, text)
			}
		}
		if status, text := h.call(http.MethodDelete, "/v1/jobs/x"); status != 503 {
			t.Errorf("DELETE: %d %s", status, text)
		}
		if status, text := h.call(http.MethodGet, "/v1/nodes"); status != 200 || !strings.Contains(text, why) || strings.Contains(text, `"bee"`) || !strings.Contains(text, `"id":"w"`) {
			t.Errorf("the nodes: %d %s", status, text)
		}
	}
	waitFor(t, "she has tried", func() bool { _, err := h.shared(); return err != nil && strings.Contains(err.Error(), "no server") })
	check("the cluster cannot be asked: no server answers")
	answers.Store(true)
	waitFor(t, "she is on the cluster", func() bool { c, _ := h.shared(); return c != nil })
	_, id := h.submit(`,"model":"n"`)
	if got := c.states(); got != id+" queued" {
		t.Errorf("in the queue: %s", got)
	}
	lost := errors.New("no connection to NATS since noon")
	c.away.Store(&lost)
	check(lost.Error())
}

// TestFullLine: a queue that takes no more is said so, unless a worker can do it.
func TestFullLine(t *testing.T) {
	c := newCommons(t, queue.Options{Length: 1})
	c.bee(job.Ready, "m")
	h := c.queen()
	h.submit("")
	if status, text := h.submit(""); status != 503 || !strings.Contains(text, "full") {
		t.Errorf("a second job: %d %s", status, text)
	}
	h.worker(func(w io.Writer, _ *http.Request) { io.WriteString(w, picture) })
	_, id := h.submit("")
	if got := markerOfText(h.read(id)); got != "[DONE]" {
		t.Errorf("beside a worker: %s", got)
	}
}

// TestNodesAndModels: one list of all who do jobs, and one of what they have.
func TestNodesAndModels(t *testing.T) {
	c := newCommons(t, queue.Options{})
	c.bee(job.Ready, "m", "n")
	h := c.queen()
	if err := h.Subscribe("garden", "http://127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the hive has been called", func() bool { return h.Snapshot().Hives[0].Problem != connecting })
	b := beat{host: "127.0.0.1", at: time.Now(), Worker: job.Node{ID: "ant", ModelID: "m", Device: "CPU-0", Port: 8099, Status: job.Busy, Version: "1"}}
	if err := h.fleet.beat(b); err != nil {
		t.Fatal(err)
	}
	model := "llm"
	h.fleet.mu.Lock()
	garden := h.fleet.hives["garden"]
	h.fleet.mu.Unlock()
	h.fleet.report(garden, []process{{Group: "llm", Instance: "8098", Model: &model, UptimeSecs: 3600}})
	h.submit(`,"model":"n"`)
	_, text := h.call(http.MethodGet, "/v1/nodes")
	var got struct{ Nodes []job.NodeReport }
	if err := json.Unmarshal([]byte(text), &got); err != nil || len(got.Nodes) != 3 {
		t.Fatalf("%d nodes, %v: %s", len(got.Nodes), err, text)
	}
	bee, hive, ant := got.Nodes[0], got.Nodes[1], got.Nodes[2]
	if bee.ID != "bee" || bee.Kind != job.QueueNode || bee.Load.Waiting != 1 || bee.Device != "a GPU" || bee.Seen.IsZero() {
		t.Errorf("the node: %+v", bee)
	}
	if hive.ID != "llm-8098" || hive.Kind != job.HiveNode || hive.Hive != "garden" || hive.URL != "http://localhost:8098" || time.Since(hive.Since) < 59*time.Minute {
		t.Errorf("the hive's worker: %+v", hive)
	}
	if ant.ID != "ant" || ant.Kind != job.WorkerNode || ant.Status != job.Busy || ant.Version != "1" || ant.Port != 8099 || !ant.Since.Equal(b.at) {
		t.Errorf("the worker: %+v", ant)
	}
	_, text = h.call(http.MethodGet, "/v1/models")
	var models struct{ Models []job.ModelInfo }
	if err := json.Unmarshal([]byte(text), &models); err != nil || len(models.Models) != 3 {
		t.Fatalf("%v: %s", err, text)
	}
	if m := models.Models[0]; m.Name != "m" || m.Family != "sd1" || !m.Loaded || models.Models[2].Name != "llm" || strings.Contains(text, `"name":"llm","family"`) {
		t.Errorf("the models: %s", text)
	}
}
