package engine

import (
	"errors"
	"fmt"

	"waggle/gpu"
	"waggle/internal/job"
	"waggle/internal/sd"
)

// Why a job ends before its time.
var (
	errCancelled = errors.New("cancelled")
	errTooLong   = errors.New("took too long")
)

// explain gives an error its kind on the wire and a text for a person. What
// has no kind is our own fault: its text stays in the log.
func explain(err error) (job.Kind, string) {
	var known *job.Error
	var hung *hungError
	var notFinite *sd.NotFiniteError
	switch {
	case errors.Is(err, errCancelled):
		return job.CancelledByUser, job.CancelMessage
	case errors.Is(err, errTooLong):
		return job.Internal, "The job took longer than this server allows"
	case errors.As(err, &known):
		return known.Kind, known.Message
	case errors.Is(err, gpu.ErrOutOfMemory):
		return job.OutOfMemory, outOfMemory(err)
	case errors.Is(err, gpu.ErrDeviceLost):
		return job.DeviceLost, "The GPU was lost; the system's log may say why"
	case errors.As(err, &hung):
		return job.DeviceLost, fmt.Sprintf("The GPU gave no answer for %v, three times; ask for a smaller picture, or see the system's log", hung.after)
	case errors.As(err, &notFinite):
		return job.ModelInvalid, "The model failed: " + notFinite.Error()
	case errors.Is(err, sd.ErrDamaged):
		return job.Internal, "The job's checkpoint is damaged; submit the job again"
	}
	return job.Internal, "Internal error; the server's log has more"
}

func outOfMemory(err error) string {
	var planned *planError
	var refused *sd.BudgetError
	if errors.As(err, &refused) {
		return "Out of GPU memory: " + refused.Error()
	}
	if errors.As(err, &planned) {
		return fmt.Sprintf("Out of GPU memory: a picture of %d×%d needs about %d MiB: ask for a smaller one",
			planned.request.Width, planned.request.Height, planned.bytes>>20)
	}
	return "Out of GPU memory: ask for a smaller picture"
}
