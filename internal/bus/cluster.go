package bus

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
)

// Errors of joining a cluster, which say more when printed.
var (
	// ErrNoAnswer: no server answered within Options.Patience.
	ErrNoAnswer = errors.New("no server answers")
	// ErrRefused: the servers do not let us in, or not with this proof of who we are.
	ErrRefused = errors.New("the servers refuse us")
	// ErrUntrusted: the servers' certificates are not of those we trust.
	ErrUntrusted = errors.New("the servers' certificate is not trusted")
)

const (
	clusterReplicas = 3
	usualPatience   = 30 * time.Second
	retryJoin       = 500 * time.Millisecond
	dialTimeout     = 3 * time.Second // for one server
)

// join connects to a cluster and waits until it can be used.
func (b *Bus) join(ctx context.Context, o Options) (err error) {
	for i, address := range o.URLs {
		if _, err := url.Parse(address); err != nil {
			return fmt.Errorf("address %d of NATS cannot be read; want nats://host:4222", i+1) // no more: there may be a password in it
		}
	}
	options, err := o.proofs()
	if err != nil {
		return err
	}
	options = append(options, append(b.client(o), nats.Timeout(dialTimeout))...)
	patience := o.Patience
	if patience == 0 {
		patience = usualPatience
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	where := redacted(o.URLs)
	err = patiently(ctx, o.note("waiting for NATS to answer", where, patience), func() error {
		b.conn, err = dial(o.URLs, options)
		return plain(err)
	})
	if err == nil {
		err = b.settle(ctx, o, o.note("waiting for JetStream to be ready", where, patience))
	}
	if err != nil {
		return fmt.Errorf("connect to NATS at %s: %w", where, err)
	}
	return nil
}

// settle waits until JetStream answers, and decides on how many servers all is kept.
func (b *Bus) settle(ctx context.Context, o Options, note func(error)) error {
	js, err := jetstream.New(b.conn, jetstream.WithDefaultTimeout(answerTimeout))
	if err != nil {
		return err
	}
	err = patiently(ctx, note, func() error {
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		_, err := js.AccountInfo(ctx)
		return plain(err)
	})
	if err != nil {
		return err
	}
	b.Replicas = o.Replicas
	if b.Replicas == 0 && len(b.conn.Servers()) >= clusterReplicas {
		b.Replicas = clusterReplicas
	}
	b.Replicas = max(b.Replicas, 1)
	b.JetStream = &replicated{prompt{js}, o.Guest}
	return nil
}

// note returns what is done at the first failure: it is logged once.
func (o Options) note(what, where string, patience time.Duration) func(error) {
	told := false
	return func(err error) {
		if !told {
			o.Log.Warn(what, "at", where, "for", patience, "error", err)
		}
		told = true
	}
}

// patiently tries until there is no error, or one that waiting does not mend.
func patiently(ctx context.Context, note func(error), try func() error) error {
	for {
		err := try()
		if err == nil || !Unreachable(err) && !errors.Is(err, ErrNoAnswer) {
			return err
		}
		note(err)
		select {
		case <-time.After(retryJoin):
		case <-ctx.Done():
			return err
		}
	}
}

// plain puts errors of connecting into words.
func plain(err error) error {
	var untrusted *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var alert tls.AlertError
	var network net.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &untrusted), errors.As(err, &unknown):
		return fmt.Errorf("%w: %w", ErrUntrusted, err)
	case errors.As(err, &alert), strings.Contains(err.Error(), "remote error: tls"):
		return fmt.Errorf("%w: they want another certificate of ours: %w", ErrRefused, err)
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
		return fmt.Errorf("%w: user, password or credentials are not right: %w", ErrRefused, err)
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, nats.ErrTimeout), errors.As(err, &network):
		return fmt.Errorf("%w: %w", ErrNoAnswer, err)
	case errors.Is(err, nats.ErrSecureConnWanted), errors.Is(err, nats.ErrSecureConnRequired):
		return fmt.Errorf("%w: TLS is wanted by one side only: %w", ErrRefused, err)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("%w: JetStream is not enabled for us there", ErrRefused)
	}
	return err
}

// proofs are the options by which we and the servers know each other. Files
// are read now, so that what is wrong with them is said.
func (o Options) proofs() (list []nats.Option, err error) {
	if o.Credentials != "" {
		if err := checkCredentials(o.Credentials); err != nil {
			return nil, fmt.Errorf("credentials for NATS in %s: %w", o.Credentials, err)
		}
		list = append(list, nats.UserCredentials(o.Credentials))
	}
	if o.CA != "" {
		text, err := os.ReadFile(o.CA)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(text) {
			err = errors.New("there is no certificate in it (PEM)")
		}
		if err != nil {
			return nil, fmt.Errorf("certificates of NATS in %s: %w", o.CA, pathless(err))
		}
		list = append(list, nats.RootCAs(o.CA))
	}
	if o.Cert != "" {
		if _, err := tls.LoadX509KeyPair(o.Cert, o.Key); err != nil {
			return nil, fmt.Errorf("our certificate for NATS in %s and %s: %w", o.Cert, o.Key, pathless(err))
		}
		list = append(list, nats.ClientCert(o.Cert, o.Key))
	}
	return list, nil
}

// checkCredentials looks for a user's JWT and key in a file.
func checkCredentials(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return pathless(err)
	}
	defer clear(text)
	if _, err := nkeys.ParseDecoratedJWT(text); err != nil || !strings.Contains(string(text), "USER JWT") {
		return errors.New("there is no user's JWT in it")
	}
	pair, err := nkeys.ParseDecoratedUserNKey(text)
	if err != nil {
		return errors.New("there is no user's key in it")
	}
	pair.Wipe()
	return nil
}

// pathless drops a path that is named already.
func pathless(err error) error {
	var of *os.PathError
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}

// redacted names servers without the passwords that may be in their addresses.
func redacted(urls []string) string {
	var names []string
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil {
			names = append(names, "an address that cannot be read")
			continue
		}
		names = append(names, u.Redacted())
	}
	return strings.Join(names, ", ")
}

func dial(urls []string, options []nats.Option) (*nats.Conn, error) {
	o := nats.GetDefaultOptions()
	o.Servers = urls
	for _, set := range options {
		if err := set(&o); err != nil {
			return nil, err
		}
	}
	return o.Connect()
}
