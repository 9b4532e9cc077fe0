package engine

import (
	"context"
	"errors"

	"waggle/gpu"
	"waggle/internal/job"
)

// explain gives an error its kind on the wire and a text for a person. What
// has no kind is our own fault: its text stays in the log.
func explain(err error) (job.Kind, string) {
	var known *job.Error
	switch {
	case errors.Is(err, errCancelled):
		return job.CancelledByUser, job.CancelMessage
	case errors.Is(err, errTooLong), errors.Is(err, context.DeadlineExceeded):
		return job.Internal, "The job took longer than this server allows"
	case errors.As(err, &known):
		return known.Kind, known.Message
	case errors.Is(err, gpu.ErrOutOfMemory):
		return job.OutOfMemory, "Out of GPU memory: ask for a smaller picture"
	case errors.Is(err, gpu.ErrDeviceLost):
		return job.DeviceLost, "The GPU was lost; the system's log may say why"
	}
	return job.Internal, "Internal error; the server's log has more"
}
