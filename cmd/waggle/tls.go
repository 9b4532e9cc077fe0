package main

import (
	"errors"
	"fmt"
	"log/slog"

	"waggle/internal/certs"
)

// tlsFlags name a server's certificate.
type tlsFlags struct {
	TLSCert string `name:"tls-cert" type:"path" env:"WAGGLE_TLS_CERT" placeholder:"FILE" help:"File with the certificate (PEM, its chain behind it) to serve https with; taken up anew when it changes. The names in it count as --host."`
	TLSKey  string `name:"tls-key" type:"path" env:"WAGGLE_TLS_KEY" placeholder:"FILE" help:"File with its private key (PEM)."`
}

// pair reads the certificate; nil where none is named.
func (f *tlsFlags) pair(log *slog.Logger) (*certs.Pair, error) {
	switch {
	case f.TLSCert == "" && f.TLSKey == "":
		return nil, nil
	case f.TLSKey == "":
		return nil, errors.New("--tls-cert needs --tls-key, the file with its private key")
	case f.TLSCert == "":
		return nil, errors.New("--tls-key needs --tls-cert, the file with its certificate")
	}
	pair, err := certs.Open(f.TLSCert, f.TLSKey, log)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	return pair, nil
}

// scheme is that of the addresses of this server.
func (f *tlsFlags) scheme() string {
	if f.TLSCert != "" {
		return "https"
	}
	return "http"
}
