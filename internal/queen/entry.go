package queen

import (
	"encoding/json"
	"strconv"

	"waggle/internal/job"
	"waggle/internal/sse"
)

// entry is one message of a job's stream: a narration of the queen, which has
// no name, or an event of the worker as it came. Entries are never changed,
// only replaced.
type entry struct {
	name string
	data []byte
}

// event is the entry as a message of a stream; number is its id, 0 for none.
func (e entry) event(number int) sse.Event {
	if number == 0 {
		return sse.Event{Name: e.name, Data: e.data}
	}
	return sse.Event{Name: e.name, ID: strconv.Itoa(number), Data: e.data}
}

// size is what the entry counts for, in bytes: with what keeping it takes.
func (e entry) size() int64 { return int64(len(e.name)+len(e.data)) + 64 }

// preview reports whether the entry carries a picture that a newer one makes worthless.
func (e entry) preview() bool { return e.name == string(job.PreviewEvent) }

// slim turns a preview into the progress that it also is.
func (e entry) slim() entry {
	var all map[string]json.RawMessage
	if json.Unmarshal(e.data, &all) != nil || all == nil {
		return entry{name: string(job.ProgressEvent), data: []byte(`{"type":"progress"}`)}
	}
	delete(all, "image")
	delete(all, "format")
	all["type"] = json.RawMessage(`"progress"`)
	return entry{name: string(job.ProgressEvent), data: jsonEntry(all).data}
}
