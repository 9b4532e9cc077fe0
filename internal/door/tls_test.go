package door

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"waggle/internal/certs/certstest"
	"waggle/internal/sse"
)

// serveOne serves one connection by TLS, in fake time, and returns the other end of it.
func serveOne(t *testing.T, handler http.HandlerFunc) net.Conn {
	t.Helper()
	client, server := net.Pipe()
	l := &oneConn{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conns <- server
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- New(Config{TLS: selfSigned(t)}).Serve(ctx, l, handler, func() {}) }()
	t.Cleanup(func() {
		client.Close()
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return client
}

// selfSigned is a certificate that nobody trusts.
func selfSigned(t *testing.T) *tls.Config {
	t.Helper()
	pair, err := tls.X509KeyPair(certstest.NewAuthority(t).Issue([]string{"localhost"}))
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}
}

// TestSilentHandshake: who connects and does not begin to speak TLS, or stops in the middle, is let go.
func TestSilentHandshake(t *testing.T) {
	for name, said := range map[string]string{"nothing": "", "half a hello": "\x16\x03\x01\x02\x00\x01"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := serveOne(t, nil)
				began := time.Now()
				io.WriteString(conn, said)
				io.Copy(io.Discard, conn)
				if took := time.Since(began); took != headerTimeout {
					t.Errorf("let go after %v, want %v", took, headerTimeout)
				}
			})
		})
	}
}

// TestAnswerNotTaken: who asks and takes nothing of the answer does not hold a handler for ever, over HTTP/2 neither, where the
// connection itself lives; and who lets a stream lie is let go much sooner.
func TestAnswerNotTaken(t *testing.T) {
	for name, row := range map[string]struct {
		answer func(w http.ResponseWriter, text []byte) error
		limit  time.Duration
	}{
		"an answer": {func(w http.ResponseWriter, text []byte) error { _, err := w.Write(text); return err }, 2 * bodyTimeout},
		"a stream": {func(w http.ResponseWriter, text []byte) (err error) {
			for out := sse.NewWriter(w); err == nil; {
				err = out.Event(sse.Event{Data: text})
			}
			return err
		}, sse.WriteTimeout + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ended, began := make(chan error, 1), time.Now()
				d := New(Config{})
				m := http.NewServeMux()
				m.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) { ended <- row.answer(w, make([]byte, 16<<20)) })
				conn := serveOne(t, d.Guard(m).ServeHTTP)
				transport := &http.Transport{ForceAttemptHTTP2: true, DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
					return c, c.HandshakeContext(ctx)
				}}
				response, err := transport.RoundTrip(must(http.NewRequest(http.MethodGet, "https://localhost/", nil)))
				if err != nil {
					t.Fatal(err)
				}
				if err := <-ended; err == nil || response.ProtoMajor != 2 || time.Since(began) > row.limit {
					t.Errorf("%s: ended after %v with %v", response.Proto, time.Since(began), err)
				}
				response.Body.Close()
				transport.CloseIdleConnections()
			})
		})
	}
}

// TestAnswerNotTakenPlainly is the same over HTTP/1.1.
func TestAnswerNotTakenPlainly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended, began := make(chan error, 1), time.Now()
		client, server := net.Pipe()
		l := &oneConn{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
		l.conns <- server
		ctx, cancel := context.WithCancel(context.Background())
		d, m := New(Config{}), http.NewServeMux()
		m.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
			_, err := w.Write(make([]byte, 16<<20))
			ended <- err
		})
		served := make(chan error, 1)
		go func() { served <- d.Serve(ctx, l, d.Guard(m), func() {}) }()
		io.WriteString(client, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if err := <-ended; err == nil || time.Since(began) > 2*bodyTimeout {
			t.Errorf("ended after %v with %v", time.Since(began), err)
		}
		client.Close()
		cancel()
		<-served
	})
}

// held is a connection that is read from until hold is closed.
type held struct {
	net.Conn
	hold, closed chan struct{}
}

func (h held) Read(p []byte) (int, error) {
	select {
	case <-h.hold:
		<-h.closed
		return 0, net.ErrClosed
	default:
		return h.Conn.Read(p)
	}
}

// TestStuckConnection: who takes nothing of what was asked for over HTTP/2 does not hold a handler for ever.
func TestStuckConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended, proto := make(chan error, 1), make(chan string, 1)
		conn := serveOne(t, func(w http.ResponseWriter, r *http.Request) {
			proto <- r.Proto
			text := make([]byte, 64<<10)
			for {
				if _, err := w.Write(text); err != nil {
					ended <- err
					return
				}
			}
		})
		client := held{conn, make(chan struct{}), make(chan struct{})}
		transport := &http.Transport{ForceAttemptHTTP2: true, DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c := tls.Client(client, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
			return c, c.HandshakeContext(ctx)
		}}
		response, err := transport.RoundTrip(must(http.NewRequest(http.MethodGet, "https://localhost/", nil)))
		if err != nil {
			t.Fatal(err)
		}
		close(client.hold)
		began := time.Now()
		if err := <-ended; err == nil || <-proto != "HTTP/2.0" || time.Since(began) > stuckTimeout+silenceTimeout+pingTimeout {
			t.Errorf("ended after %v with %v", time.Since(began), err)
		}
		close(client.closed)
		response.Body.Close()
		transport.CloseIdleConnections()
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestNamesOfACertificate: the names of a certificate are hosts for as long as it has them.
func TestNamesOfACertificate(t *testing.T) {
	var names atomic.Value
	names.Store([]string{"one.example"})
	h := open(t, Config{Hosts: []string{"named.example"}, Names: func() []string { return names.Load().([]string) }})
	ask := func(host string, want int) {
		t.Helper()
		if a := h.get("/who", "Host: "+host); a.StatusCode != want {
			t.Errorf("Host %s: %d, want %d", host, a.StatusCode, want)
		}
	}
	ask("ONE.example:8443", 200)
	ask("named.example", 200)
	ask("two.example", 403)
	names.Store([]string{"two.example"})
	ask("one.example", 403)
	ask("two.example", 200)
}
