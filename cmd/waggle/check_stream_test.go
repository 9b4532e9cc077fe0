//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"waggle/internal/builtin"
)

// said is a message of a worker's stream with what its JSON says.
type said struct {
	message
	event
}

func (m said) String() string { return fmt.Sprintf("{%s %s %.150s}", m.id, m.name, m.data) }

// reads reads a worker's stream to its end, without the changes of state that only our own clients know.
func (s *server) reads(stream string, header ...string) (list []said) {
	s.Helper()
	for _, m := range rest(s, s.openStream(stream, header...)) {
		if t := (said{message: m}); m.name != "state" {
			if m.name != "" {
				t.event = m.event(s)
			}
			list = append(list, t)
		}
	}
	return list
}

// event is what a named message says; its JSON must give it the same name.
func (m message) event(t testing.TB) (e event) {
	t.Helper()
	if err := json.Unmarshal([]byte(m.data), &e); err != nil || e.Type != m.name {
		t.Fatalf("event %q: %.200s: %v", m.name, m.data, err)
	}
	return e
}

// completes reads a stream, which must end with a picture and [DONE], and returns the last named event.
func (s *server) completes(stream string) event {
	s.Helper()
	list := s.reads(stream)
	if len(list) < 2 || list[len(list)-2].Type != "complete" || list[len(list)-1].data != "[DONE]" {
		s.Fatalf("%s ended with %v", stream, list[max(0, len(list)-2):])
	}
	return list[len(list)-2].event
}

// stepsOf are the steps that events of a type tell of, or of any type.
func stepsOf(list []said, kind string) (steps []int) {
	for _, e := range list {
		if e.Step > 0 && (kind == "" || e.Type == kind) {
			steps = append(steps, e.Step)
		}
	}
	return steps
}

// size is that of a PNG in RGB without alpha.
func size(t *testing.T, file []byte) image.Point {
	t.Helper()
	const colourType, truecolour = 25, 2 // of the header's bytes, PNG specification 11.2.1
	img, err := png.Decode(bytes.NewReader(file))
	if err != nil {
		t.Fatalf("no PNG: %v", err)
	}
	if file[colourType] != truecolour {
		t.Errorf("a PNG of colour type %d, want RGB", file[colourType])
	}
	return img.Bounds().Size()
}

func TestCheck05Submit(t *testing.T) {
	check(t, rbee, "POST /v1/jobs: 200, job_id and sse_url")
	s := aWorker(t)
	a := s.try(lamp(nil))
	var got map[string]any
	if err := json.Unmarshal(a.body, &got); err != nil || a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	id, isText := got["job_id"].(string)
	if !isText || id == "" || got["sse_url"] != "/v1/jobs/"+id+"/stream" {
		t.Errorf("answered %s", a.body)
	}
	s.ask(http.MethodDelete, "/v1/jobs/"+id, nil)
}

func TestCheck06Stream(t *testing.T) {
	check(t, rbee, "GET of the stream: 200, text/event-stream, no-cache")
	s := aWorker(t)
	_, stream := s.post(lamp(nil))
	a := s.ask(http.MethodGet, stream, nil)
	if kind := a.header.Get("Content-Type"); a.status != http.StatusOK || !strings.HasPrefix(kind, "text/event-stream") || a.header.Get("Cache-Control") != "no-cache" {
		t.Errorf("%d, %v", a.status, a.header)
	}
}

func TestCheck07Steps(t *testing.T) {
	check(t, ours, "each of 4 steps is told once, in order, with total and percent")
	s := aWorker(t)
	_, stream := s.post(lamp(nil))
	list := s.reads(stream)
	if steps := stepsOf(list, ""); !slices.Equal(steps, []int{1, 2, 3, 4}) {
		t.Errorf("steps %v", steps)
	}
	for _, e := range list {
		if e.Step > 0 && (e.Total != 4 || math.Abs(e.Percent-25*float64(e.Step)) > 0.001) {
			t.Errorf("step %d of %d is at %g percent", e.Step, e.Total, e.Percent)
		}
	}
}

func TestCheck08Cadence(t *testing.T) {
	check(t, both, "of 7 steps 1, 6 and 7 come as preview, the others as progress")
	s := aWorker(t)
	_, stream := s.post(lamp(fields{"steps": 7}))
	list := s.reads(stream)
	if previews, others := stepsOf(list, "preview"), stepsOf(list, "progress"); !slices.Equal(previews, []int{1, 6, 7}) || !slices.Equal(others, []int{2, 3, 4, 5}) {
		t.Errorf("previews of %v, progress of %v", previews, others)
	}
}

func TestCheck09Pictures(t *testing.T) {
	check(t, rbee, "previews and picture are PNGs in bare base64, the picture 256×256 in RGB")
	s := aWorker(t)
	_, stream := s.post(lamp(nil))
	pictures := map[string]int{}
	for _, e := range s.reads(stream) {
		if e.Type != "preview" && e.Type != "complete" {
			continue
		}
		pictures[e.Type]++ // JSON that is not bare base64 could not be read as an event
		if got := size(t, e.Image); e.Format != "png" || e.Type == "complete" && got != image.Pt(256, 256) {
			t.Errorf("%s of step %d: format %q, %v", e.Type, e.Step, e.Format, got)
		}
	}
	if pictures["preview"] != 2 || pictures["complete"] != 1 {
		t.Errorf("pictures: %v", pictures)
	}
}

func TestCheck10End(t *testing.T) {
	check(t, both, "complete comes last and once, then [DONE], then the connection closes")
	s := aWorker(t)
	_, stream := s.post(lamp(nil))
	list := s.reads(stream) // to where the server closes it
	completes, unnamed := 0, 0
	for _, m := range list {
		if m.name == "complete" {
			completes++
		}
		if m.name == "" {
			unnamed++
		}
	}
	last := list[max(0, len(list)-2):]
	if len(last) < 2 || last[0].name != "complete" || last[1].name != "" || last[1].data != "[DONE]" || completes != 1 || unnamed != 1 {
		t.Errorf("%d complete, %d without a name, the last %v", completes, unnamed, last)
	}
}

func TestCheck11Replay(t *testing.T) {
	check(t, ours, "a stream can be read again, whole or behind an event; unknown jobs are 404")
	s := aWorker(t)
	_, stream := s.post(lamp(fields{"steps": 7}))
	first, again := s.reads(stream), s.reads(stream)
	if len(first) != 9 || len(again) != 9 {
		t.Fatalf("%d and %d messages, want 7 steps, a picture and [DONE]", len(first), len(again))
	}
	for i, m := range first {
		if a := again[i]; a.id != m.id || a.Step != m.Step || m.name != "" && m.id == "" {
			t.Errorf("message %d has id %q and step %d, read again id %q and step %d", i, m.id, m.Step, a.id, a.Step)
		}
	}
	if previews := stepsOf(again, "preview"); !slices.Equal(previews, []int{7}) {
		t.Errorf("read again it has previews of %v, want the newest alone", previews)
	}
	if picture := again[7].Image; !bytes.Equal(picture, first[7].Image) || len(picture) == 0 {
		t.Error("read again it has another picture")
	}
	for k := range 8 {
		tail := s.reads(stream, "Last-Event-ID", first[k].id)
		if len(tail) != 8-k || tail[0].id != first[k+1].id || tail[0].Step != first[k+1].Step {
			t.Errorf("behind event %s: %v", first[k].id, tail)
		}
	}
	if a := s.ask(http.MethodGet, "/v1/jobs/nobody/stream", nil); a.status != http.StatusNotFound || strings.TrimSuffix(string(a.body), "\n") != "Job nobody not found or already streaming" {
		t.Errorf("an unknown job: %d %q", a.status, a.body)
	}
}

func TestCheck12Defaults(t *testing.T) {
	check(t, rbee, "a job without settings: 20 steps, 512×512, whatever its model prefers")
	drawsMuch(t)
	s := aWorker(t)
	_, stream := s.post(fields{"operation": "image_generation", "hive_id": "localhost", "model": builtin.Name, "prompt": "a lighthouse"})
	list := s.reads(stream)
	for _, e := range list {
		if e.Step > 0 && e.Total != 20 {
			t.Errorf("step %d of %d, want 20", e.Step, e.Total)
		}
	}
	last := list[max(0, len(list)-2)]
	if last.Type != "complete" || size(t, last.Image) != image.Pt(512, 512) {
		t.Errorf("the last event is %.100s", last.data)
	}
}
