//go:build unix

package main

import (
	"bytes"
	"cmp"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"strings"
	"testing"
	"time"
)

// chaosRecord is what scenarios read of a job's record.
type chaosRecord struct {
	ID, State, Kind, Message string
	Attempt                  int
	Started                  time.Time
}

func (r chaosRecord) ended() bool {
	return r.State == "complete" || r.State == "failed" || r.State == "cancelled"
}

// trace is what there is of a job at the end.
type trace struct {
	missing  string // why there is no record
	record   chaosRecord
	events   []placedEvent
	pictures [][]byte
}

// finding is one thing that is wrong with a job.
type finding struct {
	damage damage
	what   string
}

func (j chaosJob) complete() bool { return cmp.Or(j.ends, "complete") == "complete" }

// compare holds a job's trace against what was asked of it; want are the pictures of an undisturbed run.
func (j chaosJob) compare(t trace, want [][]byte) (list []finding) {
	add := func(d damage, format string, args ...any) {
		list = append(list, finding{d, fmt.Sprintf(format, args...)})
	}
	if t.missing != "" {
		add(lost, "no record: %s", t.missing)
		return list
	}
	if r := t.record; r.State != cmp.Or(j.ends, "complete") || j.kind != "" && r.Kind != j.kind || !strings.Contains(r.Message, j.message) {
		add(lost, "it is %s (%s %q), want %s (%s %q)", r.State, r.Kind, r.Message, cmp.Or(j.ends, "complete"), j.kind, j.message)
		return list
	}
	list = append(list, j.compareEvents(t.events)...)
	if !j.complete() {
		return list
	}
	if len(t.pictures) != len(want) {
		add(lost, "%d pictures, want %d", len(t.pictures), len(want))
		return list
	}
	for i := range want {
		if err := samePixels(t.pictures[i], want[i]); err != nil {
			add(different, "picture %d: %v", i, err)
		}
	}
	return list
}

// compareEvents: numbers count from 1, every step is told once and in order, and there is one end, which is the last.
func (j chaosJob) compareEvents(events []placedEvent) (list []finding) {
	add := func(d damage, format string, args ...any) {
		list = append(list, finding{d, fmt.Sprintf(format, args...)})
	}
	steps, ends := 0, 0
	for i, e := range events {
		switch want := i + 1; {
		case e.id > want && len(list) == 0:
			add(lost, "event %d is followed by %d", i, e.id)
		case e.id < want && len(list) == 0:
			add(doubled, "event %d comes again", e.id)
		}
		switch e.Type {
		case "complete", "error":
			ends++
		case "progress", "preview":
			if steps++; e.Step < steps {
				add(doubled, "step %d comes again", e.Step)
			} else if e.Step > steps {
				add(lost, "step %d follows %d", e.Step, steps-1)
			}
			steps = e.Step
		}
	}
	end := map[bool]string{true: "complete", false: "error"}[j.complete()]
	switch {
	case ends > 1:
		add(doubled, "%d ends are told", ends)
	case ends == 0 || events[len(events)-1].Type != end:
		add(lost, "the last of %d events is not %s", len(events), end)
	case j.complete() && steps != j.steps():
		add(lost, "%d steps are told, want %d", steps, j.steps())
	}
	return list
}

// samePixels compares two PNG files by what they show.
func samePixels(got, want []byte) error {
	if bytes.Equal(got, want) {
		return nil
	}
	a, err := pixels(got)
	if err != nil {
		return fmt.Errorf("it cannot be read: %w", err)
	}
	b, err := pixels(want)
	if err != nil {
		return fmt.Errorf("the undisturbed one cannot be read: %w", err)
	}
	if a.Rect != b.Rect {
		return fmt.Errorf("it is %v, want %v", a.Rect, b.Rect)
	}
	differing, most := 0, 0
	for i := range a.Pix {
		if d := int(a.Pix[i]) - int(b.Pix[i]); d != 0 {
			differing, most = differing+1, max(most, d, -d)
		}
	}
	if differing > 0 {
		return fmt.Errorf("%d values differ, by up to %d", differing, most)
	}
	return nil
}

func pixels(file []byte) (*image.NRGBA, error) {
	img, err := png.Decode(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	flat := image.NewNRGBA(img.Bounds())
	draw.Draw(flat, flat.Rect, img, img.Bounds().Min, draw.Src)
	return flat, nil
}

// TestJudge: the judge of the scenarios finds what it is there to find.
func TestJudge(t *testing.T) {
	file := func(v uint8, text string) []byte {
		img := image.NewNRGBA(image.Rect(0, 0, 2, 2))
		for i := range img.Pix {
			img.Pix[i] = v
		}
		var b bytes.Buffer
		if err := png.Encode(&b, img); err != nil {
			t.Fatal(err)
		}
		return append(b.Bytes(), text...)
	}
	step := func(id, n int) placedEvent { return placedEvent{id, event{Type: "progress", Step: n}} }
	end := func(id int, kind string) placedEvent { return placedEvent{id, event{Type: kind}} }
	done := chaosRecord{State: "complete"}
	job := chaosJob{recipe: fields{"steps": 2}}
	failing := chaosJob{recipe: fields{"steps": 2}, ends: "failed", kind: "internal", message: "damaged"}
	whole := []placedEvent{step(1, 1), step(2, 2), end(3, "complete")}
	for _, row := range []struct {
		name string
		job  chaosJob
		got  trace
		want string
	}{
		{"good", job, trace{"", done, whole, [][]byte{file(9, "other metadata")}}, ""},
		{"with states", job, trace{"", done, []placedEvent{end(1, "state"), step(2, 1), end(3, "state"), step(4, 2), end(5, "complete")}, [][]byte{file(9, "")}}, ""},
		{"failed as it must", failing, trace{"", chaosRecord{State: "failed", Kind: "internal", Message: "It is damaged"}, []placedEvent{step(1, 1), end(2, "error")}, nil}, ""},
		{"no record", job, trace{missing: "404"}, "lost"},
		{"still waiting", job, trace{record: chaosRecord{State: "queued"}}, "lost"},
		{"failed", job, trace{record: chaosRecord{State: "failed"}}, "lost"},
		{"not failed", failing, trace{"", done, whole, [][]byte{file(9, "")}}, "lost"},
		{"another reason", failing, trace{record: chaosRecord{State: "failed", Kind: "internal", Message: "no"}}, "lost"},
		{"no end", job, trace{"", done, whole[:2], [][]byte{file(9, "")}}, "lost"},
		{"no events", job, trace{"", done, nil, [][]byte{file(9, "")}}, "lost"},
		{"a step missing", job, trace{"", done, []placedEvent{step(1, 2), end(2, "complete")}, [][]byte{file(9, "")}}, "lost"},
		{"the last step missing", job, trace{"", done, []placedEvent{step(1, 1), end(2, "complete")}, [][]byte{file(9, "")}}, "lost"},
		{"a gap", job, trace{"", done, []placedEvent{step(1, 1), step(3, 2), end(4, "complete")}, [][]byte{file(9, "")}}, "lost"},
		{"a step twice", job, trace{"", done, []placedEvent{step(1, 1), step(2, 1), step(3, 2), end(4, "complete")}, [][]byte{file(9, "")}}, "doubled"},
		{"a number twice", job, trace{"", done, []placedEvent{step(1, 1), step(1, 2), end(2, "complete")}, [][]byte{file(9, "")}}, "doubled"},
		{"two ends", job, trace{"", done, []placedEvent{step(1, 1), step(2, 2), end(3, "complete"), end(4, "complete")}, [][]byte{file(9, "")}}, "doubled"},
		{"another picture", job, trace{"", done, whole, [][]byte{file(8, "")}}, "different"},
		{"no picture", job, trace{"", done, whole, [][]byte{[]byte("Picture not found")}}, "different"},
		{"a picture missing", job, trace{"", done, whole, nil}, "lost"},
	} {
		var got []string
		for _, f := range row.job.compare(row.got, [][]byte{file(9, "")}) {
			got = append(got, string(f.damage))
		}
		if text := strings.Join(got, " "); text != row.want {
			t.Errorf("%s: %q, want %q", row.name, text, row.want)
		}
	}
}
