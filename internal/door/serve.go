package door

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	headerTimeout   = 10 * time.Second
	idleTimeout     = 2 * time.Minute
	shutdownTimeout = time.Second
	headerLimit     = 64 << 10

	// Of a connection of HTTP/2, which many requests share: a limit of their own has each of them, with its stream.
	stuckTimeout   = 30 * time.Second // it takes no byte
	silenceTimeout = 30 * time.Second // it says nothing, and is asked whether it lives
	pingTimeout    = 15 * time.Second // it does not answer that
)

// Serve answers on a listener until ctx ends. Then it calls end, which must
// end what would go on for ever, as streams do, and gives the rest a second.
// It owns the listener.
func (d *Door) Serve(ctx context.Context, l net.Listener, handler http.Handler, end func()) error {
	h := &http.Server{
		Handler: handler, TLSConfig: d.TLS, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		HTTP2:          &http.HTTP2Config{WriteByteTimeout: stuckTimeout, SendPingTimeout: silenceTimeout, PingTimeout: pingTimeout},
		MaxHeaderBytes: headerLimit, ErrorLog: slog.NewLogLogger(d.Log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- accept(h, &crowd{l, NewPlaces(connections, connectionsEach), d.Proxies}) }()
	var err error
	select {
	case <-ctx.Done():
	case err = <-served:
	}
	end()
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

func accept(h *http.Server, l net.Listener) error {
	if h.TLSConfig == nil {
		return h.Serve(l)
	}
	return h.ServeTLS(l, "", "") // the certificates are in the configuration
}
