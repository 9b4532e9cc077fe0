package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"image"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"waggle/internal/job"
)

// The checks of the worker's protocol, by their numbers in its description.
// The engine is scripted: what is checked is the wire.

func TestConformanceHealth(t *testing.T) {
	h := start(t, script{})
	health := decodeJSON[struct{ Status, Timestamp string }](t, h.wants(h.get("/health"), 200, "{").body) // 1
	if _, err := time.Parse(time.RFC3339, health.Timestamp); err != nil || health.Status != "healthy" {
		t.Errorf("1: health %+v, %v", health, err)
	}
	h.wants(h.get("/ready"), 200, `{"ready":true`) // 2
	h.putNode(job.Starting)
	ready := decodeJSON[struct {
		Ready             bool
		Reason, Timestamp string
	}](t, h.wants(h.get("/ready"), 503, "{").body)
	if ready.Ready || ready.Reason != "model loading" || ready.Timestamp == "" {
		t.Errorf("2: not ready is %+v", ready)
	}
	h.wants(h.get("/health"), 200, "{")
	h.wants(h.get("/"), 200, "") // 3
	h.putNode(job.Busy)
	info := decodeJSON[job.Node](t, h.wants(h.get("/info"), 200, "{").body) // 4
	if info.ID != testNode || info.ModelID != "tiny" || info.Port != h.port || info.Status != "busy" {
		t.Errorf("4: info %+v", info)
	}
}

func TestConformanceStream(t *testing.T) {
	h := start(t, script{step: 20 * time.Millisecond})
	id := h.submit(jobBody("")) // 5
	list := h.follow(id)        // 6
	var got []int
	for _, m := range list { // 7
		if m.event.Step == 0 {
			continue
		}
		got = append(got, m.event.Step)
		if want := 100 * float64(m.event.Step) / 4; m.event.Total != 4 || math.Abs(m.event.Percent-want) > 0.001 {
			t.Errorf("7: %+v, want total 4 and percent %g", m.event, want)
		}
	}
	if !slices.Equal(got, []int{1, 2, 3, 4}) {
		t.Errorf("7: steps %v", got)
	}

	list = h.follow(h.submit(jobBody(`,"steps":7`))) // 8
	if p, q := steps(list, job.PreviewEvent), steps(list, job.ProgressEvent); !slices.Equal(p, []int{1, 6, 7}) || !slices.Equal(q, []int{2, 3, 4, 5}) {
		t.Errorf("8: previews at %v, progress at %v", p, q)
	}
	for _, m := range list { // 9
		if m.event.Type != job.PreviewEvent && m.event.Type != job.CompleteEvent {
			continue
		}
		if size := pixels(t, m.event.Image).Bounds().Size(); m.event.Format != "png" || size != image.Pt(256, 256) {
			t.Errorf("9: %s has format %q and size %v", m.name, m.event.Format, size)
		}
	}
	last := list[len(list)-2:] // 10
	if last[0].event.Type != job.CompleteEvent || last[1].name != "" || last[1].data != "[DONE]" || len(steps(list, job.CompleteEvent)) != 1 {
		t.Errorf("10: the stream ends with %v", last)
	}
	if red, _, _, _ := pixels(t, list[5].event.Image).At(9, 9).RGBA(); red>>8 != uint32(math.Round(255*float64(job.Float32(job.Float16(6.0/7))))) {
		t.Errorf("preview of step 6 of 7 is red by %d", red>>8)
	}
}

func TestConformanceReplay(t *testing.T) { // 11
	h := start(t, script{step: 5 * time.Millisecond})
	id := h.submit(jobBody(`,"steps":7`))
	first, again := h.follow(id), h.follow(id)
	if len(first) != 9 || len(again) != 9 {
		t.Fatalf("%d and %d messages, want 7 steps, complete, marker", len(first), len(again))
	}
	for i := range first {
		if first[i].id != again[i].id || first[i].event.Step != again[i].event.Step {
			t.Errorf("message %d: id %s step %d, again id %s step %d", i, first[i].id, first[i].event.Step, again[i].id, again[i].event.Step)
		}
	}
	if p := steps(again, job.PreviewEvent); !slices.Equal(p, []int{7}) {
		t.Errorf("a late reader has previews of steps %v, want the newest alone", p)
	}
	if first[7].event.Image != again[7].event.Image {
		t.Error("another picture the second time")
	}
	tail := h.follow(id, "Last-Event-ID: "+first[4].id)
	if len(tail) != 4 || tail[0].id != first[5].id {
		t.Errorf("after event %s: %v", first[4].id, tail)
	}
	if end := h.follow(id, "Last-Event-ID: "+first[7].id); len(end) != 1 || end[0].data != "[DONE]" {
		t.Errorf("after the last event: %v", end)
	}
	h.wants(h.get("/v1/jobs/nobody/stream"), 404, "Job nobody not found or already streaming")
	if alias := h.get("/v1/inference/" + id + "/stream"); !strings.HasPrefix(alias.body, "event: ") {
		t.Errorf("the old address of the stream: %d", alias.StatusCode)
	}
}

func TestConformanceDefaults(t *testing.T) { // 12
	h := start(t, script{})
	list := h.follow(h.submit(`{"operation":"image_generation","hive_id":"localhost","model":"tiny","prompt":"x"}`))
	end := list[len(list)-2].event
	if list[0].event.Total != 20 || end.Width != 512 || end.Height != 512 || pixels(t, end.Image).Bounds().Dx() != 512 {
		t.Errorf("total %d, picture %d×%d", list[0].event.Total, end.Width, end.Height)
	}
}

func TestConformanceErrors(t *testing.T) { // 13 to 17, 22
	h := start(t, script{}, func(c *Config) {
		c.BodyLimitBytes = 1 << 20
		c.Tokenize = func(_, text string) (Tokens, error) { return Tokens{Count: len(text)}, nil }
	})
	post := func(status int, body, begins string) {
		t.Helper()
		h.wants(h.call("POST", "/v1/jobs", body), status, begins)
	}
	post(400, `{"operation":"image_generation","hive_id":"h","model":"m"}`, "Failed to parse operation: missing field `prompt`")
	post(400, `{"operation":"make_coffee"}`, "Failed to parse operation: ")
	post(400, `{"operation":"status"}`, "Unsupported operation for SD worker: ")
	post(400, `{not json`, "Failed to parse the request body as JSON")
	post(413, `{"operation":"`+strings.Repeat("x", 1<<20)+`"}`, "Failed to buffer the request body")
	h.wants(h.call("POST", "/v1/jobs", jobBody(""), "Content-Type: text/plain"), 415, "Expected request with `Content-Type: application/json`")
	h.wants(h.call("POST", "/v1/jobs", jobBody(""), "Content-Type: "), 415, "Expected request")
	for _, a := range []answer{h.wants(h.call("PUT", "/v1/jobs", ""), 405, ""), h.wants(h.get("/v1/nope"), 404, ""), h.wants(h.get("/nope"), 404, "")} {
		if a.body != "" {
			t.Errorf("%s: body %q, want none", a.Request.URL.Path, a.body)
		}
	}
	for _, member := range []string{
		`"steps":0`, `"steps":151`, `"guidance_scale":-1`, `"guidance_scale":20.5`, `"width":250`, `"width":260`, `"height":2056`, `"prompt":""`,
		`"sampler":"magic"`, `"schedule":"magic"`,
	} {
		post(400, jobBody(","+member), "Invalid input: ")
	}
	post(400, jobBody(`,"prompt":"`+strings.Repeat("cat ", 5000)+`"`), "Invalid input: Prompt too long")
	post(400, jobBody(`,"prompt":"`+strings.Repeat("c", 1201)+`"`), "Invalid input: Prompt too long: 1201 > 1200")
	transform := `{"operation":"image_transform","hive_id":"h","model":"m","prompt":"p","input_image":"`
	post(400, transform+`%%%"}`, "Failed to decode")
	post(400, transform+base64.StdEncoding.EncodeToString([]byte("hello"))+`"}`, "Failed to load image from memory")

	list := h.follow(h.submit(jobBody(`,"prompt":"` + strings.Repeat("cat ", 200) + `"`)))
	if list[len(list)-1].data != "[DONE]" {
		t.Errorf("17: 200 words end with %q", list[len(list)-1].data)
	}
	list = h.follow(h.submit(jobBody(`,"prompt":"fail"`)))
	end := list[len(list)-2:]
	if end[0].event.Type != job.ErrorEvent || end[0].event.Kind != job.OutOfMemory || end[1].data != "[ERROR] out of memory: need 5 GiB" || len(steps(list, job.CompleteEvent)) != 0 {
		t.Errorf("17: a failing job ends with %v", end)
	}
}

func TestConformanceSeeds(t *testing.T) { // 18
	h := start(t, script{})
	make := func(extra string) job.Event {
		list := h.follow(h.submit(jobBody(extra)))
		e := list[len(list)-2].event
		if e.Seed == nil {
			t.Fatalf("complete has no seed: %+v", e)
		}
		return e
	}
	one, same, two := make(""), make(""), make(`,"seed":2`)
	free, other := make(`,"seed":null`), make(`,"seed":null`)
	if one.Image != same.Image || one.Image == two.Image || free.Image == other.Image {
		t.Error("pictures do not depend on the seed as they should")
	}
	if again := make(fmt.Sprintf(`,"seed":%d`, *free.Seed)); again.Image != free.Image {
		t.Errorf("seed %d does not make its picture again", *free.Seed)
	}
}

func TestConformanceOrder(t *testing.T) { // 19, 20
	h := start(t, script{step: 5 * time.Millisecond})
	var ids []string
	for range 3 {
		ids = append(ids, h.submit(jobBody(`,"steps":20`)))
	}
	for range 10 {
		began := time.Now()
		h.wants(h.get("/health"), 200, "{")
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("20: health took %v", took)
		}
	}
	var ended []time.Time
	for _, id := range ids {
		h.follow(id)
		r, err := h.queue.Get(t.Context(), job.ID(id))
		if err != nil {
			t.Fatal(err)
		}
		ended = append(ended, r.Finished)
	}
	if !ended[0].Before(ended[1]) || !ended[1].Before(ended[2]) {
		t.Errorf("19: jobs ended at %v", ended)
	}
}

// TestConformancePictureOperations: transform and inpaint are taken with either
// name of their picture, streamed, and end with a plain message (21, 23); large
// pictures are taken (26).
func TestConformancePictureOperations(t *testing.T) {
	h := start(t, script{})
	small := base64.StdEncoding.EncodeToString(syntheticPicture(1, 256, 256))
	large := base64.StdEncoding.EncodeToString(append(syntheticPicture(1, 2048, 2048), make([]byte, 5<<20)...))
	op := func(op, members string) string {
		return `{"operation":"` + op + `","hive_id":"h","model":"m","prompt":"p",` + members + `}`
	}
	for _, body := range []string{
		op("image_transform", `"steps":10,"strength":0.5,"input_image":"`+small+`"`),
		op("image_transform", `"steps":10,"strength":0.5,"init_image":"`+small+`"`),
		op("image_transform", `"input_image":"`+large+`"`),
		op("image_inpaint", `"init_image":"`+small+`","mask_image":"`+small+`"`),
	} {
		list := h.follow(h.submit(body))
		if len(list) != 2 || !strings.Contains(list[0].event.Message, "not supported by this worker") || !strings.HasPrefix(list[1].data, "[ERROR] ") {
			t.Errorf("%.60s: %v", body, list)
		}
	}
}

// TestDamagedPictures: a picture whose header is good and whose pixels are not is refused when it is submitted.
func TestDamagedPictures(t *testing.T) {
	h := start(t, script{})
	good := syntheticPicture(1, 256, 256)
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 0x40
	text := base64.StdEncoding.EncodeToString
	for name, row := range map[string]struct{ input, mask []byte }{
		"cut input image":     {good[:len(good)/2], good},
		"cut mask image":      {good, good[:len(good)-20]},
		"changed input image": {flipped, good},
		"header input image":  {good[:40], good},
	} {
		t.Run(name, func(t *testing.T) {
			_, what, _ := strings.Cut(name, " ")
			h.wants(h.call("POST", "/v1/jobs", `{"operation":"image_inpaint","hive_id":"h","model":"m","prompt":"p","init_image":"`+text(row.input)+
				`","mask_image":"`+text(row.mask)+`"}`), 400, "Failed to load image from memory: "+what+": ")
		})
	}
}

func TestConformanceCancel(t *testing.T) { // 24, 25
	h := start(t, script{step: 150 * time.Millisecond}) // longer than a call takes on a busy machine
	running, queued, next := h.submit(jobBody(`,"steps":50`)), h.submit(jobBody("")), h.submit(jobBody(""))
	stream := h.open("/v1/jobs/" + running + "/stream")
	var list []wireMessage
	for m := range stream.messages {
		list = append(list, m)
		if m.event.Step == 3 {
			a := h.wants(h.call("DELETE", "/v1/jobs/"+running, ""), 200, "{")
			if got := decodeJSON[map[string]string](t, a.body); got["status"] != "cancelled" || got["job_id"] != running {
				t.Errorf("24: %s", a.body)
			}
			h.wants(h.call("DELETE", "/v1/jobs/"+queued, ""), 200, "{")
		}
	}
	end := list[len(list)-2:]
	if end[0].event.Type != job.ErrorEvent || end[0].event.Message != "Job cancelled by user" || end[1].data != "[CANCELLED]" {
		t.Errorf("24: the stream ends with %v", end)
	}
	if n := list[len(list)-3].event.Step; n > 4 {
		t.Errorf("24: step %d ran after the cancel at step 3", n)
	}
	if l := h.follow(next); l[len(l)-1].data != "[DONE]" {
		t.Errorf("24: the next job ends with %q", l[len(l)-1].data)
	}
	if l := h.follow(queued); len(l) != 2 || l[1].data != "[CANCELLED]" {
		t.Errorf("25: a job cancelled in the queue sent %v", l)
	}
	for _, id := range []string{running, queued, next, "nobody"} {
		h.wants(h.call("DELETE", "/v1/jobs/"+id, ""), 404, "Job "+id+" not found or cannot be cancelled")
	}
}

func TestConformanceDisconnect(t *testing.T) { // 27
	h := start(t, script{step: 10 * time.Millisecond})
	for _, row := range []struct {
		query string
		want  job.State
	}{{"", job.Complete}, {"?cancel_on_disconnect=1", job.Cancelled}} {
		id, next := h.submit(jobBody(`,"steps":60`)), h.submit(jobBody(""))
		stream := h.open("/v1/jobs/" + id + "/stream" + row.query)
		<-stream.messages
		stream.close()
		began := time.Now()
		waitFor(t, id+" ends", func() bool { return h.state(id).Final() })
		if got := h.state(id); got != row.want {
			t.Errorf("%q: the abandoned job is %s, want %s", row.query, got, row.want)
		}
		if took := time.Since(began); row.want == job.Cancelled && took > 3*time.Second {
			t.Errorf("it took %v to notice", took)
		}
		h.wants(h.get("/health"), 200, "{")
		if l := h.follow(next); l[len(l)-1].data != "[DONE]" {
			t.Errorf("the next job ends with %q", l[len(l)-1].data)
		}
		if l := h.follow(id); !l[len(l)-2].event.Final() {
			t.Errorf("the abandoned job's stream ends with %v", l[len(l)-2:])
		}
	}
}

// openStream is a stream being read.
type openStream struct {
	messages chan wireMessage
	close    func()
}

// open starts reading a stream.
func (h *harness) open(path string) openStream {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, "GET", h.url+path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	response, err := h.http.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	s := openStream{make(chan wireMessage, 1000), cancel}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(s.messages)
		defer response.Body.Close()
		for block := range blocks(response.Body) {
			for _, m := range parseSSE(h.t, block) {
				s.messages <- m
			}
		}
	}()
	h.t.Cleanup(func() {
		cancel()
		<-done
	})
	return s
}

// blocks cuts a stream at its blank lines.
func blocks(r io.Reader) func(func(string) bool) {
	return func(yield func(string) bool) {
		lines := bufio.NewReader(r)
		var block strings.Builder
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			if line != "\n" {
				block.WriteString(line)
				continue
			}
			if !yield(block.String()) {
				return
			}
			block.Reset()
		}
	}
}
