package bus

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	startTimeout = 30 * time.Second // for the server to read its files
	// messageLimitBytes bounds one message: a record, a preview's latent, or a
	// part of a picture. JetStream's clients cut larger objects themselves.
	messageLimitBytes = 8 << 20
	// storeLimitBytes is as good as none: room looks at the disk itself, where
	// the server would go by what was free when it started.
	storeLimitBytes = 1 << 50
	// roomBytes is what must be free on the disk for more to be written.
	roomBytes = 16 << 20
	// roomEvery is how often a full disk is looked at.
	roomEvery = 500 * time.Millisecond
)

// inside is the server in this process. One that has once failed to write
// refuses to from then on, so it is started again when the disk has room; its
// clients connect again by themselves.
type inside struct {
	options Options
	report  *reporter
	failing atomic.Bool
	stop    chan struct{}
	stopped chan struct{}

	mu     sync.Mutex
	server *server.Server
}

func start(o Options) (*inside, error) {
	in := &inside{options: o, stop: make(chan struct{}), stopped: make(chan struct{}),
		report: &reporter{log: o.Log, broken: make(chan struct{}, 1)}}
	if err := in.room(); err != nil {
		return nil, err
	}
	if err := in.begin(); err != nil {
		return nil, err
	}
	go in.guard()
	return in, nil
}

// begin starts a server on the data folder.
func (in *inside) begin() error {
	o := in.options
	store := filepath.Join(o.Dir, "jetstream")
	before := blocks(store)
	s, err := server.NewServer(&server.Options{
		ServerName: "waggle", DontListen: true, NoSigs: true,
		JetStream: true, StoreDir: store, SyncAlways: o.SyncAlways,
		JetStreamMaxStore: storeLimitBytes, MaxPayload: messageLimitBytes, DisableJetStreamBanner: true,
	})
	if err != nil {
		return fmt.Errorf("queue in %s: %w", o.Dir, err)
	}
	s.SetLoggerV2(in.report, false, false, false)
	s.Start()
	if !s.ReadyForConnections(startTimeout) || !s.JetStreamEnabled() {
		end(s)
		return fmt.Errorf("the queue in %s did not start: %s", o.Dir, in.report.reason())
	}
	in.tellLost(before)
	in.mu.Lock()
	defer in.mu.Unlock()
	in.server = s
	return nil
}

// InProcessConn connects to the present server, as nats.InProcessServer wants it.
func (in *inside) InProcessConn() (net.Conn, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.server == nil {
		return nil, errors.New("the server is being started again")
	}
	return in.server.InProcessConn()
}

// guard starts the server again after it has failed to write, until close.
func (in *inside) guard() {
	defer close(in.stopped)
	for {
		select {
		case <-in.report.broken:
			in.failing.Store(true)
		case <-in.stop:
			return
		}
		for in.failing.Load() {
			select {
			case <-time.After(roomEvery):
				in.failing.Store(!in.again())
			case <-in.stop:
				return
			}
		}
	}
}

// again replaces the server if there is room for it.
func (in *inside) again() bool {
	if Free(in.options.Dir) < roomBytes {
		return false
	}
	in.options.Log.Warn("the queue could not write; it is started again")
	in.mu.Lock()
	old := in.server
	in.server = nil
	in.mu.Unlock()
	if old != nil {
		end(old)
	}
	select { // what the old one still complained of
	case <-in.report.broken:
	default:
	}
	if err := in.begin(); err != nil {
		in.options.Log.Error("start the queue again", "error", err)
		return false
	}
	return true
}

func end(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

func (in *inside) room() error {
	if in.failing.Load() || Free(in.options.Dir) < roomBytes {
		return fmt.Errorf("%s: %w", in.options.Dir, ErrFull)
	}
	return nil
}

func (in *inside) close() {
	select {
	case <-in.stop:
		return
	default:
	}
	close(in.stop)
	<-in.stopped
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.server != nil {
		end(in.server)
	}
}
