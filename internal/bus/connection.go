package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// A connection that was lost is made again for ever, each time after
	// reconnectWait and a part of reconnectJitter, so that a fleet does not
	// come back all at once.
	reconnectWait   = 250 * time.Millisecond
	reconnectJitter = 500 * time.Millisecond
	// A server that has not answered pingsLimit questions, one every
	// pingEvery, is given up: 10 to 15 s after a cable was pulled.
	pingEvery  = 5 * time.Second
	pingsLimit = 2
	// retry is the pause before what was not answered is tried again.
	retry = 250 * time.Millisecond
)

// ErrLost: there is no connection to the cluster now.
var ErrLost = errors.New("no connection to NATS")

// lost is since when there has been no connection.
type lost struct {
	mu    sync.Mutex
	since time.Time // zero while there is one
}

// begin notes the loss; false if it was known.
func (l *lost) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.since.IsZero() {
		return false
	}
	l.since = time.Now()
	return true
}

// end returns how long there was no connection.
func (l *lost) end() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	since := l.since
	l.since = time.Time{}
	return time.Since(since)
}

// Connected is nil while there is a connection, ErrLost, wrapped, while there
// is none. It comes back by itself.
func (b *Bus) Connected() error {
	b.lost.mu.Lock()
	defer b.lost.mu.Unlock()
	if b.lost.since.IsZero() {
		return nil
	}
	return fmt.Errorf("%w since %s", ErrLost, b.lost.since.UTC().Format(time.RFC3339))
}

// client are the options of both kinds of connection. What cannot be sent at
// once is refused: sent late, it could undo what others have done meanwhile.
func (b *Bus) client(o Options) []nats.Option {
	return []nats.Option{
		nats.Name(o.Name), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(reconnectWait), nats.ReconnectJitter(reconnectJitter, reconnectJitter),
		nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(pingsLimit),
		nats.DisconnectErrHandler(func(c *nats.Conn, err error) {
			if !c.IsClosed() && b.lost.begin() {
				o.Log.Warn("the connection to NATS is lost; trying again", "error", err)
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) {
			o.Log.Info("the connection to NATS is back", "server", c.ConnectedUrlRedacted(), "after", b.lost.end().Round(time.Millisecond))
		}),
		nats.ErrorHandler(func(c *nats.Conn, s *nats.Subscription, err error) {
			if !c.IsConnected() {
				return // that has been said
			}
			subject := ""
			if s != nil {
				subject = s.Subject
			}
			o.Log.Warn("NATS", "error", err, "subject", subject)
		}),
	}
}

// Unreachable reports whether an error says that the servers could not be
// asked, or had no leader at the moment: what was asked may have been done or
// not, and can be tried again.
func Unreachable(err error) bool {
	for _, known := range []error{
		nats.ErrTimeout, context.DeadlineExceeded, nats.ErrNoResponders, jetstream.ErrNoStreamResponse,
		nats.ErrReconnectBufExceeded, nats.ErrConnectionReconnecting, nats.ErrDisconnected, nats.ErrConnectionClosed,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	var refused *jetstream.APIError
	return errors.As(err, &refused) && slices.Contains(noLeader, int(refused.ErrorCode))
}

// Patience is how long something is tried that the servers may not answer.
type Patience struct {
	Each time.Duration // one try; an answer that was lost with its server never comes
	All  time.Duration // all tries together
}

// Patiently tries again what the servers could not be asked, until stop is
// closed. What was not answered may have been done.
func Patiently(ctx context.Context, stop <-chan struct{}, p Patience, try func(context.Context) error) error {
	for deadline := time.Now().Add(p.All); ; {
		err := p.once(ctx, try)
		if !Unreachable(err) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-time.After(retry):
		case <-stop:
			return err
		case <-ctx.Done():
			return err
		}
	}
}

func (p Patience) once(ctx context.Context, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, p.Each)
	defer cancel()
	return try(ctx)
}

// noLeader are JetStream's numbers for what it cannot do now: no leader, not
// enough servers, a leader that has just begun.
var noLeader = []int{10004, 10005, 10007, 10008, 10009, 10163}
