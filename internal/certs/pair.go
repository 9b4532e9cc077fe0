package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// lookEvery is the shortest time between two looks at the files.
const lookEvery = 5 * time.Second

// Pair is a server's certificate with its key, from two files. When they
// change, handshakes get the new one; while the new one is broken, as between
// the writing of the one file and the other, the old one.
type Pair struct {
	certFile, keyFile string
	log               *slog.Logger
	now               func() time.Time

	current atomic.Pointer[tls.Certificate]

	mu        sync.Mutex // of one look: others need not wait for it
	looked    time.Time
	cert, key []byte // as last read
	problem   string // with the files as they are, empty if there is none
	outdated  bool   // the log says that the current certificate is
}

// Open reads a certificate, its chain behind it, and its key. Errors name the
// file and say what is wrong with it. log gets what certificates are used and
// what is doubtful about them.
func Open(certFile, keyFile string, log *slog.Logger) (*Pair, error) {
	return open(certFile, keyFile, log, time.Now)
}

func open(certFile, keyFile string, log *slog.Logger, now func() time.Time) (*Pair, error) {
	p := &Pair{certFile: certFile, keyFile: keyFile, log: log, now: now, looked: now()}
	if err := p.read(); err != nil {
		return nil, err
	}
	return p, nil
}

// Config is for a server that speaks HTTP/2 and HTTP/1.1 over TLS 1.2 and later.
func (p *Pair) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: p.certificate}
}

// Hosts are the names in the certificate of now, in lower case. Names with a
// star are not among them: whoever may have a name below it is somebody else.
func (p *Pair) Hosts() (names []string) {
	for _, name := range p.current.Load().Leaf.DNSNames {
		if !strings.Contains(name, "*") {
			names = append(names, strings.ToLower(name))
		}
	}
	return names
}

// Name is the host by which a server with this certificate should be called:
// one of those preferred, if the certificate is for it, else one in the
// certificate, without a star; empty if there is none, or no certificate.
func (p *Pair) Name(preferred []string) string {
	if p == nil {
		return ""
	}
	c := p.current.Load().Leaf
	names := append(slices.Clone(preferred), p.Hosts()...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	for _, name := range names {
		if c.VerifyHostname(name) == nil {
			return name
		}
	}
	return ""
}

// certificate is for one handshake. Now and then one of them looks at the
// files; the others go on with what there is.
func (p *Pair) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if p.mu.TryLock() {
		p.look()
		p.mu.Unlock()
	}
	return p.current.Load(), nil
}

func (p *Pair) look() {
	if p.now().Sub(p.looked) < lookEvery {
		return
	}
	p.looked = p.now()
	if err := p.read(); err != nil && err.Error() != p.problem {
		p.problem = err.Error()
		p.log.Warn("the renewed certificate cannot be used; the one before it stays", "error", err)
	}
	p.warnOfAge(p.current.Load().Leaf)
}

// read takes up the certificate in the files if they have changed.
func (p *Pair) read() error {
	cert, err := readFile(p.certFile)
	if err != nil {
		return err
	}
	key, err := readFile(p.keyFile)
	if err != nil {
		return err
	}
	if bytes.Equal(cert, p.cert) && bytes.Equal(key, p.key) {
		p.problem = ""
		return nil
	}
	pair, err := join(p.certFile, cert, p.keyFile, key)
	if err != nil {
		return err
	}
	p.cert, p.key, p.problem, p.outdated = cert, key, "", false
	p.current.Store(pair)
	p.tell(pair.Leaf)
	return nil
}

// tell says which certificate is used from now on, and for whom.
func (p *Pair) tell(c *x509.Certificate) {
	var names []string
	names = append(names, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	p.log.Info("certificate", "file", p.certFile, "names", strings.Join(names, " "), "until", c.NotAfter.UTC().Format(time.RFC3339))
	if len(names) == 0 {
		p.log.Warn("the certificate names no host (subjectAltName): browsers and other clients will refuse it", "file", p.certFile)
	}
	p.warnOfAge(c)
}

// warnOfAge says once that a certificate is too old or too young.
func (p *Pair) warnOfAge(c *x509.Certificate) {
	err := ageOf(c, p.now())
	if err != nil && !p.outdated {
		p.log.Warn("the certificate "+err.Error()+": clients will refuse it until it is renewed", "file", p.certFile)
	}
	p.outdated = err != nil
}

func ageOf(c *x509.Certificate, now time.Time) error {
	switch {
	case now.After(c.NotAfter):
		return errors.New("expired on " + c.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(c.NotBefore):
		return errors.New("is not valid before " + c.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}
