// Package api is the service's door: HTTP routes, event streams and the
// WebSocket. It turns bytes into job values and back and does nothing else;
// jobs go into the queue, what they report comes out of the event log, and
// what machines can do is read from their node records.
//
// Files: routes.go has the routes, submit.go takes jobs, stream.go sends their events, orders.go changes what becomes of them,
// socket.go does all of it on one connection, jobs.go and pictures.go show what
// there is, info.go what this node is.
package api

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"waggle/internal/door"
	"waggle/internal/events"
	"waggle/internal/job"
	"waggle/internal/queue"
	"waggle/internal/store"
	"waggle/internal/stream"
)

// Tokens is a prompt as a model's tokenizer cuts it.
type Tokens struct {
	Count  int      `json:"count"`  // without start and end
	Pieces []string `json:"pieces"` // of the text
}

// Config is what a Server is made of. Queue, Events and Store are needed; zero
// values of the rest mean the defaults.
type Config struct {
	Queue  queue.Queue
	Events events.Log
	Store  store.Store

	// NodeID is the node record that /info, /ready and /v1/samplers speak of.
	NodeID string
	// Tokenize counts a prompt's tokens for a model; nil leaves /v1/tokenize
	// out and lets the engine find prompts that are too long.
	Tokenize func(model, text string) (Tokens, error)
	// Webhook says whether a job's end will be told to where it asks; nil: to nowhere.
	Webhook func(job.Webhook) error
	// Reachable says why the servers that keep jobs cannot be reached now; nil
	// where they always can.
	Reachable func() error
	// Metrics serves /metrics; nil leaves it out.
	Metrics http.Handler
	// Page serves / and /static/; nil serves one line of text.
	Page http.Handler
	// Docs makes the page of /docs from the document of /openapi.json; nil leaves it out.
	Docs func(document []byte) http.Handler
	// Version is the program's, for the document.
	Version string

	// Door says who may come in; what it needs of this package is filled in.
	Door door.Config

	BodyLimitBytes int64         // default job.BodyLimitBytes
	KeepAlive      time.Duration // silence before a comment line; default 15 s
	Log            *slog.Logger  // default: none
}

// Server answers requests until Close.
type Server struct {
	Config
	handler http.Handler
	door    *door.Door
	jobs    *stream.Jobs

	stop    chan struct{} // closed by Close: streams and sockets end
	once    sync.Once
	sockets *door.Places
	running sync.WaitGroup // the sockets
	streams *door.Places
}

// Bounds of open sockets: of all clients, and of each.
const (
	socketsLimit = 256
	socketsEach  = 128
)

// New returns a server; serve its Handler, or let Serve do it.
func New(c Config) *Server {
	if c.BodyLimitBytes == 0 {
		c.BodyLimitBytes = job.BodyLimitBytes
	}
	if c.KeepAlive == 0 {
		c.KeepAlive = 15 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Page == nil {
		c.Page = http.HandlerFunc(plainPage)
	}
	if c.Webhook == nil {
		c.Webhook = noWebhooks
	}
	s := &Server{
		Config: c, stop: make(chan struct{}),
		sockets: door.NewPlaces(socketsLimit, socketsEach), streams: door.NewPlaces(door.Streams, door.StreamsEach),
		jobs: &stream.Jobs{Queue: c.Queue, Events: c.Events, Store: c.Store, KeepAlive: c.KeepAlive, Log: c.Log},
	}
	table := s.table()
	s.Door.Public, s.Door.Log = table.Public, c.Log
	s.door = door.New(s.Door)
	s.handler = s.door.Guard(table.Mux())
	return s
}

// plainPage stands where there is no page.
func plainPage(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	io.WriteString(w, "waggle\n")
}

// Handler returns the whole of the service.
func (s *Server) Handler() http.Handler { return s.handler }

// PreviewBytes is how many bytes of previews have been sent.
func (s *Server) PreviewBytes() int64 { return s.jobs.PreviewBytes.Load() }

// Serve answers on a listener until ctx ends, then closes all streams and
// sockets and returns. It owns the listener.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	return s.door.Serve(ctx, l, s.handler, s.Close)
}

// Close ends all event streams and sockets, and waits for the sockets. Jobs
// are not touched: their streams can be read again elsewhere or later.
func (s *Server) Close() {
	s.once.Do(func() { close(s.stop) })
	s.running.Wait()
}

func (s *Server) closing() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// until returns a context that ends with parent or when the server closes.
func (s *Server) until(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	go func() {
		select {
		case <-s.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
