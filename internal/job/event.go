package job

import "strings"

// EventType is the name of an event, on the wire both the event's name and the
// member "type".
type EventType string

// The events of a job. Each executed step has one ProgressEvent or
// PreviewEvent; a ChangeEvent says that the job runs now, is paused, or waits
// again; the last event is a CompleteEvent or an ErrorEvent.
const (
	ProgressEvent EventType = "progress"
	PreviewEvent  EventType = "preview"
	ChangeEvent   EventType = "state"
	CompleteEvent EventType = "complete"
	ErrorEvent    EventType = "error"
)

// EventTypes lists all of them.
func EventTypes() []EventType {
	return []EventType{ProgressEvent, PreviewEvent, ChangeEvent, CompleteEvent, ErrorEvent}
}

// Event is one thing that happened to a job. Its JSON form is the wire's. In
// the event log the pictures are left out; whoever sends an event on puts them
// in.
type Event struct {
	// Number is the event's place in its job's stream, from 1, without gaps.
	Number uint64    `json:"-"`
	Type   EventType `json:"type"` // what happened

	State State `json:"state,omitempty"` // of a change: queued, running or paused

	Step    int     `json:"step,omitempty"`    // the step that was done, from 1
	Total   int     `json:"total,omitempty"`   // steps of all the job's pictures
	Percent float64 `json:"percent,omitempty"` // of them that are done

	Message string `json:"message,omitempty"` // of an error, for people
	Kind    Kind   `json:"kind,omitempty"`    // of an error, for programs

	Image     string  `json:"image,omitempty"`      // base64 of a PNG: a preview, or the finished picture, the first of several
	Format    string  `json:"format,omitempty"`     // of the image: png
	Seed      *uint64 `json:"seed,omitempty"`       // of the finished picture
	Width     int     `json:"width,omitempty"`      // of the finished picture, in pixels
	Height    int     `json:"height,omitempty"`     // of the finished picture, in pixels
	ElapsedMS int64   `json:"elapsed_ms,omitempty"` // that the job was computed
	Images    []Image `json:"images,omitempty"`     // all pictures where there are several, the first included

	LoRAs   []LoRAResult `json:"loras,omitempty"`   // what those of the request and its prompt did
	Float32 []string     `json:"float32,omitempty"` // networks whose weights were computed in float32, as float16 is too narrow for them
}

// Image is one picture of a batch in a CompleteEvent.
type Image struct {
	Image string `json:"image,omitempty"` // base64 of a PNG
	Seed  uint64 `json:"seed"`            // that it was drawn from
}

// Final reports whether the event is its job's last.
func (e Event) Final() bool { return e.Type == CompleteEvent || e.Type == ErrorEvent }

// previewEvery is the cadence of previews in steps.
const previewEvery = 5

// StepEvent is the event of an executed step, step counting 1…total. The first
// step, every fifth after it and the last carry a preview.
func StepEvent(step, total int) Event {
	e := Event{Type: ProgressEvent, Step: step, Total: total, Percent: 100 * float64(step) / float64(total)}
	if (step-1)%previewEvery == 0 || step == total {
		e.Type = PreviewEvent
	}
	return e
}

// StateEvent is the event of a change to a state that is not final. The end
// has events of its own, and being submitted is no change.
func StateEvent(s State) Event { return Event{Type: ChangeEvent, State: s} }

// EndEvent is the last event of a job that has ended; false if it has not.
func (r Record) EndEvent() (Event, bool) {
	switch r.State {
	case Complete:
		return r.completeEvent(), true
	case Failed:
		return Event{Type: ErrorEvent, Message: r.Message, Kind: r.Kind}, true
	case Cancelled:
		return Event{Type: ErrorEvent, Message: CancelMessage, Kind: CancelledByUser}, true
	}
	return Event{}, false
}

func (r Record) completeEvent() Event {
	e := Event{Type: CompleteEvent, Format: "png", Seed: &r.Seed, ElapsedMS: r.Elapsed.Milliseconds(), LoRAs: r.LoRAs, Float32: r.Float32}
	if len(r.Pictures) > 0 {
		e.Width, e.Height = r.Pictures[0].Width, r.Pictures[0].Height
	}
	if len(r.Pictures) > 1 {
		for _, p := range r.Pictures {
			e.Images = append(e.Images, Image{Seed: p.Seed})
		}
	}
	return e
}

// The end markers of streams, which have no name. Behind MarkError stands why.
const (
	MarkDone      = "[DONE]"
	MarkError     = "[ERROR]"
	MarkCancelled = "[CANCELLED]"
)

// EndMarker is the unnamed line that follows the last event of a stream.
func EndMarker(last Event) string {
	switch {
	case last.Type == CompleteEvent:
		return MarkDone
	case last.Kind == CancelledByUser:
		return MarkCancelled
	}
	return MarkError + " " + strings.Join(strings.Fields(last.Message), " ")
}
