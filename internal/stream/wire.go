package stream

import (
	"context"
	"encoding/json"
	"slices"
	"sync"

	"waggle/internal/job"
)

// WiredLimitBytes bounds the events that are kept as they go over the wire; the
// newest is kept whatever its size.
const WiredLimitBytes = 16 << 20

// Wired is an event as it goes over the wire.
type Wired struct {
	job.Event        // without pictures
	Data      []byte // its JSON, pictures included; shared between readers
}

// wireCache puts an event and its pictures together once, however many readers
// want it: they share its bytes, also those who are slow to take them.
type wireCache struct {
	mu   sync.Mutex
	kept []*keptEvent // the oldest first
}

// wireKey names an event. Ids can be used again when their job was removed.
type wireKey struct {
	id      job.ID
	created int64 // nanoseconds since 1970
	number  uint64
	kind    job.EventType // an old preview is told as progress
}

type keptEvent struct {
	wireKey
	once func() Wired
	size int // bytes; 0 until they are there
}

// Wire puts an event together with its pictures, once for all its readers.
func (s *Jobs) Wire(ctx context.Context, r job.Record, e job.Event) Wired {
	put := func() Wired { return Bare(s.withPicture(context.WithoutCancel(ctx), r.ID, e)) }
	if e.Type != job.PreviewEvent && e.Type != job.CompleteEvent {
		return put()
	}
	k := s.wires.entry(wireKey{r.ID, r.Created.UnixNano(), e.Number, e.Type}, put)
	w := k.once()
	s.wires.settle(k, w, w.Type == e.Type) // else the picture was missing, perhaps not for all
	return w
}

// Bare is an event without its pictures, as it goes over the wire.
func Bare(e job.Event) Wired {
	data, err := json.Marshal(e)
	if err != nil { // as only a number that is none could cause
		e = job.Event{Number: e.Number, Type: job.ErrorEvent, Kind: job.Internal, Message: "internal error"}
		data, _ = json.Marshal(e)
	}
	e.Image, e.Images = "", nil
	return Wired{e, data}
}

// entry finds an event, or makes a place for it.
func (c *wireCache) entry(key wireKey, put func() Wired) *keptEvent {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.kept {
		if k.wireKey == key {
			return k
		}
	}
	k := &keptEvent{wireKey: key, once: sync.OnceValue(put)}
	c.kept = append(c.kept, k)
	return k
}

// settle keeps an event that is complete, and drops the oldest while there is
// too much.
func (c *wireCache) settle(k *keptEvent, w Wired, keep bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k.size = len(w.Data)
	if !keep {
		c.kept = slices.DeleteFunc(c.kept, func(other *keptEvent) bool { return other == k })
	}
	total := 0
	for _, other := range c.kept {
		total += other.size
	}
	for len(c.kept) > 1 && total > WiredLimitBytes {
		total -= c.kept[0].size
		c.kept = slices.Delete(c.kept, 0, 1)
	}
}
