// Package bus is the way to NATS JetStream, on which queue, events and pictures
// are kept: a server inside this process with its files in the data folder, or
// a cluster elsewhere. Those who use it see no difference.
//
// The server inside opens no port; its only client is this process. It
// survives a kill of the process at any moment; with Options.SyncAlways, a
// power cut too.
package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Errors a caller decides on.
var (
	// ErrInUse: another process has the data folder open.
	ErrInUse = errors.New("data folder is in use by another waggle process")
	// ErrFull: the disk of the data folder is full.
	ErrFull = errors.New("the disk of the data folder is full")
)

// answerTimeout is how long JetStream may take to answer.
const answerTimeout = 5 * time.Second

// Options say where the bus is. Dir is needed for a server inside the process,
// URLs for one elsewhere.
type Options struct {
	Dir        string // data folder; made if it is not there
	SyncAlways bool   // write every message through to the disk

	URLs        []string // of a cluster's servers; empty: the server inside
	Credentials string   // file with the user's JWT and key
	CA          string   // file with certificates to trust; empty: the system's
	Cert, Key   string   // files that prove to the cluster who we are
	Replicas    int      // on how many servers all is kept; 0: three, where there are as many
	// Guest says that others decide how streams and buckets of the cluster are
	// made: those that are there stay as they are.
	Guest bool
	// Patience is how long Open waits for a cluster that does not answer; 0: 30 s.
	Patience time.Duration

	Name string       // shown in the cluster's list of connections
	Log  *slog.Logger // default: none
}

// Bus is an open connection. Close it after all that use it.
type Bus struct {
	JetStream jetstream.JetStream
	// Replicas is on how many servers everything shall be kept.
	Replicas int

	conn   *nats.Conn
	lost   lost
	inside *inside // nil for a cluster
	lock   *flock.Flock
}

// Open connects with all the time it may take.
func Open(o Options) (*Bus, error) { return OpenContext(context.Background(), o) }

// OpenContext connects. ErrInUse, wrapped, if the data folder is taken; of a
// cluster ErrNoAnswer, ErrRefused or ErrUntrusted.
func OpenContext(ctx context.Context, o Options) (*Bus, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	b := &Bus{}
	var err error
	if len(o.URLs) > 0 {
		err = b.join(ctx, o)
	} else {
		err = b.embed(o)
	}
	if err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// embed starts the server in this process and connects to it.
func (b *Bus) embed(o Options) (err error) {
	if err := b.take(o.Dir); err != nil {
		return err
	}
	if b.inside, err = start(o); err != nil {
		return err
	}
	b.Replicas = 1
	if b.conn, err = nats.Connect("", append(b.client(o), nats.InProcessServer(b.inside))...); err != nil {
		return fmt.Errorf("connect to the queue in this process: %w", err)
	}
	js, err := jetstream.New(b.conn, jetstream.WithDefaultTimeout(answerTimeout))
	b.JetStream = prompt{js}
	return err
}

// take locks the data folder; the system lets go of it when the process ends,
// however it ends.
func (b *Bus) take(dir string) error {
	if dir == "" {
		return errors.New("no data folder is named")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	locked, err := lock.TryLock()
	if err != nil {
		return fmt.Errorf("lock the data folder: %w", err)
	}
	if !locked {
		return fmt.Errorf("%s: %w", dir, ErrInUse)
	}
	b.lock = lock
	return nil
}

// Alone reports whether this process is the only one connected.
func (b *Bus) Alone() bool { return b.inside != nil }

// Room is nil while there is room to write, ErrFull, wrapped, while there is not.
// A cluster is asked nothing: it answers for itself.
func (b *Bus) Room() error {
	if b.inside == nil {
		return nil
	}
	return b.inside.room()
}

// Close disconnects, and ends the server if it is ours.
func (b *Bus) Close() error {
	if b.conn != nil {
		b.conn.Close()
	}
	if b.inside != nil {
		b.inside.close()
	}
	if b.lock != nil {
		return b.lock.Unlock()
	}
	return nil
}
