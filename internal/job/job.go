// Package job is the service's contract as Go values: what a client may ask
// for (Request), how far it has come (Record, State), what it hears (Event,
// Preview) and what the machines that do the work can do (Node, ModelInfo).
//
// Every other package of the service half speaks in these values; nothing here
// knows HTTP, queues or GPUs. Names on the wire are stable: they are part of a
// public protocol.
package job

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
)

// ID names one job. Ids made here are "job-" and a UUIDv7, so that sorting by
// id is sorting by time; ids chosen by clients are any text ValidID accepts.
type ID string

// idLimit is the greatest length of an id in bytes; the binary preview frame
// has one byte for it.
const idLimit = 64

// NewID returns a fresh id, greater than every id this process made before.
func NewID() ID {
	return ID("job-" + uuid.Must(uuid.NewV7()).String())
}

// IDPattern is ValidID as a regular expression.
const IDPattern = `^[A-Za-z0-9_-]{1,64}$`

// ValidID reports whether s may be a job's id: 1 to 64 of A-Z a-z 0-9 _ -.
// Such a text is also safe as a file name and as a part of a URL path.
func ValidID(s string) bool {
	if len(s) == 0 || len(s) > idLimit {
		return false
	}
	for i := range len(s) {
		if !idByte(s[i]) {
			return false
		}
	}
	return true
}

func idByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// State is where a job stands.
type State string

// The states. Complete, Failed and Cancelled are final.
const (
	Queued    State = "queued"
	Running   State = "running"
	Paused    State = "paused"
	Complete  State = "complete"
	Failed    State = "failed"
	Cancelled State = "cancelled"
)

// States lists all of them.
func States() []State { return []State{Queued, Running, Paused, Complete, Failed, Cancelled} }

// Final reports whether a job in this state will never change again.
func (s State) Final() bool { return s == Complete || s == Failed || s == Cancelled }

// Valid reports whether s is one of the six states.
func (s State) Valid() bool { return slices.Contains(States(), s) }

// Kind says why a job failed. Kinds are stable on the wire; messages are for people.
type Kind string

// The kinds of failure.
const (
	InvalidInput      Kind = "invalid_input"
	ModelNotFound     Kind = "model_not_found"
	ModelInvalid      Kind = "model_invalid"
	OutOfMemory       Kind = "out_of_memory"
	DeviceLost        Kind = "device_lost"
	CancelledByUser   Kind = "cancelled"
	AttemptsExhausted Kind = "attempts_exhausted"
	Internal          Kind = "internal"
)

// Kinds lists all of them.
func Kinds() []Kind {
	return []Kind{InvalidInput, ModelNotFound, ModelInvalid, OutOfMemory, DeviceLost, CancelledByUser, AttemptsExhausted, Internal}
}

// CancelMessage is the text of the last event of a cancelled job.
const CancelMessage = "Job cancelled by user"

// Error is a failure with its kind: the message is meant for the person who
// asked, Err (which may be nil) for the log.
type Error struct {
	Kind    Kind
	Message string
	Err     error
}

func (e *Error) Error() string { return e.Message }

func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error of the given kind; a %w in the format is kept for errors.Is.
func Errorf(kind Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Message: err.Error(), Err: errors.Unwrap(err)}
}

// KindOf returns the kind of err, Internal if it carries none.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// Record is all that is known of a job, as the queue keeps it.
type Record struct {
	ID      ID      `json:"id"`      // its name
	State   State   `json:"state"`   // where it stands
	Request Request `json:"request"` // the operation, with all values that were filled in
	// Digest identifies the request as it was submitted, before a seed was
	// chosen for it: two submissions under one id are the same job if their
	// digests are equal.
	Digest string `json:"digest,omitempty"`
	Seed   uint64 `json:"seed"` // of its first picture

	Created  time.Time `json:"created"`           // when it was submitted
	Started  time.Time `json:"started,omitzero"`  // when it began to be drawn
	Finished time.Time `json:"finished,omitzero"` // when it ended

	// Node is the id of the node that runs or ran the job.
	Node string `json:"node,omitempty"`
	// Attempt counts starts, from 1. Being handed back is not a new attempt:
	// only a run that was lost is.
	Attempt int `json:"attempt,omitempty"`
	// CancelRequested is set when a running job shall stop at its next step.
	CancelRequested bool `json:"cancel_requested,omitempty"`
	// PauseRequested is set when a running job shall pause at its next step.
	PauseRequested bool `json:"pause_requested,omitempty"`
	// StopAt is the step after which the job pauses, as the request asks; 0
	// for one that runs through, or was resumed.
	StopAt int `json:"stop_at,omitempty"`
	// Place orders the waiting jobs of a client and priority, compared as text.
	// Queues that are asked fill it in; it is empty for a job that does not wait.
	Place string `json:"place,omitempty"`

	Outcome
}

// Outcome is how a job ended. State is one of the final ones.
type Outcome struct {
	Kind     Kind          `json:"kind,omitempty"`     // why it failed, for programs
	Message  string        `json:"message,omitempty"`  // why it failed, for people
	Pictures []Picture     `json:"pictures,omitempty"` // in their order
	LoRAs    []LoRAResult  `json:"loras,omitempty"`    // what those of the request and its prompt did
	Float32  []string      `json:"float32,omitempty"`  // networks whose weights were computed in float32, as float16 is too narrow for them
	Elapsed  time.Duration `json:"elapsed,omitempty"`
}

// Picture describes one finished picture; its bytes are in the store under the
// job's id and this picture's place in the list.
type Picture struct {
	Seed   uint64 `json:"seed"`   // that it was drawn from
	Width  int    `json:"width"`  // in pixels
	Height int    `json:"height"` // in pixels
}
