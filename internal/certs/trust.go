package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// PlainHTTP is how a server's answer to plain HTTP on its TLS port begins, where it is Go's net/http.
const PlainHTTP = "Client sent an HTTP request to an HTTPS server."

// Trust is for a client that trusts the authorities of this machine and those
// in a PEM file; none if it has no name. Errors name the file.
func Trust(file string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if file == "" {
		return c, nil
	}
	text, err := readFile(file)
	if err != nil {
		return nil, err
	}
	list, err := parseChain(file, text)
	if err != nil {
		return nil, err
	}
	if c.RootCAs, err = x509.SystemCertPool(); err != nil {
		c.RootCAs = x509.NewCertPool() // a machine without any
	}
	for _, authority := range list {
		c.RootCAs.AddCert(authority)
	}
	return c, nil
}

// explained is an error in words that say what to do.
type explained struct {
	text string
	error
}

func (e explained) Error() string { return e.text }

func (e explained) Unwrap() error { return e.error }

// Explain says in plain words why a server's certificate was refused, or that
// it does not speak TLS. It leaves other errors as they are.
func Explain(err error) error {
	var (
		record   tls.RecordHeaderError
		unknown  x509.UnknownAuthorityError
		other    x509.HostnameError
		invalid  x509.CertificateInvalidError
		received tls.AlertError
	)
	switch {
	case errors.As(err, &unknown):
		return explained{"its certificate is not from an authority that is trusted here: name a file with the right one's certificate with --ca", err}
	case errors.As(err, &other):
		return explained{fmt.Sprintf("its certificate is for %s, not for %s", namesOf(other.Certificate), shown(other.Host)), err}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		if age := ageOf(invalid.Cert, time.Now()); age != nil {
			return explained{"its certificate " + age.Error(), err}
		}
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record) && string(record.RecordHeader[:]) == "HTTP/":
		return explained{"it speaks plain HTTP, not TLS: use http://", err}
	case errors.As(err, &record):
		return explained{"it does not speak TLS", err}
	case errors.As(err, &received):
		return explained{"it refused the TLS handshake: " + received.Error(), err}
	}
	return err
}

const namesShown = 5

// namesOf are the hosts that a stranger's certificate is for.
func namesOf(c *x509.Certificate) string {
	var names []string
	for _, name := range c.DNSNames {
		names = append(names, shown(name))
	}
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	switch {
	case len(names) == 0:
		return "no host"
	case len(names) > namesShown:
		names = append(names[:namesShown], "others")
	}
	return strings.Join(names, ", ")
}

// shown is a stranger's text, short and without what terminals obey.
func shown(s string) string {
	if len(s) > 100 {
		s = s[:100] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' && r != '…' {
			return '?'
		}
		return r
	}, s)
}
