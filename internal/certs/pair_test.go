package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"waggle/internal/certs/certstest"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	a := certstest.NewAuthority(t)
	good, other := a.IssueFiles([]string{"waggle.example"}), a.IssueFiles([]string{"waggle.example"})
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		certstest.WriteFile(t, path, []byte(text))
		return path
	}
	empty := file("empty", "")
	encrypted := file("encrypted", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
	old := file("old", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n")
	damaged := file("damaged", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
	badKey := file("bad-key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
	large := file("large", strings.Repeat("x", fileLimit+1))
	tests := map[string]struct {
		cert, key string
		want      []string
	}{
		"no certificate file": {filepath.Join(dir, "none"), good.Key, []string{"none", "no such file"}},
		"no key file":         {good.Cert, filepath.Join(dir, "none"), []string{"none", "no such file"}},
		"a folder":            {dir, good.Key, []string{dir, "is no file"}},
		"too large":           {large, good.Key, []string{large, "more than"}},
		"empty certificate":   {empty, good.Key, []string{empty, "no PEM certificate"}},
		"empty key":           {good.Cert, empty, []string{empty, "no PEM private key"}},
		"swapped":             {good.Key, good.Cert, []string{good.Key, "a private key and no certificate"}},
		"two certificates":    {good.Cert, good.Cert, []string{good.Cert, "no private key"}},
		"another's key":       {good.Cert, other.Key, []string{good.Cert, other.Key, "does not fit"}},
		"an encrypted key":    {good.Cert, encrypted, []string{encrypted, "encrypted"}},
		"encrypted, old form": {good.Cert, old, []string{old, "encrypted"}},
		"a damaged one":       {damaged, good.Key, []string{damaged, "certificate 1"}},
		"a damaged key":       {good.Cert, badKey, []string{badKey}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Open(test.cert, test.key, quiet())
			if err == nil {
				t.Fatal("opened")
			}
			for _, word := range test.want {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("no %q in: %v", word, err)
				}
			}
		})
	}
}

// logged keeps what is logged, one line each, without times.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// take returns what was logged since the last time.
func (l *logged) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func TestName(t *testing.T) {
	t.Parallel()
	a := certstest.NewAuthority(t)
	for _, row := range []struct {
		hosts, preferred []string
		want             string
	}{
		{[]string{"one.example", "two.example", "10.1.2.3"}, nil, "one.example"},
		{[]string{"one.example", "two.example"}, []string{"other.example", "Two.example"}, "Two.example"},
		{[]string{"*.bees.example", "10.1.2.3"}, []string{"bee-1.bees.example"}, "bee-1.bees.example"},
		{[]string{"*.bees.example", "10.1.2.3"}, []string{"bee-1.other.example"}, "10.1.2.3"},
		{[]string{"fd00::1"}, nil, "fd00::1"},
		{[]string{"*.bees.example"}, nil, ""}, {nil, []string{"x"}, ""},
	} {
		files := a.IssueFiles(row.hosts)
		p, err := Open(files.Cert, files.Key, quiet())
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Name(row.preferred); got != row.want {
			t.Errorf("of %v, of which %v are preferred: %q, want %q", row.hosts, row.preferred, got, row.want)
		}
	}
}

// clock is a time that tests move.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

func (c *clock) pass(d time.Duration) { c.Time = c.Add(d) }

func namesFor(t *testing.T, p *Pair) []string {
	t.Helper()
	c, err := p.Config().GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return c.Leaf.DNSNames
}

func TestPairTakesUpWhatIsRenewed(t *testing.T) {
	t.Parallel()
	a, out, now := certstest.NewAuthority(t), new(logged), &clock{time.Now()}
	files := a.IssueFiles([]string{"One.example", "*.one.example", "127.0.0.1"})
	p, err := open(files.Cert, files.Key, out.logger(), now.now)
	if err != nil {
		t.Fatal(err)
	}
	if text := out.take(); !strings.Contains(text, `names="One.example *.one.example 127.0.0.1"`) || strings.Contains(text, "WARN") {
		t.Errorf("logged %s", text)
	}
	if diff := cmp.Diff([]string{"one.example"}, p.Hosts()); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
	cert, key := a.Issue([]string{"two.example"})
	certstest.WriteFile(t, files.Cert, cert)
	certstest.WriteFile(t, files.Key, key)
	now.pass(lookEvery - 1)
	if got := namesFor(t, p); got[0] != "One.example" {
		t.Errorf("looked at the files again after less than %v: %v", lookEvery, got)
	}
	now.pass(1)
	if got := namesFor(t, p); got[0] != "two.example" {
		t.Errorf("the renewed certificate is not used: %v", got)
	}
	if diff := cmp.Diff([]string{"two.example"}, p.Hosts()); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
	if text := out.take(); !strings.Contains(text, "names=two.example") {
		t.Errorf("logged %s", text)
	}
	now.pass(time.Hour)
	if namesFor(t, p); out.take() != "" {
		t.Error("the same files are told of again")
	}
}

func TestPairKeepsTheOldWhileTheNewIsBroken(t *testing.T) {
	t.Parallel()
	a, out, now := certstest.NewAuthority(t), new(logged), &clock{time.Now()}
	files := a.IssueFiles([]string{"one.example"})
	p, err := open(files.Cert, files.Key, out.logger(), now.now)
	if err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(files.Cert)
	if err != nil {
		t.Fatal(err)
	}
	out.take()
	stays := func(what, word string) {
		t.Helper()
		for _, want := range []string{word, ""} { // told of once
			now.pass(lookEvery)
			if got := namesFor(t, p); got[0] != "one.example" {
				t.Errorf("%s: %v", what, got)
			}
			if text := out.take(); !strings.Contains(text, want) || want == "" && text != "" {
				t.Errorf("%s: logged %q, want %q", what, text, want)
			}
		}
	}
	cert, key := a.Issue([]string{"two.example"})
	certstest.WriteFile(t, files.Cert, cert)
	stays("the key is not there yet", "does not fit")
	certstest.WriteFile(t, files.Cert, cert[:len(cert)/2])
	stays("half a certificate", "no PEM certificate")
	if err := os.Remove(files.Cert); err != nil {
		t.Fatal(err)
	}
	stays("no certificate", "no such file")
	certstest.WriteFile(t, files.Cert, old)
	stays("the old one again", "")
	certstest.WriteFile(t, files.Cert, cert)
	stays("broken as before", "does not fit")
	certstest.WriteFile(t, files.Key, key)
	now.pass(lookEvery)
	if got := namesFor(t, p); got[0] != "two.example" {
		t.Errorf("the whole pair is not used: %v", got)
	}
}

func TestPairWarns(t *testing.T) {
	t.Parallel()
	a := certstest.NewAuthority(t)
	tests := map[string]struct {
		hosts  []string
		change func(*x509.Certificate)
		want   string
	}{
		"expired": {[]string{"a.example"}, certstest.Expired, "expired on"},
		"young":   {[]string{"a.example"}, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, "not valid before"},
		"no name": {nil, func(*x509.Certificate) {}, "names no host"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			out, files := new(logged), a.IssueFiles(test.hosts, test.change)
			if _, err := Open(files.Cert, files.Key, out.logger()); err != nil {
				t.Fatal(err)
			}
			if text := out.take(); !strings.Contains(text, "level=WARN") || !strings.Contains(text, test.want) {
				t.Errorf("logged %s", text)
			}
		})
	}
	t.Run("expires while it is used", func(t *testing.T) {
		out, now, files := new(logged), &clock{time.Now()}, a.IssueFiles([]string{"a.example"})
		p, err := open(files.Cert, files.Key, out.logger(), now.now)
		if err != nil {
			t.Fatal(err)
		}
		out.take()
		now.pass(25 * time.Hour)
		for _, want := range []int{1, 0} {
			namesFor(t, p)
			now.pass(lookEvery)
			if text := out.take(); strings.Count(text, "expired on") != want {
				t.Errorf("logged %q, want %d warnings", text, want)
			}
		}
	})
}

// TestPairIsSafeToShare is for the race detector.
func TestPairIsSafeToShare(t *testing.T) {
	t.Parallel()
	a := certstest.NewAuthority(t)
	files := a.IssueFiles([]string{"one.example"})
	var moment sync.Mutex
	now := time.Now()
	p, err := open(files.Cert, files.Key, quiet(), func() time.Time {
		moment.Lock()
		defer moment.Unlock()
		now = now.Add(lookEvery)
		return now
	})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				if c, err := p.Config().GetCertificate(nil); err != nil || c == nil {
					t.Error("no certificate:", err)
				}
				p.Hosts()
			}
		})
	}
	cert, key := a.Issue([]string{"two.example"})
	certstest.WriteFile(t, files.Cert, cert)
	certstest.WriteFile(t, files.Key, key)
	all.Wait()
}

// greet serves one line by TLS, with one certificate, and returns the port.
func greet(t *testing.T, files certstest.Files) (port string) {
	t.Helper()
	p, err := Open(files.Cert, files.Key, quiet())
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", p.Config())
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler:  http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }),
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port
}

// visit gets a page, trusting an authority.
func visit(t *testing.T, url, ca string) (string, error) {
	t.Helper()
	trust, err := Trust(ca)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

func TestClientsAreToldWhatIsWrong(t *testing.T) {
	t.Parallel()
	a, stranger := certstest.NewAuthority(t), certstest.NewAuthority(t)
	here := greet(t, a.IssueFiles([]string{"127.0.0.1"}))
	elsewhere := greet(t, a.IssueFiles([]string{"elsewhere.example", "10.1.2.3"}))
	expired := greet(t, a.IssueFiles([]string{"127.0.0.1"}, certstest.Expired))
	young := greet(t, a.IssueFiles([]string{"127.0.0.1"}, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }))
	tests := map[string]struct {
		url, ca string
		want    string
	}{
		"unknown authority":  {"https://127.0.0.1:" + here, stranger.File, "with --ca"},
		"nobody is trusted":  {"https://127.0.0.1:" + here, "", "with --ca"},
		"another host":       {"https://127.0.0.1:" + elsewhere, a.File, "for elsewhere.example, 10.1.2.3, not for 127.0.0.1"},
		"expired":            {"https://127.0.0.1:" + expired, a.File, "certificate expired on"},
		"not yet valid":      {"https://127.0.0.1:" + young, a.File, "not valid before"},
		"http where https":   {"http://127.0.0.1:" + here, "", ""},
		"https, all is well": {"https://127.0.0.1:" + here, a.File, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			text, err := visit(t, test.url, test.ca)
			switch {
			case test.want != "" && (err == nil || !strings.Contains(Explain(err).Error(), test.want)):
				t.Errorf("got %q, want %q, of: %v", Explain(err), test.want, err)
			case test.want == "" && err != nil:
				t.Error(err)
			case name == "https, all is well" && text != "HTTP/2.0":
				t.Errorf("spoke %q", text)
			case name == "http where https" && !strings.HasPrefix(text, PlainHTTP):
				t.Errorf("answered %q", text)
			}
		})
	}
}

func TestExplainLeavesOtherErrorsAsTheyAre(t *testing.T) {
	t.Parallel()
	for _, err := range []error{nil, io.EOF, x509.CertificateInvalidError{Reason: x509.NotAuthorizedToSign}} {
		if got := Explain(err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
	if err := Explain(http.ErrSchemeMismatch); !strings.Contains(err.Error(), "http://") || !errors.Is(err, http.ErrSchemeMismatch) {
		t.Error(err)
	}
}

func TestTrustNeedsCertificates(t *testing.T) {
	t.Parallel()
	a := certstest.NewAuthority(t)
	key := a.IssueFiles([]string{"a.example"}).Key
	for _, file := range []string{key, filepath.Join(t.TempDir(), "none"), t.TempDir()} {
		if _, err := Trust(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func FuzzTexts(f *testing.F) {
	a := certstest.NewAuthority(f)
	cert, key := a.Issue([]string{"a.example"})
	f.Add(cert, key)
	f.Add(key, cert)
	f.Fuzz(func(t *testing.T, cert, key []byte) {
		pair, err := join("cert", cert, "key", key)
		if (pair == nil) == (err == nil) || pair != nil && pair.Leaf == nil {
			t.Errorf("%v, %v", pair, err)
		}
	})
}
