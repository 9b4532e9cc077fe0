//go:build unix

package main

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/png"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
)

// refuses checks that a worker does not take a body, and in which words. All may stand anywhere but the first, which begins.
func (s *server) refuses(a answer, begins string, words ...string) {
	s.Helper()
	if a.status != http.StatusBadRequest || !strings.HasPrefix(string(a.body), begins) {
		s.Errorf("%d %.200q, want 400 %q…", a.status, a.body, begins)
	}
	for _, word := range words {
		if !strings.Contains(string(a.body), word) {
			s.Errorf("%q is not in %.200q", word, a.body)
		}
	}
}

func TestCheck13NoPrompt(t *testing.T) {
	check(t, both, "a job without prompt: 400, which names it")
	s := aWorker(t)
	job := lamp(nil)
	delete(job, "prompt")
	s.refuses(s.try(job), "Failed to parse operation: ", "prompt")
}

func TestCheck14Operations(t *testing.T) {
	check(t, both, "operations that do not exist or are not for a worker: 400")
	s := aWorker(t)
	s.refuses(s.try(fields{"operation": "make_coffee"}), "Failed to parse operation: ")
	s.refuses(s.try(fields{"operation": "status"}), "Unsupported operation for SD worker: ")
}

func TestCheck15Requests(t *testing.T) {
	check(t, rbee, "no JSON: 400; another content type: 415; another method: 405; nothing there: 404")
	s := aWorker(t)
	for _, row := range []struct {
		method, path, kind, body string
		status                   int
	}{
		{"POST", "/v1/jobs", "application/json", "{not json", 400},
		{"POST", "/v1/jobs", "text/plain", `{"operation":"status"}`, 415},
		{"PUT", "/v1/jobs", "application/json", "{}", 405},
		{"GET", "/v1/jobs", "", "", 200}, // ours lists jobs
		{"GET", "/v1/nope", "", "", 404},
	} {
		r, err := http.NewRequestWithContext(t.Context(), row.method, s.url+row.path, strings.NewReader(row.body))
		if err != nil {
			t.Fatal(err)
		}
		if row.kind != "" {
			r.Header.Set("Content-Type", row.kind)
		}
		if a, err := s.do(r); err != nil || a.status != row.status {
			t.Errorf("%s %s of %q: %d %.200q, want %d; %v", row.method, row.path, row.kind, a.status, a.body, row.status, err)
		}
	}
}

func TestCheck16Bounds(t *testing.T) {
	check(t, ours, "values out of bounds: 400 Invalid input")
	s := aWorker(t)
	for name, value := range map[string]any{"steps": 0, "guidance_scale": -1, "width": 250, "height": 2056, "prompt": ""} {
		s.refuses(s.try(lamp(fields{name: value})), "Invalid input: ")
	}
	for name, value := range map[string]any{"steps": 151, "guidance_scale": 20.5, "width": 260} {
		s.refuses(s.try(lamp(fields{name: value})), "Invalid input: ")
	}
}

func TestCheck17Prompts(t *testing.T) {
	check(t, ours, "200 words are drawn, 5,000 refused; a job that fails ends with one error and [ERROR]")
	s := aWorker(t)
	words := func(n int) string { return strings.TrimSpace(strings.Repeat("star ", n)) }
	s.refuses(s.try(lamp(fields{"prompt": words(5000)})), "Invalid input: Prompt too long")
	_, long := s.post(lamp(fields{"prompt": words(200)}))
	s.completes(long)

	id, broken := s.post(lamp(fields{"model": "broken"}))
	list := s.reads(broken)
	if r := s.record(id); r.Started.IsZero() || r.State != "failed" {
		t.Errorf("a job that fails while it runs: %+v", r)
	}
	if len(list) != 2 || list[0].name != "error" || list[0].Message == "" || list[1].name != "" || !strings.HasPrefix(list[1].data, "[ERROR] ") {
		t.Errorf("a job that fails: %v", list)
	}
}

func TestCheck22NoPicture(t *testing.T) {
	check(t, ours, "an input_image that is no base64 or no picture: 400")
	s := aWorker(t)
	s.refuses(s.try(transform("%%%", nil)), "Failed to decode")
	s.refuses(s.try(transform(base64.StdEncoding.EncodeToString([]byte("hello")), nil)), "")
}

// transform is a picture to be changed.
func transform(picture string, more fields) fields {
	f := fields{"operation": "image_transform", "hive_id": "localhost", "model": "tiny-shapes", "prompt": "a lighthouse", "input_image": picture}
	for name, value := range more {
		f[name] = value
	}
	return f
}

func TestCheck26LargePicture(t *testing.T) {
	check(t, ours, "an input_image of 5 MB is taken")
	s := aWorker(t)
	file := noisyPicture(t, 1296)
	if len(file) < 5_000_000 {
		t.Fatalf("the picture has %d bytes alone", len(file))
	}
	id, _ := s.post(transform(base64.StdEncoding.EncodeToString(file), fields{"steps": 1, "strength": 0.1}))
	s.ask(http.MethodDelete, "/v1/jobs/"+id, nil) // it may have ended
}

// noisyPicture is a PNG that nothing compresses.
func noisyPicture(t *testing.T, side int) []byte {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, side, side))
	r := rand.New(rand.NewPCG(1, 2))
	for i := range img.Pix {
		img.Pix[i] = byte(r.Uint32()) | byte(i%4/3*255) // alpha 255
	}
	var file bytes.Buffer
	fast := png.Encoder{CompressionLevel: png.NoCompression}
	if err := fast.Encode(&file, img); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}
