package engine

import (
	"errors"
	"time"

	"waggle/gpu"
	"waggle/internal/job"
)

// Meter is told what engines do, by all of them at the same time. It should be quick: the next step waits for it.
type Meter interface {
	Stepped(model string, pictures int, took time.Duration) // pictures that shared a step
	Drew(model string, took time.Duration)                  // a picture was drawn here and is stored
	Showed()                                                // a preview
	Saved(took time.Duration, err error)                    // a checkpoint, or not
	Loaded(model string, took time.Duration)
	Failed(reason string)    // a call on a device, for pictures under way
	Abandoned(reason string) // a device, which is opened anew
}

// reason says in a word why a call failed.
func reason(err error) string {
	var hung *hungError
	var panicked *panicError
	switch {
	case errors.As(err, &hung):
		return "hung"
	case errors.As(err, &panicked):
		return "panic"
	case errors.Is(err, gpu.ErrDeviceLost):
		return "lost"
	case errors.Is(err, gpu.ErrOutOfMemory):
		return "memory"
	}
	return "other"
}

// unmetered is a Meter that nobody reads.
type unmetered struct{}

func (unmetered) Stepped(string, int, time.Duration) {}
func (unmetered) Drew(string, time.Duration)         {}
func (unmetered) Showed()                            {}
func (unmetered) Saved(time.Duration, error)         {}
func (unmetered) Loaded(string, time.Duration)       {}
func (unmetered) Failed(string)                      {}
func (unmetered) Abandoned(string)                   {}

// Seat is how one engine of a node is now.
type Seat struct {
	Adapter string
	Status  job.Status
	Models  []string // that are loaded
	Bytes   int64    // taken of the device's memory, at the last step
}

// Seats tells how the engines are, in the order of their devices. It asks none of them.
func (n *Node) Seats() (list []Seat) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.seats {
		list = append(list, Seat{s.adapter, s.status, s.names, s.bytes})
	}
	return list
}
