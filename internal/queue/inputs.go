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
	if _, err := q.inputs.PutBytes(ctx, s.Inputs, data); err != nil {
		return fmt.Errorf("keep the pictures of %s: %w", s.ID, asFull(err))
	}
	return nil
}

// getInputs puts the pictures back into the request of a job.
func (q *JetStream) getInputs(ctx context.Context, s stored) (job.Request, error) {
	r := s.Record.Request
	if s.Inputs == "" {
		return r, nil
	}
	data, err := q.inputs.GetBytes(ctx, s.Inputs)
	if err == nil {
		err = inputs{}.into(&r, data)
	}
	if err != nil {
		return r, fmt.Errorf("read the pictures of %s: %w", s.ID, err)
	}
	return r, nil
}

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
		if ok && it.Inputs == o.Name && !it.State.Final() || now.Sub(o.ModTime) < settleTime {
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
		q.options.Log.Warn("drop the pictures sent with a job", "job", s.ID, "error", err)
	}
}
