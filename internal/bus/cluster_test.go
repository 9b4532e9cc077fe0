package bus

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
)

// serve starts a server that is not ours, and returns its address without scheme.
func serve(t *testing.T, change func(*server.Options)) (*server.Server, string) {
	t.Helper()
	o := &server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir()}
	if change != nil {
		change(o)
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(s) })
	s.Start()
	if !s.ReadyForConnections(startTimeout) {
		t.Fatal("the server did not start")
	}
	return s, s.Addr().String()
}

// authority signs certificates.
type authority struct {
	*testing.T
	file string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newAuthority(t *testing.T, name string) *authority {
	a := &authority{T: t, next: 1}
	a.cert, a.key = a.issue(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign})
	a.file = a.write("CERTIFICATE", a.cert.Raw)
	return a
}

// issue makes a key and signs a certificate for it; the first is its own.
func (a *authority) issue(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(a.next), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	a.next++
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	raw, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		a.Fatal(err)
	}
	return cert, key
}

func (a *authority) write(kind string, data []byte) string {
	a.Helper()
	file := filepath.Join(a.TempDir(), strings.ToLower(strings.ReplaceAll(kind, " ", "-"))+".pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600); err != nil {
		a.Fatal(err)
	}
	return file
}

// pair is a certificate and its key as files.
func (a *authority) pair(usage x509.ExtKeyUsage) (cert, key string) {
	a.Helper()
	c, k := a.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "waggle"}, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		KeyUsage: x509.KeyUsageDigitalSignature, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.Fatal(err)
	}
	return a.write("CERTIFICATE", c.Raw), a.write("PRIVATE KEY", raw)
}

// attempt is one way to join, and the error it must end in; nil for none.
type attempt struct {
	name    string
	options Options
	want    error
	words   string // must be in the error's text
}

func (a attempt) run(t *testing.T) {
	a.options.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	if a.options.Patience == 0 {
		a.options.Patience = 10 * time.Second
	}
	b, err := Open(a.options)
	if err == nil {
		defer b.Close()
		_, err = b.JetStream.CreateOrUpdateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b"})
	}
	if a.want == nil && a.words == "" {
		if err != nil {
			t.Error(err)
		}
		return
	}
	if err == nil || a.want != nil && !errors.Is(err, a.want) || !strings.Contains(err.Error(), a.words) {
		t.Errorf("got %v, want %v … %s", err, a.want, a.words)
	}
	if err != nil && (strings.ContainsAny(err.Error(), "\n") || strings.Contains(err.Error(), "secret")) {
		t.Errorf("not one line without secrets: %q", err)
	}
	t.Log(err)
}

func runAll(t *testing.T, list []attempt) {
	for _, a := range list {
		t.Run(a.name, a.run)
	}
}

// TestTLS: both sides prove who they are, or do not come together.
func TestTLS(t *testing.T) {
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	cert, key := ours.pair(x509.ExtKeyUsageServerAuth)
	loaded, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AddCert(ours.cert)
	_, open := serve(t, func(o *server.Options) {
		o.TLS, o.TLSConfig, o.TLSTimeout = true, &tls.Config{Certificates: []tls.Certificate{loaded}}, 5
	})
	_, strict := serve(t, func(o *server.Options) {
		o.TLS, o.TLSTimeout = true, 5
		o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{loaded}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	})
	_, plain := serve(t, nil)
	good, goodKey := ours.pair(x509.ExtKeyUsageClientAuth)
	bad, badKey := theirs.pair(x509.ExtKeyUsageClientAuth)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	to := func(scheme, address string) []string { return []string{scheme + "://" + address} }
	runAll(t, []attempt{
		{"CA", Options{URLs: to("tls", open), CA: ours.file}, nil, ""},
		{"CA, asked for by the server", Options{URLs: to("nats", open), CA: ours.file}, nil, ""},
		{"another CA", Options{URLs: to("tls", open), CA: theirs.file}, ErrUntrusted, "signed by unknown authority"},
		{"the system's CAs", Options{URLs: to("tls", open)}, ErrUntrusted, "signed by unknown authority"},
		{"certificate", Options{URLs: to("tls", strict), CA: ours.file, Cert: good, Key: goodKey}, nil, ""},
		{"no certificate", Options{URLs: to("tls", strict), CA: ours.file}, ErrRefused, "another certificate"},
		{"another's certificate", Options{URLs: to("tls", strict), CA: ours.file, Cert: bad, Key: badKey}, ErrRefused, "another certificate"},
		{"TLS where there is none", Options{URLs: to("tls", plain), CA: ours.file}, ErrRefused, "one side only"},
		{"no CA file", Options{URLs: to("tls", open), CA: empty + "-absent"}, os.ErrNotExist, "certificates of NATS in " + empty},
		{"empty CA file", Options{URLs: to("tls", open), CA: empty}, nil, "no certificate in it"},
		{"no certificate file", Options{URLs: to("tls", strict), CA: ours.file, Cert: empty + "-absent", Key: goodKey}, os.ErrNotExist, "our certificate"},
		{"another's key", Options{URLs: to("tls", strict), CA: ours.file, Cert: good, Key: badKey}, nil, "our certificate"},
	})
}

// TestUsers: user and password in the address.
func TestUsers(t *testing.T) {
	_, address := serve(t, func(o *server.Options) { o.Users = []*server.User{{Username: "bee", Password: "secret"}} })
	runAll(t, []attempt{
		{"right", Options{URLs: []string{"nats://bee:secret@" + address}}, nil, ""},
		{"wrong password", Options{URLs: []string{"nats://bee:secrets@" + address}}, ErrRefused, "password"},
		{"nobody", Options{URLs: []string{"nats://" + address}}, ErrRefused, "password"},
		{"not an address", Options{URLs: []string{"nats://bee:secret@" + address + ":x"}}, nil, "address"},
	})
}

// TestCredentials: a file with JWT and key, as an operator's tools write it.
func TestCredentials(t *testing.T) {
	operator, account, other := newKey(t, nkeys.CreateOperator), newKey(t, nkeys.CreateAccount), newKey(t, nkeys.CreateAccount)
	system := newKey(t, nkeys.CreateAccount)
	claims := jwt.NewAccountClaims(account.public)
	claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	resolver := &server.MemAccResolver{}
	for of, c := range map[string]*jwt.AccountClaims{account.public: claims, system.public: jwt.NewAccountClaims(system.public)} {
		text, err := c.Encode(operator.pair)
		if err == nil {
			err = resolver.Store(of, text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	trusted := jwt.NewOperatorClaims(operator.public)
	trusted.SystemAccount = system.public
	_, address := serve(t, func(o *server.Options) {
		o.TrustedOperators, o.AccountResolver, o.SystemAccount = []*jwt.OperatorClaims{trusted}, resolver, system.public
	})
	good, expired, strange := credentials(t, account, 0), credentials(t, account, -time.Hour), credentials(t, other, 0)
	cut := filepath.Join(t.TempDir(), "cut.creds")
	text, err := os.ReadFile(good)
	if err == nil {
		err = os.WriteFile(cut, text[:len(text)/2], 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	at := []string{"nats://" + address}
	runAll(t, []attempt{
		{"right", Options{URLs: at, Credentials: good}, nil, ""},
		{"none", Options{URLs: at}, ErrRefused, "credentials"},
		{"expired", Options{URLs: at, Credentials: expired}, ErrRefused, "credentials"},
		{"of another account", Options{URLs: at, Credentials: strange}, ErrRefused, "credentials"},
		{"no file", Options{URLs: at, Credentials: good + "-absent"}, os.ErrNotExist, good},
		{"half a file", Options{URLs: at, Credentials: cut}, nil, "key in it"},
	})
}

type keyPair struct {
	pair   nkeys.KeyPair
	public string
}

func newKey(t *testing.T, create func() (nkeys.KeyPair, error)) keyPair {
	t.Helper()
	pair, err := create()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{pair, public}
}

// credentials writes the file of a new user of an account, which is valid for
// so long; 0: for ever.
func credentials(t *testing.T, account keyPair, lasts time.Duration) string {
	t.Helper()
	user := newKey(t, nkeys.CreateUser)
	claims := jwt.NewUserClaims(user.public)
	if lasts != 0 {
		claims.Expires = time.Now().Add(lasts).Unix()
	}
	token, err := claims.Encode(account.pair)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.FormatUserConfig(token, seed)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "user.creds")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestNobodyThere: it is waited for a server, so long as was said.
func TestNobodyThere(t *testing.T) {
	began := time.Now()
	attempt{options: Options{URLs: []string{"nats://127.0.0.1:1", "nats://user:secret@127.0.0.1:2"}, Patience: 700 * time.Millisecond},
		want: ErrNoAnswer, words: "127.0.0.1:1"}.run(t)
	if took := time.Since(began); took < 700*time.Millisecond || took > 10*time.Second {
		t.Errorf("it was waited for %v", took)
	}
}

// TestNoJetStream: a server that keeps nothing is of no use.
func TestNoJetStream(t *testing.T) {
	_, address := serve(t, func(o *server.Options) { o.JetStream = false })
	attempt{options: Options{URLs: []string{"nats://" + address}}, want: ErrRefused, words: "JetStream is not enabled"}.run(t)
}

// TestComesBack: a lost connection is noticed, said once, and made again.
func TestComesBack(t *testing.T) {
	dir, port := t.TempDir(), 0
	start := func() *server.Server {
		s, _ := serve(t, func(o *server.Options) {
			o.StoreDir = dir
			if port != 0 {
				o.Port = port
			}
		})
		port = s.Addr().(*net.TCPAddr).Port
		return s
	}
	s := start()
	var said lines
	b, err := Open(Options{URLs: []string{"nats://" + s.Addr().String()}, Log: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Connected(); err != nil {
		t.Error(err)
	}
	end(s)
	await(t, "the loss", func() bool { return errors.Is(b.Connected(), ErrLost) })
	_, err = b.JetStream.Publish(t.Context(), "a", nil)
	if !Unreachable(err) {
		t.Errorf("publish without a connection: %v", err)
	}
	start()
	await(t, "the connection", func() bool { return b.Connected() == nil })
	await(t, "JetStream", func() bool {
		_, err := b.JetStream.AccountInfo(t.Context())
		return err == nil
	})
	text := said.String()
	for _, words := range []string{"is lost", "is back"} {
		if n := strings.Count(text, words); n != 1 {
			t.Errorf("%q is said %d times:\n%s", words, n, text)
		}
	}
}
