// Package bus is the way to NATS JetStream, on which queue, events and pictures
// are kept: a server inside this process with its files in the data folder, or
// a cluster elsewhere. Those who use it see no difference.
//
// The server inside opens no port; its only client is this process. It
// survives a kill of the process at any moment; with Options.SyncAlways, a
// power cut too.
package bus

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
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

const (
	reconnectWait   = 250 * time.Millisecond
	answerTimeout   = 5 * time.Second // for JetStream to answer
	clusterReplicas = 3
)

// Options say where the bus is. Dir is needed for a server inside the process,
// URLs for one elsewhere.
type Options struct {
	Dir        string // data folder; made if it is not there
	SyncAlways bool   // write every message through to the disk

	URLs        []string // of a cluster's servers; empty: the server inside
	Credentials string   // file with the user's JWT and key
	CA          string   // file with certificates to trust; empty: the system's
	Cert, Key   string   // files that prove to the cluster who we are

	Name string       // shown in the cluster's list of connections
	Log  *slog.Logger // default: none
}

// Bus is an open connection. Close it after all that use it.
type Bus struct {
	JetStream jetstream.JetStream
	// Replicas is on how many servers everything shall be kept.
	Replicas int

	conn   *nats.Conn
	inside *inside // nil for a cluster
	lock   *flock.Flock
}

// Open connects. ErrInUse, wrapped, if the data folder is taken.
func Open(o Options) (*Bus, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	b := &Bus{}
	var err error
	if len(o.URLs) > 0 {
		err = b.join(o)
	} else {
		err = b.embed(o)
	}
	if err == nil {
		b.JetStream, err = jetstream.New(b.conn, jetstream.WithDefaultTimeout(answerTimeout))
	}
	if err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// join connects to a cluster.
func (b *Bus) join(o Options) error {
	options := append(o.client(), nats.RetryOnFailedConnect(false))
	if o.Credentials != "" {
		options = append(options, nats.UserCredentials(o.Credentials))
	}
	if o.CA != "" {
		options = append(options, nats.RootCAs(o.CA))
	}
	if o.Cert != "" {
		options = append(options, nats.ClientCert(o.Cert, o.Key))
	}
	var err error
	if b.conn, err = dial(o.URLs, options); err != nil {
		return fmt.Errorf("connect to NATS at %s: %w", redacted(o.URLs), err)
	}
	b.Replicas = 1
	if len(b.conn.Servers()) >= clusterReplicas {
		b.Replicas = clusterReplicas
	}
	return nil
}

// redacted names servers without the passwords that may be in their addresses.
func redacted(urls []string) string {
	var names []string
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil {
			names = append(names, "an address that cannot be read")
			continue
		}
		names = append(names, u.Redacted())
	}
	return strings.Join(names, ", ")
}

func dial(urls []string, options []nats.Option) (*nats.Conn, error) {
	o := nats.GetDefaultOptions()
	o.Servers = urls
	for _, set := range options {
		if err := set(&o); err != nil {
			return nil, err
		}
	}
	return o.Connect()
}

// client are the options of both kinds of connection: it comes back for ever,
// and holds what is sent meanwhile.
func (o Options) client() []nats.Option {
	return []nats.Option{
		nats.Name(o.Name), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				o.Log.Warn("connection to NATS lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) { o.Log.Info("connected to NATS again", "server", c.ConnectedUrlRedacted()) }),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			subject := ""
			if s != nil {
				subject = s.Subject
			}
			o.Log.Warn("NATS", "error", err, "subject", subject)
		}),
	}
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
	if b.conn, err = nats.Connect("", append(o.client(), nats.InProcessServer(b.inside))...); err != nil {
		return fmt.Errorf("connect to the queue in this process: %w", err)
	}
	return nil
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
