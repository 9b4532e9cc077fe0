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
	// Moved is the place of a job that was moved in its line; its message has
	// a lane of its own. Nil for all others.
	Moved *place `json:"moved,omitempty"`
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

// digestOf is the digest of a request whose id may be a job's.
func digestOf(r job.Request) (string, error) {
	if r.ID != "" && !job.ValidID(string(r.ID)) {
		return "", job.Errorf(job.InvalidInput, "Invalid input: id %.70q cannot be a job's", string(r.ID))
	}
	digest, err := r.Digest()
	if err != nil {
		return "", fmt.Errorf("digest request: %w", err)
	}
	return digest, nil
}

// newRecord is the record of a job just submitted.
func newRecord(r job.Request, digest string) job.Record {
	record := job.Record{ID: r.ID, State: job.Queued, Request: r, Digest: digest, StopAt: r.StopAtStep, Created: time.Now().UTC().Round(0)}
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

// place is where a job stands among its client's waiting jobs of a priority.
func (s stored) place() place {
	if s.Moved != nil {
		return *s.Moved
	}
	return place{Rank: int64(s.Sequence)}
}

// asked is the record as it is given to those who ask for it.
func (s stored) asked() job.Record {
	if s.State == job.Queued {
		s.Record.Place = s.place().text()
	}
	return s.Record
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
