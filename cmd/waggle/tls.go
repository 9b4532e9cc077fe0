package main

import (
	"errors"
	"fmt"
	"log/slog"

	"waggle/internal/certs"
	"waggle/internal/door"
)

// tlsFlags name a server's certificate.
type tlsFlags struct {
	TLSCert string `name:"tls-cert" type:"path" env:"WAGGLE_TLS_CERT" placeholder:"FILE" help:"File with the certificate (PEM, its chain behind it) to serve https with; taken up anew when it changes. The names in it count as --host."`
	TLSKey  string `name:"tls-key" type:"path" env:"WAGGLE_TLS_KEY" placeholder:"FILE" help:"File with its private key (PEM)."`

	pair *certs.Pair // once it is open; nil: there is none
}

// open reads the certificate, if one is named, for a server that is open to others as to says.
func (f *tlsFlags) open(to *door.Config, log *slog.Logger) (err error) {
	switch {
	case f.TLSCert == "" && f.TLSKey == "":
		return nil
	case f.TLSKey == "":
		return errors.New("--tls-cert needs --tls-key, the file with its private key")
	case f.TLSCert == "":
		return errors.New("--tls-key needs --tls-cert, the file with its certificate")
	}
	if f.pair, err = certs.Open(f.TLSCert, f.TLSKey, log); err != nil {
		return fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	to.TLS, to.Names = f.pair.Config(), f.pair.Hosts
	return nil
}

// scheme is that of the addresses of this server.
func (f *tlsFlags) scheme() string {
	if f.TLSCert != "" {
		return "https"
	}
	return "http"
}
