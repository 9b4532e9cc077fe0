package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waggle/internal/certs"
	"waggle/internal/certs/certstest"
)

// proxyName is the name in docs/nginx.conf.
const proxyName = "waggle.example"

// nginxProgram finds nginx. Its absence fails the test: install it, or skip by NO_NGINX=1.
func nginxProgram(t *testing.T) string {
	t.Helper()
	if os.Getenv("NO_NGINX") == "1" {
		t.Skip("NO_NGINX=1: docs/nginx.conf is not tried")
	}
	for _, name := range []string{"nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no nginx found: apt-get install nginx, or NO_NGINX=1 to leave the test of docs/nginx.conf out")
	return ""
}

// proxyFile is docs/nginx.conf with this test's addresses and files in the place of its own, each of which must be there.
func proxyFile(t *testing.T, dir, backend string, files certstest.Files, secure, plain string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{"listen 443 ", "listen " + secure + " "}, {"    listen [::]:443 ssl http2;\n", ""},
		{"listen 80;", "listen " + plain + ";"}, {"    listen [::]:80;\n", ""},
		{"server 127.0.0.1:8080;", "server " + backend + ";"},
		{"/etc/ssl/waggle/fullchain.pem;", files.Cert + ";"}, {"/etc/ssl/waggle/key.pem;", files.Key + ";"},
		{"/var/log/nginx/waggle.log ", filepath.Join(dir, "access.log") + " "},
	} {
		if bytes.Count(text, []byte(change[0])) != 1 {
			t.Fatalf("docs/nginx.conf holds %q %d times, want once", change[0], bytes.Count(text, []byte(change[0])))
		}
		text = bytes.Replace(text, []byte(change[0]), []byte(change[1]), 1)
	}
	path := filepath.Join(dir, "waggle.conf")
	certstest.WriteFile(t, path, text)
	return path
}

// proxy is nginx before a server.
type proxy struct {
	*server        // whose address is nginx's
	plain   string // where it sends people on to https
	access  string // the file with its log
}

// behindNginx runs nginx with docs/nginx.conf before a server.
func behindNginx(t *testing.T, s *server) proxy {
	t.Helper()
	program, a, dir := nginxProgram(t), certstest.NewAuthority(t), t.TempDir()
	files := a.IssueFiles([]string{proxyName, "127.0.0.1"})
	for range 3 { // a free port may be taken by another before nginx has it
		secure, plain := freeAddress(t), freeAddress(t)
		conf := filepath.Join(dir, "nginx.conf")
		certstest.WriteFile(t, conf, fmt.Appendf(nil, "daemon off;\nmaster_process off;\npid %s;\nevents {}\nhttp {\n%s\tinclude %s;\n}\n",
			filepath.Join(dir, "pid"), folders(dir), proxyFile(t, dir, s.hostPort(), files, secure, plain)))
		if !startNginx(t, exec.Command(program, "-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", conf), secure) {
			continue
		}
		trust, err := certs.Trust(a.File)
		if err != nil {
			t.Fatal(err)
		}
		front := &server{TB: t, url: "https://" + secure, token: s.token, trust: trust}
		return proxy{front, "http://" + plain, filepath.Join(dir, "access.log")}
	}
	t.Fatal("nginx did not start in three attempts")
	return proxy{}
}

// folders keep all that nginx writes in one.
func folders(dir string) (lines string) {
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		lines += fmt.Sprintf("\t%s_temp_path %s;\n", kind, filepath.Join(dir, kind))
	}
	return lines
}

// startNginx runs nginx until the test ends, and reports whether it got its ports.
func startNginx(t *testing.T, c *exec.Cmd, address string) bool {
	t.Helper()
	said := new(safeBuffer)
	c.Stderr = said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for {
		select {
		case err := <-ended:
			if strings.Contains(said.String(), "in use") {
				return false
			}
			t.Fatalf("nginx: %v\n%s", err, said)
		case <-time.After(10 * time.Millisecond):
		}
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			break
		}
	}
	t.Cleanup(func() {
		c.Process.Signal(os.Interrupt)
		if err := <-ended; err != nil {
			t.Errorf("nginx: %v\n%s", err, said)
		}
	})
	return true
}

// from is a client that calls from an address of its own.
func (s *server) from(address string) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: s.trust.Clone(), ForceAttemptHTTP2: true, DisableKeepAlives: true, DialContext: dialer.DialContext,
	}}
}

// holdsBack asks from one address, each time as if for another, until the answer is to wait: not at once, but soon.
func (s *server) holdsBack(from string) bool {
	s.Helper()
	client := s.from(from)
	for i := range 50 { // a busy machine may be slow enough to be let in more often than at first
		r := must(http.NewRequestWithContext(s.Context(), http.MethodGet, s.url+"/v1/jobs", nil))
		r.Header.Set("X-Forwarded-For", fmt.Sprint("192.0.2.", i))
		response, err := client.Do(r)
		if err != nil {
			s.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode == http.StatusTooManyRequests {
			return i > 0
		}
	}
	return false
}

// TestNginxTellsClientsApart: behind the proxy each caller has a rate of its own, whatever it says of itself, and nobody else is
// believed who says to call for others.
func TestNginxTellsClientsApart(t *testing.T) {
	t.Parallel()
	s := startQueen(t, "--host", proxyName, "--trusted-proxy", "127.0.0.1", "--rate-limit", "1")
	p := behindNginx(t, s)
	for _, address := range []string{"127.0.0.2", "127.0.0.3"} {
		if !p.holdsBack(address) {
			t.Errorf("%s has no rate of its own behind the proxy", address)
		}
	}
	if !s.holdsBack("127.0.0.4") {
		t.Error("a stranger passes for many")
	}
}

// TestNginx tries docs/nginx.conf before the real program.
func TestNginx(t *testing.T) {
	t.Parallel()
	needAdapter(t)
	s := startServer(t, "serve", "--port", "0", "--token", "honey", "--host", proxyName, "--trusted-proxy", "127.0.0.1")
	s.token = "honey"
	s.ready()
	p := behindNginx(t, s)
	t.Run("HTTP/2", p.speaksHTTP2)
	t.Run("believed", p.isBelieved)
	t.Run("redirect", p.redirects)
	t.Run("events", p.sendsEvents)
	t.Run("socket", func(t *testing.T) {
		p := p
		p.server = p.server.in(t)
		if status := p.greetSocket(proxyName); status != http.StatusSwitchingProtocols {
			t.Errorf("%d", status)
		}
		if status := p.greetSocket("evil.example"); status != http.StatusForbidden {
			t.Errorf("by another's name: %d", status)
		}
	})
	t.Run("shares", func(t *testing.T) {
		r := must(http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/v1/jobs", bytes.NewReader(must(json.Marshal(star(fields{"steps": 1}))))))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+p.token)
		response, err := p.from("127.0.0.5").Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Error(response.Status)
		}
		eventually(t, time.Minute, "line in the log that says whose the job is", func() bool { return strings.Contains(s.log.String(), "client=127.0.0.5 ") })
	})
	t.Run("large bodies", p.takesLargeBodies)
	t.Run("log", p.logsNoToken)
}

// in is the server for another test.
func (s *server) in(t testing.TB) *server {
	return &server{TB: t, url: s.url, token: s.token, trust: s.trust}
}

func (p proxy) speaksHTTP2(t *testing.T) {
	response, err := p.client().Get(p.url + "/health")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.Proto != "HTTP/2.0" || response.StatusCode != http.StatusOK {
		t.Errorf("%s %s", response.Proto, response.Status)
	}
}

// isBelieved: the server knows that callers came by TLS.
func (p proxy) isBelieved(t *testing.T) {
	r := must(http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/?token="+p.token, nil))
	r.Host = proxyName
	response, err := p.client().Transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if c := response.Cookies(); len(c) != 1 || !c[0].Secure || response.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("%s, %v", response.Status, response.Header)
	}
}

func (p proxy) redirects(t *testing.T) {
	response, err := http.DefaultTransport.RoundTrip(must(http.NewRequest(http.MethodGet, p.plain+"/x", nil)))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if got := response.Header.Get("Location"); response.StatusCode != http.StatusMovedPermanently || got != "https://127.0.0.1/x" {
		t.Errorf("%s to %s", response.Status, got)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// sendsEvents: a job's events arrive when they happen. The job stops behind its second step, so that what is held back until
// the end of the stream would be missing.
func (p proxy) sendsEvents(t *testing.T) {
	s := p.in(t)
	id, stream := s.post(star(fields{"steps": 4, "stop_at_step": 2}))
	events := s.openStream(stream, "Authorization", "Bearer "+s.token)
	await(t, events, time.Minute, "word of the pause while it lasts", func(m message) bool {
		return m.name == "state" && strings.Contains(m.data, "paused")
	})
	if a := s.ask(http.MethodPost, "/v1/jobs/"+id+"/resume", nil); a.status != http.StatusOK {
		t.Fatalf("resume: %d %s", a.status, a.body)
	}
	if list := rest(t, events); len(list) == 0 || list[len(list)-1].data != "[DONE]" {
		t.Errorf("ended with %.200s", fmt.Sprint(list))
	}
}

// takesLargeBodies: what Waggle takes nginx does too, and no more.
func (p proxy) takesLargeBodies(t *testing.T) {
	s := p.in(t)
	const limit = 64 << 20
	body := append([]byte(`{"operation":"none"}`), bytes.Repeat([]byte(" "), limit-len(`{"operation":"none"}`))...)
	if a := s.ask(http.MethodPost, "/v1/jobs", body); a.status != http.StatusBadRequest || !strings.HasPrefix(string(a.body), "Failed to parse operation") {
		t.Errorf("64 MiB: %d %.200s", a.status, a.body)
	}
	if a := s.ask(http.MethodPost, "/v1/jobs", append(body, ' ')); a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("one byte more: %d %.200s", a.status, a.body)
	}
}

// logsNoToken: the address that brings a browser its token is not in the log.
func (p proxy) logsNoToken(t *testing.T) {
	response, err := p.client().Transport.RoundTrip(must(http.NewRequest(http.MethodGet, p.url+"/?token="+p.token, nil)))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusSeeOther {
		t.Errorf("%s", response.Status)
	}
	eventually(t, 10*time.Second, "line in the log", func() bool {
		text := string(must(os.ReadFile(p.access)))
		if strings.Contains(text, p.token) {
			t.Fatalf("the log:\n%s", text)
		}
		return strings.Contains(text, `"GET /"`)
	})
}
