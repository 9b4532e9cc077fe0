package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"waggle/internal/job"
)

// What the checks of the protocol leave out, which are made of the whole program, or cannot bring about there.

// TestPreviews: a preview shows the latent of its own step.
func TestPreviews(t *testing.T) {
	h := start(t, script{step: 20 * time.Millisecond})
	list := h.follow(h.submit(jobBody(`,"steps":7`)))
	if red, _, _, _ := pixels(t, list[5].event.Image).At(9, 9).RGBA(); red>>8 != uint32(math.Round(255*float64(job.Float32(job.Float16(6.0/7))))) {
		t.Errorf("preview of step 6 of 7 is red by %d", red>>8)
	}
}

// TestInference: the old addresses of jobs are as good as the new ones.
func TestInference(t *testing.T) {
	h := start(t, script{})
	a := h.wants(h.call("POST", "/v1/inference", jobBody("")), 200, "{")
	id := string(decodeJSON[job.Accepted](t, a.body).JobID)
	if stream := h.get("/v1/inference/" + id + "/stream"); !strings.HasPrefix(stream.body, "event: ") || !strings.HasSuffix(stream.body, "data: [DONE]\n\n") {
		t.Errorf("the stream at its old address: %d, %.100q", stream.StatusCode, stream.body)
	}
}

func TestRefusals(t *testing.T) {
	h := start(t, script{}, func(c *Config) {
		c.BodyLimitBytes = 1 << 20
		c.Tokenize = func(_, text string) (Tokens, error) { return Tokens{Count: len(text)}, nil }
	})
	post := func(status int, body, begins string) {
		t.Helper()
		h.wants(h.call("POST", "/v1/jobs", body), status, begins)
	}
	post(400, `{"operation":"image_generation","hive_id":"h","model":"m"}`, "Failed to parse operation: missing field `prompt`")
	post(400, `{not json`, "Failed to parse the request body as JSON")
	post(413, `{"operation":"`+strings.Repeat("x", 1<<20)+`"}`, "Failed to buffer the request body")
	h.wants(h.call("POST", "/v1/jobs", jobBody(""), "Content-Type: text/plain"), 415, "Expected request with `Content-Type: application/json`")
	h.wants(h.call("POST", "/v1/jobs", jobBody(""), "Content-Type: "), 415, "Expected request")
	for _, a := range []answer{h.wants(h.call("PUT", "/v1/jobs", ""), 405, ""), h.wants(h.get("/v1/nope"), 404, ""), h.wants(h.get("/nope"), 404, "")} {
		if a.body != "" {
			t.Errorf("%s: body %q, want none", a.Request.URL.Path, a.body)
		}
	}
	for _, member := range []string{`"sampler":"magic"`, `"schedule":"magic"`} {
		post(400, jobBody(","+member), "Invalid input: ")
	}
	post(400, jobBody(`,"prompt":"`+strings.Repeat("c", 1201)+`"`), "Invalid input: Prompt too long: 1201 > 1200")
	transform := `{"operation":"image_transform","hive_id":"h","model":"m","prompt":"p","input_image":"`
	post(400, transform+base64.StdEncoding.EncodeToString([]byte("hello"))+`"}`, "Failed to load image from memory")
}

// TestFailure: a job that fails behind its first step. Its message is one line, however many it has.
func TestFailure(t *testing.T) {
	h := start(t, script{})
	list := h.follow(h.submit(jobBody(`,"prompt":"fail"`)))
	end := list[len(list)-2:]
	if end[0].event.Type != job.ErrorEvent || end[0].event.Kind != job.OutOfMemory || end[1].data != "[ERROR] out of memory: need 5 GiB" || len(steps(list, job.CompleteEvent)) != 0 {
		t.Errorf("a failing job ends with %v", end)
	}
}

// TestPictureOperations: transform and inpaint are taken with either name of their picture, streamed, and end with a plain
// message.
func TestPictureOperations(t *testing.T) {
	h := start(t, script{})
	small := base64.StdEncoding.EncodeToString(syntheticPicture(1, 256, 256))
	op := func(op, members string) string {
		return `{"operation":"` + op + `","hive_id":"h","model":"m","prompt":"p",` + members + `}`
	}
	for _, body := range []string{
		op("image_transform", `"steps":10,"strength":0.5,"input_image":"`+small+`"`),
		op("image_transform", `"steps":10,"strength":0.5,"init_image":"`+small+`"`),
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
