//go:build unix

package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"image/png"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"waggle/internal/certs"
	"waggle/internal/certs/certstest"
)

// startSecure runs a server on a free port with a certificate of an authority, which its client trusts.
func startSecure(t testing.TB, a *certstest.Authority, files certstest.Files, args ...string) *server {
	t.Helper()
	s := startServer(t, append(args, "--port", "0", "--tls-cert", files.Cert, "--tls-key", files.Key)...)
	if !strings.HasPrefix(s.url, "https://") {
		t.Errorf("announced %s", s.url)
	}
	var err error
	if s.trust, err = certs.Trust(a.File); err != nil {
		t.Fatal(err)
	}
	return s
}

// hostPort is where a server listens.
func (s *server) hostPort() string {
	u, err := url.Parse(s.url)
	if err != nil {
		s.Fatal(err)
	}
	return u.Host
}

// TestTLSPicture takes a job from its submission to its picture with the command line over https.
func TestTLSPicture(t *testing.T) {
	t.Parallel()
	needAdapter(t)
	a := certstest.NewAuthority(t)
	s := startSecure(t, a, a.IssueFiles([]string{"127.0.0.1", "waggle.example"}), "serve")
	s.ready()
	out := filepath.Join(t.TempDir(), "star.png")
	succeed(t, command(t, "generate", starPrompt, "--steps", "2", "--seed", "3", "-o", out, "--server", s.url, "--ca", a.File))
	file, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(bytes.NewReader(file)); err != nil {
		t.Error(err)
	}
	list := command(t, "jobs", "--server", s.url, "list")
	list.Env = append(list.Env, "WAGGLE_CA="+a.File)
	if o := succeed(t, list); !strings.Contains(o.out, "complete") {
		t.Errorf("waggle jobs list: %s", o.out)
	}
	s.drawsForAQueen(a)
	if status := s.greetSocket("waggle.example"); status != http.StatusSwitchingProtocols {
		t.Errorf("wss: %d", status)
	}
	if status := s.greetSocket("evil.example"); status != http.StatusForbidden {
		t.Errorf("wss by another's name: %d", status)
	}
}

// drawsForAQueen has a worker report to a queen, both at https, and makes a picture through her.
func (s *server) drawsForAQueen(a *certstest.Authority) {
	s.Helper()
	queen := startSecure(s, a, a.IssueFiles([]string{"127.0.0.1"}), "queen", "--ca", a.File)
	worker := startSecure(s, a, a.IssueFiles([]string{"bee.example"}), "serve", "--queen-url", queen.url, "--ca", a.File)
	eventually(s, time.Minute, "ready worker at the queen", func() bool {
		_, events, marker := parts(s, queen.made(star(fields{"steps": 2})))
		return marker == "[DONE]" && len(events) > 0
	})
	if text := queen.log.String() + worker.log.String(); strings.Contains(text, "level=ERROR") {
		s.Errorf("the logs:\n%s", text)
	}
}

// greetSocket opens the WebSocket by a name, as a page does that was loaded by that name, and speaks with it.
func (s *server) greetSocket(host string) (status int) {
	s.Helper()
	dialer := websocket.Dialer{TLSClientConfig: s.trust.Clone(), HandshakeTimeout: 10 * time.Second}
	header := http.Header{"Host": {host}, "Origin": {"https://" + host}, "Authorization": {"Bearer " + s.token}}
	conn, response, err := dialer.DialContext(s.Context(), strings.Replace(s.url, "https", "wss", 1)+"/v1/ws", header)
	if err != nil && response == nil {
		s.Fatal(err)
	}
	if err != nil {
		return response.StatusCode
	}
	defer conn.Close()
	if err := conn.WriteMessage(websocket.TextMessage, []byte(`{"type":"ping","ref":"1"}`)); err != nil {
		s.Error(err)
	}
	if _, text, err := conn.ReadMessage(); err != nil || !strings.Contains(string(text), "pong") {
		s.Errorf("ping: %s, %v", text, err)
	}
	return response.StatusCode
}

// TestTLSDoor is about what does not need a picture: versions, names, and what is said to those who do it wrong.
func TestTLSDoor(t *testing.T) {
	t.Parallel()
	a := certstest.NewAuthority(t)
	s := startSecure(t, a, a.IssueFiles([]string{"127.0.0.1", "queen.example", "*.wild.example"}), "queen")
	t.Run("HTTP/2", func(t *testing.T) {
		response, err := s.client().Get(s.url + "/v1/info")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		if response.Proto != "HTTP/2.0" || !strings.Contains(string(text), `"base_url":"`+s.url+`"`) {
			t.Errorf("%s: %s", response.Proto, text)
		}
	})
	t.Run("versions", func(t *testing.T) {
		for version, want := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
			trust := s.trust.Clone()
			trust.MinVersion, trust.MaxVersion = version, version
			conn, err := tls.Dial("tcp", s.hostPort(), trust)
			if (err == nil) != want {
				t.Errorf("%s: %v", tls.VersionName(version), err)
			}
			if err == nil {
				conn.Close()
			}
		}
	})
	t.Run("names", func(t *testing.T) {
		for host, want := range map[string]int{"queen.example": 200, "QUEEN.example:7833": 200, "a.wild.example": 403, "evil.example": 403} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v1/jobs", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = host
			response, err := s.client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != want {
				t.Errorf("Host %s: %d, want %d", host, response.StatusCode, want)
			}
		}
	})
	t.Run("plain HTTP", func(t *testing.T) {
		conn, err := net.Dial("tcp", s.hostPort())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", s.hostPort())
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body)
		if response.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), "HTTPS") {
			t.Errorf("%d %s", response.StatusCode, text)
		}
	})
	t.Run("clients", func(t *testing.T) {
		plain := strings.Replace(s.url, "https", "http", 1)
		fail(t, command(t, "jobs", "--server", s.url, "list"), exitFailed, s.url, "certificate", "--ca")
		fail(t, command(t, "jobs", "--server", plain, "--ca", a.File, "list"), exitFailed, "https://")
		fail(t, command(t, "jobs", "--server", strings.Replace(s.url, "127.0.0.1", "localhost", 1), "--ca", a.File, "list"), exitFailed,
			"its certificate is for queen.example, *.wild.example, 127.0.0.1, not for localhost")
		other := startQueen(t)
		fail(t, command(t, "jobs", "--server", strings.Replace(other.url, "http", "https", 1), "list"), exitFailed, "plain HTTP", "http://")
	})
}

// TestTLSRenewal: a certificate that is renewed on disk is used without a restart, a broken one is not.
func TestTLSRenewal(t *testing.T) {
	t.Parallel()
	a := certstest.NewAuthority(t)
	files := a.IssueFiles([]string{"127.0.0.1", "one.example"})
	s := startSecure(t, a, files, "queen")
	shown := func() string {
		t.Helper()
		conn, err := tls.Dial("tcp", s.hostPort(), s.trust.Clone())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].DNSNames[0]
	}
	if got := shown(); got != "one.example" || !strings.Contains(s.log.String(), "one.example") {
		t.Errorf("the certificate of %s; the log:\n%s", got, s.log)
	}
	cert, key := a.Issue([]string{"127.0.0.1", "two.example"})
	certstest.WriteFile(t, files.Cert, cert)
	eventually(t, 30*time.Second, "word of the certificate without its key", func() bool {
		if got := shown(); got != "one.example" {
			t.Fatalf("the certificate of %s without its key", got)
		}
		return strings.Contains(s.log.String(), "does not fit")
	})
	certstest.WriteFile(t, files.Key, key)
	eventually(t, 30*time.Second, "the renewed certificate", func() bool { return shown() == "two.example" })
}

// eventually waits for what nobody tells of.
func eventually(t testing.TB, limit time.Duration, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s within %v", what, limit)
		}
	}
}

// byTLS serves what a fake serves with a certificate.
func byTLS(t *testing.T, fake *httptest.Server, files certstest.Files) *httptest.Server {
	t.Helper()
	fake.Close()
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	secure := httptest.NewUnstartedServer(fake.Config.Handler)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	return secure
}

// report sends a worker's heartbeat, which must be taken.
func (s *server) report(id, port, tlsName string) {
	s.Helper()
	number, err := strconv.Atoi(port)
	if err != nil {
		s.Fatal(err)
	}
	body, err := json.Marshal(fields{"worker": fields{"id": id, "model_id": "m", "device": "GPU-0", "port": number, "status": "ready",
		"implementation": "test", "version": "1", "tls_name": tlsName}, "timestamp": "2026-11-24T12:00:00Z"})
	if err != nil {
		s.Fatal(err)
	}
	if a := s.ask(http.MethodPost, "/v1/worker-heartbeat", body); a.status != http.StatusOK {
		s.Fatalf("heartbeat: %d %s", a.status, a.body)
	}
}

// TestTLSQueen: a queen at https listens to a hive at https and gives a job to a worker at https, whose certificate is for a
// name that it tells. A worker whose certificate is not as it should be gets none.
func TestTLSQueen(t *testing.T) {
	t.Parallel()
	a, stranger := certstest.NewAuthority(t), certstest.NewAuthority(t)
	hive, good, strange, other := newHive(t), newWorker(t), newWorker(t), newWorker(t)
	hive.Server = byTLS(t, hive.Server, a.IssueFiles([]string{"127.0.0.1"}))
	good.Server = byTLS(t, good.Server, a.IssueFiles([]string{"bee-1.example"}))
	strange.Server = byTLS(t, strange.Server, stranger.IssueFiles([]string{"bee-2.example"}))
	other.Server = byTLS(t, other.Server, a.IssueFiles([]string{"bee-3.example"}))
	s := startSecure(t, a, a.IssueFiles([]string{"127.0.0.1"}), "queen", "--ca", a.File, "--hive", "garden="+hive.URL)
	select {
	case <-hive.opened:
	case <-time.After(20 * time.Second):
		t.Fatalf("the hive is not listened to; the log:\n%s", s.log)
	}
	s.report("bee-2", strange.port(), "bee-2.example")
	_, _, marker := parts(t, s.made(lighthouse(nil)))
	if !strings.HasPrefix(marker, "[ERROR]") || !strings.Contains(marker, "--ca") {
		t.Errorf("by a worker of an unknown authority: %s", marker)
	}
	s.report("bee-3", other.port(), "bee-4.example")
	s.report("bee-1", good.port(), "bee-1.example")
	for range 3 {
		if _, events, marker := parts(t, s.made(lighthouse(nil))); marker != "[DONE]" || len(events) != len(theirEvents) {
			t.Errorf("ended with %s after %d events", marker, len(events))
		}
	}
	if got := len(good.posts); got != 3 || len(strange.posts)+len(other.posts) != 0 {
		t.Errorf("the good worker got %d jobs, the others %d and %d", got, len(strange.posts), len(other.posts))
	}
}

func TestTLSBadFiles(t *testing.T) {
	t.Parallel()
	a := certstest.NewAuthority(t)
	good, other := a.IssueFiles([]string{"127.0.0.1"}), a.IssueFiles([]string{"127.0.0.1"})
	none := filepath.Join(t.TempDir(), "none.pem")
	for _, row := range []struct {
		name  string
		args  []string
		words []string
	}{
		{"no key", []string{"--tls-cert", good.Cert}, []string{"--tls-cert", "--tls-key"}},
		{"no certificate", []string{"--tls-key", good.Key}, []string{"--tls-key", "--tls-cert"}},
		{"missing", []string{"--tls-cert", none, "--tls-key", good.Key}, []string{"--tls-cert", none, "no such file"}},
		{"another's key", []string{"--tls-cert", good.Cert, "--tls-key", other.Key}, []string{good.Cert, other.Key, "does not fit"}},
		{"swapped", []string{"--tls-cert", good.Key, "--tls-key", good.Cert}, []string{good.Key, "no certificate"}},
		{"for strangers", []string{"--tls-cert", good.Cert, "--tls-key", good.Key, "--bind", "0.0.0.0"}, []string{"--bind 0.0.0.0", "--token"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			for _, verb := range []string{"serve", "queen"} {
				fail(t, command(t, append([]string{verb, "--port", "0"}, row.args...)...), exitFailed, row.words...)
			}
		})
	}
	t.Run("no authority", func(t *testing.T) {
		t.Parallel()
		fail(t, command(t, "jobs", "--ca", good.Key, "list"), exitFailed, "--ca", good.Key, "no certificate")
		fail(t, command(t, "generate", "x", "--server", "https://127.0.0.1:1", "--ca", none), exitFailed, "--ca", none, "no such file")
	})
	t.Run("expired", func(t *testing.T) {
		t.Parallel()
		s := startSecure(t, a, a.IssueFiles([]string{"127.0.0.1"}, certstest.Expired), "queen")
		if !strings.Contains(s.log.String(), "expired on") {
			t.Errorf("the log:\n%s", s.log)
		}
		fail(t, command(t, "jobs", "--server", s.url, "--ca", a.File, "list"), exitFailed, "its certificate expired on")
	})
}
