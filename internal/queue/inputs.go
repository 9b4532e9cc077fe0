package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"waggle/internal/job"
)

// putLimit is how long the pictures of a job may take to be written.
const putLimit = 30 * time.Second

// putInputs writes the pictures of a request, if it has any; ErrFull if those
// that wait take too much.
func (q *JetStream) putInputs(ctx context.Context, s *stored) error {
	in, any := inputsOf(s.Record.Request)
	if !any {
		return nil
	}
	data, err := in.encode()
	if err != nil {
		return fmt.Errorf("encode the pictures of %s: %w", s.ID, err)
	}
	s.Inputs = string(s.ID) + "." + uuid.NewString() // not another submission's
	ctx, cancel := context.WithTimeout(ctx, putLimit)
	defer cancel()
	if _, err := q.inputs.PutBytes(ctx, s.Inputs, data); err != nil {
		return fmt.Errorf("keep the pictures of %s: %w", s.ID, refusal(err))
	}
	return nil
}

// errLost: the pictures of a job are not there, or not what was sent.
var errLost = errors.New("queue: pictures are lost")

// getInputs puts the pictures back into the request of a job; errLost if they
// will never come, any other error if they may.
func (q *JetStream) getInputs(ctx context.Context, s stored) (job.Request, error) {
	r := s.Record.Request
	if s.Inputs == "" || s.State.Final() {
		return r, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*q.options.times.ack/3) // while the message is ours
	defer cancel()
	data, err := q.readInputs(ctx, s.Inputs)
	if err == nil {
		if wrong := (inputs{}).into(&r, data); wrong != nil {
			err = fmt.Errorf("%w: %w", errLost, wrong)
		}
	}
	if err != nil {
		return r, fmt.Errorf("read the pictures of %s: %w", s.ID, err)
	}
	return r, nil
}

// readInputs reads an object. That its parts are there is looked at first: the
// library would wait for one that is not.
func (q *JetStream) readInputs(ctx context.Context, name string) ([]byte, error) {
	about, err := q.inputs.GetInfo(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, fmt.Errorf("%w: %w", errLost, err)
	}
	if err != nil {
		return nil, err
	}
	parts, err := q.parts.Info(ctx, jetstream.WithSubjectFilter("$O."+inputBucket+".C."+about.NUID))
	if err != nil {
		return nil, err
	}
	if n := parts.State.Subjects["$O."+inputBucket+".C."+about.NUID]; n != uint64(about.Chunks) {
		return nil, fmt.Errorf("%w: %d of %d parts are there", errLost, n, about.Chunks)
	}
	data, err := q.inputs.GetBytes(ctx, name)
	if errors.Is(err, jetstream.ErrDigestMismatch) {
		err = fmt.Errorf("%w: %w", errLost, err)
	}
	return data, err
}

// orphanTime is how old pictures without a job must be before they are a
// crash's, and not those of a job on its way.
const orphanTime = 10 * time.Minute

// dropOrphans drops pictures whose job was never written, or has ended, as a
// crash can leave them.
func (q *JetStream) dropOrphans(ctx context.Context, now time.Time) error {
	list, err := q.inputs.List(ctx)
	if errors.Is(err, jetstream.ErrNoObjectsFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list the pictures sent with jobs: %w", err)
	}
	for _, o := range list {
		id, _, _ := strings.Cut(o.Name, ".")
		it, ok := q.index.get(job.ID(id))
		if ok && it.Inputs == o.Name && !it.State.Final() || isYoung(o.ModTime, now, orphanTime) {
			continue
		}
		q.dropInputs(ctx, stored{Record: job.Record{ID: job.ID(id)}, Inputs: o.Name})
	}
	return nil
}

func (q *JetStream) dropInputs(ctx context.Context, s stored) {
	if s.Inputs == "" {
		return
	}
	err := q.inputs.Delete(context.WithoutCancel(ctx), s.Inputs)
	if err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) {
		q.options.Log.Info("the pictures sent with a job are dropped later", "job", s.ID, "error", err)
	}
}
