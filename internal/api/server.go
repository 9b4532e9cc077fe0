// Package api is the service's door: HTTP routes, event streams and the
// WebSocket. It turns bytes into job values and back and does nothing else;
// jobs go into the queue, what they report comes out of the event log, and
// what machines can do is read from their node records.
//
// Files: guard.go and keys.go decide who may come in, submit.go takes jobs,
// stream.go sends their events, orders.go changes what becomes of them,
// socket.go does all of it on one connection, jobs.go and pictures.go show what
// there is, info.go what this node is.
package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"waggle/internal/events"
	"waggle/internal/job"
	"waggle/internal/queue"
	"waggle/internal/store"
)

// Tokens is a prompt as a model's tokenizer cuts it.
type Tokens struct {
	Count  int      `json:"count"` // without start and end
	Pieces []string `json:"pieces"`
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
	// Page serves / and /static/; nil serves one line of text.
	Page http.Handler

	// Keys are the bearer tokens, one of which everyone must send; without any, nobody need.
	Keys []Key
	// Origins are web sites (scheme://host) whose scripts may call; "*" all.
	Origins []string
	// Hosts are names this server is reached by, besides localhost and any
	// address written in digits.
	Hosts []string

	BodyLimitBytes int64         // default job.BodyLimitBytes
	BodyTime       time.Duration // for a body to come; default 5 min
	KeepAlive      time.Duration // silence before a comment line; default 15 s
	Log            *slog.Logger  // default: none
}

// Server answers requests until Close.
type Server struct {
	Config
	handler  http.Handler
	keys     keyring
	previews previewCache
	wires    wireCache
	bodies   budget

	stop    chan struct{} // closed by Close: streams and sockets end
	once    sync.Once
	sockets sync.WaitGroup
	open    chan struct{} // one token a socket
}

const (
	socketsLimit    = 256
	headerTimeout   = 10 * time.Second
	idleTimeout     = 2 * time.Minute
	bodyTimeout     = 5 * time.Minute
	shutdownTimeout = time.Second
	headerLimit     = 64 << 10
)

// New returns a server; serve its Handler, or let Serve do it.
func New(c Config) *Server {
	if c.BodyTime == 0 {
		c.BodyTime = bodyTimeout
	}
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
		c.Page = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "waggle\n") })
	}
	if c.Webhook == nil {
		c.Webhook = noWebhooks
	}
	s := &Server{Config: c, keys: newKeyring(c.Keys), stop: make(chan struct{}), open: make(chan struct{}, socketsLimit)}
	s.handler = s.guard(bare(s.routes()))
	return s
}

// Handler returns the whole of the service.
func (s *Server) Handler() http.Handler { return s.handler }

func (s *Server) routes() *http.ServeMux {
	m := http.NewServeMux()
	m.HandleFunc("POST /v1/jobs", s.postJob)
	m.HandleFunc("GET /v1/jobs", s.listJobs)
	m.HandleFunc("GET /v1/jobs/{id}", s.getJob)
	m.HandleFunc("DELETE /v1/jobs/{id}", s.deleteJob)
	m.HandleFunc("POST /v1/jobs/{id}/pause", s.changeJob("pause"))
	m.HandleFunc("POST /v1/jobs/{id}/resume", s.changeJob("resume"))
	m.HandleFunc("POST /v1/jobs/{id}/front", s.changeJob("front"))
	m.HandleFunc("GET /v1/jobs/{id}/stream", s.stream)
	m.HandleFunc("GET /v1/jobs/{id}/image", s.getImage)
	m.HandleFunc("GET /v1/jobs/{id}/image/{index}", s.getImage)
	m.HandleFunc("DELETE /v1/pictures/{id}", s.deletePictures)
	m.HandleFunc("POST /v1/inference", s.postJob)
	m.HandleFunc("GET /v1/inference/{id}/stream", s.stream)
	m.HandleFunc("GET /v1/models", s.getModels)
	m.HandleFunc("GET /v1/samplers", s.getSamplers)
	m.HandleFunc("GET /v1/nodes", s.getNodes)
	m.HandleFunc("GET /v1/ws", s.socket)
	if s.Tokenize != nil {
		m.HandleFunc("POST /v1/tokenize", s.postTokenize)
	}
	m.HandleFunc("GET /health", s.getHealth)
	m.HandleFunc("GET /ready", s.getReady)
	m.HandleFunc("GET /info", s.getInfo)
	m.HandleFunc("GET /{$}", s.page)
	m.HandleFunc("GET /favicon.ico", s.page) // what browsers ask for beside a picture
	m.Handle("GET /static/", s.Page)
	return m
}

// bare answers what no route takes (404, 405) without a body, as the protocol has it.
func bare(m *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := m.Handler(r); pattern == "" {
			w = bodyless{w}
		}
		m.ServeHTTP(w, r)
	})
}

// bodyless lets the status and headers of an answer through.
type bodyless struct{ http.ResponseWriter }

func (b bodyless) WriteHeader(status int) {
	b.Header().Del("Content-Type")
	b.ResponseWriter.WriteHeader(status)
}

func (b bodyless) Write(p []byte) (int, error) { return len(p), nil }

// Serve answers on a listener until ctx ends, then closes all streams and
// sockets and returns. It owns the listener.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	h := &http.Server{
		Handler: s.handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: headerLimit, ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- h.Serve(l) }()
	var err error
	select {
	case <-ctx.Done():
	case err = <-served:
	}
	s.Close()
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if h.Shutdown(limit) != nil {
		h.Close()
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Close ends all event streams and sockets, and waits for the sockets. Jobs
// are not touched: their streams can be read again elsewhere or later.
func (s *Server) Close() {
	s.once.Do(func() { close(s.stop) })
	s.sockets.Wait()
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
