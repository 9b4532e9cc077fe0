package queen

import (
	"context"
	"crypto/tls"
	"net"

	"waggle/internal/certs"
)

// dialer connects to hives and workers. Its errors are dialErrors: nothing was sent yet.
type dialer struct {
	net.Dialer
	trust *tls.Config // nil: the authorities of this machine
}

func (d dialer) plain(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, dialError{err}
	}
	return c, nil
}

// secure is plain, and a TLS handshake. The certificate must be for the host
// that is called, or the name that ctx carries.
func (d dialer) secure(ctx context.Context, network, address string) (net.Conn, error) {
	plain, err := d.plain(ctx, network, address)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if d.trust != nil {
		config = d.trust.Clone()
	}
	if config.ServerName, _ = ctx.Value(certificateName{}).(string); config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(address) // which net/http has put together
	}
	limit, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	c := tls.Client(plain, config)
	if err := c.HandshakeContext(limit); err != nil {
		plain.Close()
		return nil, dialError{certs.Explain(err)}
	}
	return c, nil
}

// certificateName marks in a context whose certificate a worker must show.
type certificateName struct{}

// toward is for calls of one worker: it is called where its heartbeats come
// from, and shows a certificate for the name that they tell.
func toward(ctx context.Context, w Worker) context.Context {
	if w.TLSName == "" {
		return ctx
	}
	return context.WithValue(ctx, certificateName{}, w.TLSName)
}
