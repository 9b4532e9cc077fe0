package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
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
	switch {
	case errors.As(err, &answer):
		if answer.Description == "maximum messages exceeded" || answer.Description == "maximum bytes exceeded" {
			return ErrFull
		}
		if slices.Contains(noRoomCodes, answer.ErrorCode) {
			return fmt.Errorf("%w: %w", ErrNoRoom, err)
		}
	case isSilence(err):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// isRefusal reports whether the server has answered and not done what it was
// asked for.
func isRefusal(err error) bool {
	var answer *jetstream.APIError
	return errors.As(err, &answer)
}

// isSilence reports whether no server has answered.
func isSilence(err error) bool {
	for _, silence := range []error{
		context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, jetstream.ErrNoStreamResponse,
		nats.ErrDisconnected, nats.ErrConnectionClosed, nats.ErrConnectionReconnecting, nats.ErrReconnectBufExceeded,
	} {
		if errors.Is(err, silence) {
			return true
		}
	}
	return false
}
