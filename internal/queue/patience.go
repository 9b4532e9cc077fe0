package queue

import (
	"context"
	"time"

	"waggle/internal/bus"
)

// submitPatience is how long a job is tried to be put in line while the
// servers do not answer, as when they choose a new leader.
var submitPatience = bus.Patience{Each: 3 * time.Second, All: 5 * time.Second}

func (q *JetStream) patiently(ctx context.Context, try func(context.Context) error) error {
	return bus.Patiently(ctx, q.stop, submitPatience, try)
}
