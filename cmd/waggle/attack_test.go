package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"waggle/internal/certs/certstest"
)

// raw sends a request as it stands, and returns its answer, read to its end.
func (s *server) raw(t *testing.T, text string) (status int, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", s.hostPort())
	if err != nil {
		t.Fatal(err)
	}
	if s.trust != nil {
		trust := s.trust.Clone()
		trust.ServerName = "127.0.0.1"
		conn = tls.Client(conn, trust)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	io.WriteString(conn, text)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%.200q: %v", text, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Errorf("%.200q: %v", text, err)
	}
	return response.StatusCode, string(answer)
}

// assault is a request of a stranger or of another site's page, and what it comes to without tokens and with.
type assault struct {
	first, headers string // the request line but for the version; lines with a backslash and n between them
	body           string
	open, keyed    int
}

const asJSON = `\nContent-Type: application/json`

// assaults are sent to a queen who is open to this machine, and to one who wants a token.
var assaults = []assault{
	{"GET /v1/jobs", "Host: localhost", "", 200, 401}, // none: the rest differs from it by what is wrong

	// Names that are made to point here.
	{"GET /v1/jobs", "Host: evil.example", "", 403, 403},
	{"GET /v1/jobs", "Host: localhost.", "", 403, 403},
	{"GET /v1/jobs", "Host: localhost.evil.example", "", 403, 403},
	{"GET /v1/jobs", "Host: 127.0.0.1.evil.example", "", 403, 403},
	{"GET /v1/jobs", "Host: [evil.example]:1", "", 403, 403},
	{"GET /v1/jobs", "Host: evil.example:127.0.0.1", "", 403, 403},
	{"GET /v1/jobs", "Host: [fe80::1%25evil]", "", 403, 403},
	{"GET /v1/jobs", "Host: 0x7f.1", "", 403, 403},
	{"GET /v1/jobs", "Host: ", "", 403, 403},
	{"GET /v1/jobs", "Host: evil@localhost", "", 400, 400},
	{"GET /v1/jobs", `Host: localhost\nHost: evil.example`, "", 400, 400},
	{"GET http://evil.example/v1/jobs", "Host: localhost", "", 403, 403},
	{"GET /v1/jobs", `Host: evil.example\nX-Forwarded-Host: localhost`, "", 403, 403},
	{"GET /v1/jobs", `Host: evil.example\nForwarded: host=localhost`, "", 403, 403},

	// Scripts of other sites.
	{"GET /v1/jobs", `Host: localhost\nOrigin: null`, "", 403, 403},
	{"GET /v1/jobs", `Host: localhost\nOrigin: http://localhost:1`, "", 403, 403},
	{"GET /v1/jobs", `Host: localhost\nOrigin: http://localhost@evil.example`, "", 403, 403},
	{"GET /v1/jobs", `Host: localhost\nOrigin: chrome-extension://localhost`, "", 403, 403},
	{"POST /v1/shutdown", `Host: localhost\nOrigin: http://evil.example`, "", 403, 403},
	{"POST /v1/shutdown", `Host: localhost\nOrigin: null`, "", 403, 403},
	{"POST /v1/shutdown", `Host: localhost\nSec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate`, "", 403, 403},
	{"OPTIONS /v1/shutdown", `Host: localhost\nOrigin: http://evil.example\nAccess-Control-Request-Method: POST`, "", 403, 403},
	{"POST /v1/jobs", `Host: localhost\nContent-Type: text/plain`, "{}", 415, 401},
	{"POST /v1/jobs", `Host: localhost\nContent-Type: text/plain; application/json`, "{}", 415, 401},
	{"POST /v1/hive/ready", `Host: localhost\nContent-Type: text/plain`, "{}", 415, 401},
	{"POST /v1/worker-heartbeat", `Host: localhost\nContent-Type: application/x-www-form-urlencoded`, "{}", 415, 401},

	// What begins as a public path, and leads elsewhere.
	{"GET /static/../v1/jobs", "Host: localhost", "", 307, 307},
	{"GET /static/%2e%2e/v1/jobs", "Host: localhost", "", 404, 404},
	{"GET /static/..%2fv1/jobs", "Host: localhost", "", 404, 404},
	{`GET /static/..\v1\jobs`, "Host: localhost", "", 404, 404},
	{"GET /static/%00", "Host: localhost", "", 404, 404},
	{"GET /health%2f..%2fv1%2fjobs", "Host: localhost", "", 404, 401},
	{"GET //v1/jobs", "Host: localhost", "", 307, 401},
	{"GET /health/../v1/jobs", "Host: localhost", "", 307, 401},
	{"GET /v1/%6aobs", "Host: localhost", "", 200, 401},
	{"CONNECT /static/../v1/jobs", "Host: localhost", "", 405, 405},
	{"GET /v1/jobs/..%2f..%2fetc%2fpasswd", "Host: localhost", "", 404, 401},

	// Tokens that are none.
	{"GET /v1/jobs", `Host: localhost\nAuthorization: Bearer`, "", 200, 401},
	{"GET /v1/jobs", `Host: localhost\nAuthorization: Basic aG9uZXk=`, "", 200, 401},
	{"GET /v1/jobs?token=honey", "Host: localhost", "", 200, 401},
	{"GET /v1/jobs", `Host: localhost\nCookie: waggle_token=honey`, "", 200, 401},

	// Too much, or malformed.
	{"POST /v1/jobs", "Host: localhost" + asJSON, strings.Repeat("[", 20_000), 400, 401},
	{"POST /v1/jobs", `Host: localhost\nIdempotency-Key: ` + strings.Repeat("k", 9000) + asJSON, `{"operation":"image_generation","model":"m","prompt":"p"}`, 400, 401},
	{"POST /v1/worker-heartbeat", "Host: localhost" + asJSON, `{"worker":{"id":"a\u001b[31m\n","model_id":"m","port":1,"status":"ready"}}`, 400, 401},
	{"POST /v1/worker-heartbeat", "Host: localhost" + asJSON, `{"worker":{"id":"a","model_id":"m","port":99999999999999999999,"status":"ready"}}`, 400, 401},
	{"POST /v1/hive/ready", "Host: localhost" + asJSON, `{"hive_id":"h","hive_url":"file:///etc/passwd"}`, 400, 401},
	{"POST /v1/hive/ready", "Host: localhost" + asJSON, `{"hive_id":"h","hive_url":"http://user:word@127.0.0.1:1/?q"}`, 400, 401},
}

// text is the request as it goes out.
func (a assault) text() string {
	length := ""
	if a.body != "" {
		length = fmt.Sprintf("\r\nContent-Length: %d", len(a.body))
	}
	return a.first + " HTTP/1.1\r\n" + strings.ReplaceAll(a.headers, `\n`, "\r\n") + length + "\r\nConnection: close\r\n\r\n" + a.body
}

// TestAssaults: what strangers and other sites' pages send is refused as docs/security.md says, with TLS and without, and
// the server goes on.
func TestAssaults(t *testing.T) {
	t.Parallel()
	open, keyed := startQueen(t), startQueen(t, "--token", "honey")
	a := certstest.NewAuthority(t)
	secure := startSecure(t, a, a.IssueFiles([]string{"127.0.0.1"}), "queen", "--token", "honey")
	for _, row := range assaults {
		for name, to := range map[string]struct {
			*server
			want int
		}{"open": {open, row.open}, "keyed": {keyed, row.keyed}, "secure": {secure, row.keyed}} {
			if status, body := to.raw(t, row.text()); status != to.want {
				t.Errorf("%s: %.60s, %.120s: %d %.100q, want %d", name, row.first, row.headers, status, body, to.want)
			}
		}
	}
	for _, s := range []*server{open, keyed, secure} {
		if status, _ := s.raw(t, "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); status != 200 {
			t.Errorf("afterwards: %d", status)
		}
		if log := s.log.String(); strings.ContainsRune(log, 0x1b) || strings.Contains(log, "honey") || strings.Contains(log, "panic") {
			t.Errorf("the log has an escape, a token or a panic:\n%s", clipped(log))
		}
	}
}

// TestEmbeddedStream: another site's page that has a job's stream for a picture does not cancel the job.
func TestEmbeddedStream(t *testing.T) {
	t.Parallel()
	s := startQueen(t)
	posted := s.try(lighthouse(fields{"id": "light-1"}))
	if posted.status != http.StatusOK {
		t.Fatalf("%d %s", posted.status, posted.body)
	}
	request := "GET /v1/jobs/light-1/stream?cancel_on_disconnect=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
	for _, headers := range []string{
		"Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n",
		"Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n",
		"Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n",
	} {
		if status, body := s.raw(t, request+headers+"\r\n"); status != http.StatusForbidden {
			t.Errorf("%q: %d %.200s", headers, status, body)
		}
	}
	var report struct{ State string }
	if s.get("/v1/jobs/light-1", &report); report.State != "queued" {
		t.Errorf("the job is %s", report.State)
	}
}
