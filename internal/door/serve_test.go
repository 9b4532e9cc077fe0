package door

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// TestServeEnds: serving ends within a second of its context, whatever a
// handler still does, and says so to what goes on for ever.
func TestServeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		l := &oneConn{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
		l.conns <- server
		ctx, cancel := context.WithCancel(context.Background())
		told, let := false, make(chan struct{})
		began := make(chan struct{})
		served := make(chan error, 1)
		go func() {
			served <- New(Config{}).Serve(ctx, l, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(began); <-let }), func() { told = true })
		}()
		go client.Write([]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
		<-began
		at := time.Now()
		cancel()
		if err := <-served; err != nil || !told || time.Since(at) > shutdownTimeout {
			t.Errorf("ended after %v with %v; told: %v", time.Since(at), err, told)
		}
		close(let)
	})
}

// dial serves one connection until the test ends, and returns its other end.
func dial(t *testing.T, d *Door, handler http.Handler) net.Conn {
	t.Helper()
	client, server := net.Pipe()
	l := &oneConn{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conns <- server
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- d.Serve(ctx, l, handler, func() {}) }()
	t.Cleanup(func() {
		client.Close()
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return client
}

// TestServeFails: a listener that fails ends serving with its error.
func TestServeFails(t *testing.T) {
	l := &oneConn{closed: make(chan struct{})}
	close(l.closed)
	told := false
	if err := New(Config{}).Serve(t.Context(), l, nil, func() { told = true }); !errors.Is(err, net.ErrClosed) || !told {
		t.Errorf("%v; told: %v", err, told)
	}
}

// oneConn is a listener that hands out what conns holds.
type oneConn struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }
