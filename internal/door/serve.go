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
)

// Serve answers on a listener until ctx ends. Then it calls end, which must
// end what would go on for ever, as streams do, and gives the rest a second.
// It owns the listener.
func (d *Door) Serve(ctx context.Context, l net.Listener, handler http.Handler, end func()) error {
	h := &http.Server{
		Handler: handler, TLSConfig: d.TLS, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: headerLimit, ErrorLog: slog.NewLogLogger(d.Log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- accept(h, l) }()
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
