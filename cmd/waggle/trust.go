package main

import (
	"crypto/tls"
	"fmt"

	"waggle/internal/certs"
	"waggle/internal/client"
)

// trustFlags say whose certificates are trusted when this program calls others.
type trustFlags struct {
	CAFile string `name:"ca" type:"path" env:"WAGGLE_CA" placeholder:"FILE" help:"File with certificates (PEM) of authorities to trust besides those of this machine, for https://."`
}

func (f *trustFlags) trust() (*tls.Config, error) {
	trust, err := certs.Trust(f.CAFile)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	return trust, nil
}

// connect returns a client for a server. Close it.
func (f *trustFlags) connect(address, token string) (*client.Client, error) {
	trust, err := f.trust()
	if err != nil {
		return nil, err
	}
	return client.New(address, token, trust)
}
