package queue

import (
	"context"
	"time"

	"waggle/internal/bus"
)

// submitPatience is how long a job is tried to be put in line while the
// servers do not answer, as when they choose a new leader.
const submitPatience = 5 * time.Second

func (q *JetStream) patiently(ctx context.Context, try func() error) error {
	return bus.Patiently(ctx, q.stop, submitPatience, try)
}
