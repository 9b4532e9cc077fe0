package queue

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"time"

	"waggle/internal/job"
)

// attemptsLimit is how many times a job may be begun; a run that was lost
// after the last of them ends the job.
const attemptsLimit = 3

// stored is a record as it lies in the bucket: what everybody may know, and
// what only the queue needs. The pictures of the request lie elsewhere.
type stored struct {
	job.Record
	Request storedRequest `json:"request"`

	Client string `json:"client,omitempty"`
	// Sequence is the place of the job's message in the stream of jobs. Any
	// other message of the job is a left-over.
	Sequence uint64 `json:"sequence,omitempty"`
	// Lease names the present lease, Reply is where its message is answered.
	Lease string `json:"lease,omitempty"`
	Reply string `json:"reply,omitempty"`
	// damaged: the record could not be read; what is here says so.
	damaged bool
	// Inputs is the object with the request's pictures, empty if it has none.
	Inputs string `json:"inputs,omitempty"`
}

// storedRequest is a request without the wire's rules: it may lack pictures
// that the wire wants.
type storedRequest struct {
	plainRequest
	Strength float64 `json:"strength,omitempty"`
}

type plainRequest job.Request

// newRecord is the record of a job just submitted.
func newRecord(r job.Request, digest string) job.Record {
	record := job.Record{ID: r.ID, State: job.Queued, Request: r, Digest: digest, Created: time.Now().UTC().Round(0)}
	if record.ID == "" {
		record.ID = job.NewID()
	}
	if r.Seed != nil {
		record.Seed = *r.Seed
	} else {
		record.Seed = job.RandomSeed()
	}
	return record
}

// encode returns the stored form, without pictures.
func (s stored) encode() ([]byte, error) {
	r := s.Record.Request.WithoutPictures()
	s.Request = storedRequest{plainRequest: plainRequest(r), Strength: r.Strength}
	return json.Marshal(s)
}

// decodeStored reads what encode wrote at a time. What cannot be read becomes
// a failed job that says so.
func decodeStored(id job.ID, data []byte, written time.Time) stored {
	var s stored
	err := json.Unmarshal(data, &s)
	if err == nil && (s.ID != id || !s.State.Valid()) {
		err = fmt.Errorf("it speaks of job %.64q in state %.20q", s.ID, s.State)
	}
	if err != nil {
		o := job.Outcome{Kind: job.Internal, Message: "The job's record on the server is damaged"}
		return stored{Record: job.Record{ID: id, State: job.Failed, Outcome: o, Created: written, Finished: written}, damaged: true}
	}
	s.Record.Request = job.Request(s.Request.plainRequest)
	s.Record.Request.Strength = s.Request.Strength
	s.Record.Request.Client = s.Client
	s.Request = storedRequest{}
	return s
}

// started is the record when a node takes the job whose message has come to
// it. A job that was running until now was lost by a node: that is an attempt;
// one that was handed back was not.
func (s stored) started(node, lease, reply string) stored {
	if s.State == job.Running && s.CancelRequested {
		return s.ended(job.Cancelled, job.Outcome{Kind: job.CancelledByUser, Message: job.CancelMessage})
	}
	if s.State == job.Running {
		if s.Attempt >= attemptsLimit {
			return s.ended(job.Failed, job.Outcome{Kind: job.AttemptsExhausted, Message: fmt.Sprintf(
				"The server was interrupted %d times while it made this picture; it may be what stops it", s.Attempt)})
		}
		s.Attempt++
	}
	s.Attempt = max(s.Attempt, 1)
	s.State, s.Node, s.Started = job.Running, node, time.Now().UTC()
	s.Lease, s.Reply = lease, reply
	return s
}

// ended is the record of a job that has ended; it lets go of the pictures.
func (s stored) ended(state job.State, o job.Outcome) stored {
	s.State, s.Outcome, s.Finished = state, o, time.Now().UTC()
	s.Record.Request = s.Record.Request.WithoutPictures()
	s.Reply = ""
	return s
}

// inputs are the pictures of a request.
type inputs struct {
	Input, Mask []byte
	Controls    []job.Control
}

func inputsOf(r job.Request) (in inputs, any bool) {
	in = inputs{r.InputImage, r.MaskImage, r.Controls}
	return in, len(in.Input)+len(in.Mask)+len(in.Controls) > 0
}

func (in inputs) encode() ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(in)
	return b.Bytes(), err
}

// into puts encoded pictures back into their request.
func (in inputs) into(r *job.Request, data []byte) error {
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&in); err != nil {
		return err
	}
	r.InputImage, r.MaskImage, r.Controls = in.Input, in.Mask, in.Controls
	return nil
}
