package job

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"slices"
	"testing"
)

func TestStepEventCadence(t *testing.T) {
	for _, row := range []struct {
		total int
		want  []int
	}{
		{1, []int{1}}, {4, []int{1, 4}}, {7, []int{1, 6, 7}}, {20, []int{1, 6, 11, 16, 20}},
	} {
		var got []int
		for step := 1; step <= row.total; step++ {
			e := StepEvent(step, row.total)
			if e.Type == PreviewEvent {
				got = append(got, step)
			}
			if want := 100 * float64(step) / float64(row.total); math.Abs(e.Percent-want) > 1e-9 {
				t.Errorf("step %d of %d: %g percent, want %g", step, row.total, e.Percent, want)
			}
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%d steps: previews at %v, want %v", row.total, got, row.want)
		}
	}
}

func TestEndMarkers(t *testing.T) {
	failed := Record{State: Failed, Outcome: Outcome{Kind: Internal, Message: "line one\r\nline two"}}
	for _, row := range []struct {
		name   string
		record Record
		want   string
	}{
		{"complete", Record{State: Complete}, "[DONE]"},
		{"failed", failed, "[ERROR] line one line two"},
		{"cancelled", Record{State: Cancelled}, "[CANCELLED]"},
	} {
		e, ended := row.record.EndEvent()
		if !ended || !e.Final() || EndMarker(e) != row.want {
			t.Errorf("%s: ended %v, final %v, marker %q, want %q", row.name, ended, e.Final(), EndMarker(e), row.want)
		}
	}
	if _, ended := (Record{State: Running}).EndEvent(); ended {
		t.Error("a running job has no last event")
	}
}

// TestEventJSON pins the members of the wire's events.
func TestEventJSON(t *testing.T) {
	seed := uint64(7)
	for _, row := range []struct {
		event Event
		want  string
	}{
		{StepEvent(2, 20), `{"type":"progress","step":2,"total":20,"percent":10}`},
		{Event{Type: CompleteEvent, Image: "iVBO", Format: "png", Seed: &seed, Width: 8, Height: 8, ElapsedMS: 5},
			`{"type":"complete","image":"iVBO","format":"png","seed":7,"width":8,"height":8,"elapsed_ms":5}`},
		{Event{Type: ErrorEvent, Message: "no", Kind: Internal}, `{"type":"error","message":"no","kind":"internal"}`},
	} {
		got, err := json.Marshal(row.event)
		if err != nil || string(got) != row.want {
			t.Errorf("got %s (%v)\nwant %s", got, err, row.want)
		}
	}
}

func TestIDs(t *testing.T) {
	last := ID("")
	for range 1000 {
		id := NewID()
		if !ValidID(string(id)) || id <= last {
			t.Fatalf("id %q after %q: not valid or not ascending", id, last)
		}
		last = id
	}
	for _, bad := range []string{"", "a b", "ä", "a/b", "..", string(make([]byte, 65))} {
		if ValidID(bad) {
			t.Errorf("%q must not be an id", bad)
		}
	}
}

func TestErrors(t *testing.T) {
	err := Errorf(OutOfMemory, "decode: %w", io.ErrUnexpectedEOF)
	if KindOf(err) != OutOfMemory || !errors.Is(err, io.ErrUnexpectedEOF) || KindOf(io.EOF) != Internal {
		t.Errorf("kinds %s and %s, cause kept: %v", KindOf(err), KindOf(io.EOF), errors.Is(err, io.ErrUnexpectedEOF))
	}
}

func TestChoose(t *testing.T) {
	samplers := []Choice{{Name: "euler", Label: "Euler"}, {Name: "dpmpp_2m", Label: "DPM++ 2M", Aliases: []string{"dpm_solver_multistep"}}}
	schedules := []Choice{{Name: "karras", Label: "Karras"}, {Name: "sgm_uniform", Label: "SGM Uniform"}}
	for _, row := range []struct{ name, sampler, schedule string }{
		{"euler", "euler", ""}, {"Euler", "euler", ""}, {"DPM++ 2M", "dpmpp_2m", ""}, {"dpmpp-2m", "dpmpp_2m", ""},
		{"DPM_Solver_Multistep", "dpmpp_2m", ""}, {"DPM++ 2M Karras", "dpmpp_2m", "karras"}, {"dpm++ 2m sgm uniform", "dpmpp_2m", "sgm_uniform"},
		{"karras", "", ""}, {"", "", ""}, {"dpm++ 3m", "", ""},
	} {
		sampler, schedule, ok := ChooseSampler(samplers, schedules, row.name)
		if sampler.Name != row.sampler || schedule.Name != row.schedule || ok != (row.sampler != "") {
			t.Errorf("%q: got %q, %q, %v, want %q, %q", row.name, sampler.Name, schedule.Name, ok, row.sampler, row.schedule)
		}
	}
}

// TestFloat16 goes through every binary16 value, and the rounding of some that
// are none.
func TestFloat16(t *testing.T) {
	for h := range 1 << 16 {
		f := Float32(uint16(h))
		if f != f {
			if Float16(f)&0x7c00 != 0x7c00 || Float16(f)&0x3ff == 0 {
				t.Fatalf("%#04x is not a number, came back as %#04x", h, Float16(f))
			}
			continue
		}
		if got := Float16(f); got != uint16(h) {
			t.Fatalf("%#04x = %g came back as %#04x", h, f, got)
		}
	}
	for _, row := range []struct {
		f    float32
		want uint16
	}{
		{1 + 1.0/2048, 0x3c00}, {1 + 3.0/2048, 0x3c02}, {65519, 0x7bff}, {65520, 0x7c00},
		{0x1p-25, 0}, {0x1.8p-25, 1}, {-1e9, 0xfc00}, {0x1.ff8p-15 + 0x1p-26, 0x03ff}, {0x1.fffp-15, 0x0400},
	} {
		if got := Float16(row.f); got != row.want {
			t.Errorf("%g: got %#04x, want %#04x", row.f, got, row.want)
		}
	}
}
