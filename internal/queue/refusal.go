package queue

import (
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"waggle/internal/bus"
)

// codes of the server's answers that mean that its disk, or what it may use of
// it, is full.
var noRoomCodes = []jetstream.ErrorCode{
	10023, // insufficient resources
	10047, // insufficient storage resources available
	10077, // the stream could not store the message, for a reason that is in the text
}

// refusal says which of this package's errors an answer of the server is, if
// it is one, or none came.
func refusal(err error) error {
	var answer *jetstream.APIError
	answered := errors.As(err, &answer)
	switch {
	case answered && (answer.Description == "maximum messages exceeded" || answer.Description == "maximum bytes exceeded"):
		return ErrFull
	case answered && slices.Contains(noRoomCodes, answer.ErrorCode):
		return fmt.Errorf("%w: %w", ErrNoRoom, err)
	case bus.Unreachable(err):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}
