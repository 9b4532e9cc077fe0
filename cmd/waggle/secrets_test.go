//go:build unix

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"waggle/internal/natstest"
)

// The secrets that these tests hand to the program, each in a form of its own.
const (
	tokenSecret   = "t0ken-of-anna"
	workerSecret  = "w0rker-token"
	natsSecret    = "nats-passw0rd"
	signingSecret = "s1gning-of-webhooks"
	querySecret   = "query-s3cret"
	wordsSecret   = "a quokka in a t0p hat"
)

var pictureSecret = bytes.Repeat([]byte("p1cture"), 100)

// without fails if a text holds one of the secrets, as it is or as it goes over the wire.
func without(t testing.TB, what, text string) {
	t.Helper()
	for _, secret := range []string{tokenSecret, workerSecret, natsSecret, signingSecret, querySecret, wordsSecret, "quokka", string(pictureSecret[:21])} {
		quoted, _ := json.Marshal(secret)
		for _, form := range []string{secret, string(quoted), base64.StdEncoding.EncodeToString([]byte(secret))[:8], base64.RawURLEncoding.EncodeToString([]byte(secret))} {
			if at := strings.Index(text, form); at >= 0 {
				t.Errorf("%s: %q is in %q", what, form, text[max(0, at-200):min(len(text), at+200)])
			}
		}
	}
}

// withSecrets is a command with secrets in its environment.
func withSecrets(t testing.TB, args ...string) *exec.Cmd {
	c := command(t, args...)
	c.Env = append(c.Env, "WAGGLE_TOKEN=anna="+tokenSecret, "LLORCH_API_TOKEN="+tokenSecret, "WAGGLE_WORKER_TOKEN="+workerSecret, "WAGGLE_QUEEN_TOKEN="+workerSecret,
		"WAGGLE_WEBHOOK_SECRET="+signingSecret)
	return c
}

// TestNoSecretIsLogged runs worker and queen with secrets in all places where there can be any, with all that the log can say.
func TestNoSecretIsLogged(t *testing.T) {
	needAdapter(t)
	t.Parallel()
	cluster := natstest.StartCluster(t, 1)
	address := strings.Replace(cluster.URLs()[0], "nats://", "nats://bert:"+natsSecret+"@", 1)
	receiver, heard := receiveWebhooks(t, func(n int) int { return []int{500, 204}[min(n, 1)] })
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	s := startCommand(t, withSecrets(t, "serve", "--port", "0", "--log-level", "debug", "--log-format", "json", "--nats", address,
		"--queen-url", "http://"+nobody.Addr().String(), "--callback-url", "http://bert:"+natsSecret+"@127.0.0.1:1", "--hive-url", "http://bert:"+natsSecret+"@127.0.0.1:1",
		"--webhook-host", receiver, "--webhook-host", nobody.Addr().String()))
	s.token = tokenSecret
	s.ready()
	secretly := star(fields{"steps": 2, "prompt": wordsSecret, "negative_prompt": wordsSecret, "webhook": fields{"url": "http://" + receiver + "/?key=" + querySecret}})
	s.made(secretly)
	nextWebhook(t, heard)
	secretly["webhook"] = fields{"url": "http://" + nobody.Addr().String() + "/" + querySecret}
	s.made(secretly)
	s.refusals()
	s.over(t, "/v1/ws")

	q := startCommand(t, withSecrets(t, "queen", "--port", "0", "--log-level", "debug", "--worker-token", tokenSecret))
	q.token = tokenSecret
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(s.url, "http://"))
	q.ask(http.MethodPost, "/v1/worker-heartbeat", []byte(fmt.Sprintf(`{"worker":{"id":"w","model_id":"tiny-shapes","device":"GPU-0","port":%s,
		"status":"ready","implementation":"waggle","version":"1"},"timestamp":"2026-11-24T12:00:00Z"}`, port)))
	delete(secretly, "webhook")
	q.made(secretly)
	secretly["width"] = 13 // the worker refuses it
	q.made(secretly)
	q.refusals()

	guest := startCommand(t, withSecrets(t, "queen", "--port", "0", "--log-level", "debug", "--nats", address))
	guest.token = tokenSecret
	guest.awaitNodes(1)
	delete(secretly, "width")
	guest.made(secretly)
	guest.refusals()
	if values := guest.metrics(); values["waggle_nats_connected"] != 1 || values["waggle_jobs_submitted_total"] < 1 || values[`waggle_queen_nodes{state="ready"}`]+values[`waggle_queen_nodes{state="busy"}`] != 1 {
		t.Errorf("a queen on a cluster tells %v", values)
	}

	cluster.Servers[0].Kill()
	eventually(t, time.Minute, "line in the log that NATS is lost", func() bool { return strings.Contains(s.log.String(), "NATS is lost") })
	s.stop()
	q.stop()
	guest.stop()
	without(t, "the log of a queen on a cluster", guest.log.String())
	without(t, "the worker's log", s.log.String())
	without(t, "the queen's log", q.log.String())
	for _, part := range []string{`"msg":"job ended"`, `"msg":"request"`, `"msg":"webhook`, `"client":"127.0.0.1"`} {
		if !strings.Contains(s.log.String(), part) {
			t.Errorf("the log has no %s: nothing was tried", part)
		}
	}
}

// refusals sends secrets in ways that are refused.
func (s *server) refusals() {
	s.Helper()
	picture := base64.StdEncoding.EncodeToString(pictureSecret)
	for _, body := range []string{
		`{"operation":"image_generation","prompt":"` + wordsSecret + `"`, `"` + wordsSecret + `"`,
		`{"operation":"` + wordsSecret + `"}`,
		`{"operation":"image_transform","hive_id":"localhost","model":"tiny-shapes","prompt":"` + wordsSecret + `","input_image":"` + picture + `"}`,
		`{"operation":"image_generation","hive_id":"localhost","model":"tiny-shapes","width":128,"height":128,"steps":1,"prompt":"` + strings.Repeat(wordsSecret+" ", 400) + `"}`,
	} {
		s.ask(http.MethodPost, "/v1/jobs", []byte(body))
	}
	s.ask(http.MethodPost, "/v1/tokenize", []byte(`{"model":"tiny-shapes","text":"`+wordsSecret+`"}`))
	s.ask(http.MethodGet, "/v1/jobs/"+querySecret+"?token="+tokenSecret, nil)
	s.ask(http.MethodGet, "/?token="+tokenSecret, nil)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /?token=%s HTTP/9.9\r\nAuthorization: Bearer %s\r\n\r\n", tokenSecret, tokenSecret)
	if _, err := io.ReadAll(conn); err != nil {
		s.Error(err)
	}
}

// over sends secrets over a WebSocket.
func (s *server) over(t *testing.T, path string) {
	t.Helper()
	dialer := websocket.Dialer{Subprotocols: []string{"waggle.v1", "waggle.token." + base64.RawURLEncoding.EncodeToString([]byte(tokenSecret))}}
	conn, _, err := dialer.Dial("ws"+strings.TrimPrefix(s.url, "http")+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, text := range []string{`{"type":"` + wordsSecret + `"}`, wordsSecret, `{"type":"submit","request":{"operation":"image_generation","hive_id":"localhost","model":"tiny-shapes","width":13,"prompt":"` + wordsSecret + `"}}`} {
		if err := conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := conn.ReadMessage(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNoSecretIsSaid: help, and what is said of mistakes, shows no secret of the environment or of an address.
func TestNoSecretIsSaid(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"--help", "--version", "serve --help", "queen --help", "jobs --help", "jobs list --help", "generate --help",
		"serve --port x", "serve --nonsense", "serve --log-level loud", "serve --token", "queen --port x", "queen --worker-token",
		"serve --port 0 --nats nats://bert:" + natsSecret + "@127.0.0.1:x", "serve --port 0 --nats-replicas 9 --nats nats://bert:" + natsSecret + "@127.0.0.1",
		"serve --port 0 --bind nowhere.invalid", "queen --port 0 --hive garden=http://bert:" + natsSecret + "@127.0.0.1:7835",
		"queen --port 0 --hive http://bert:" + natsSecret + "@127.0.0.1:7835", "queen --port 0 --hive garden=http://127.0.0.1:7835/?key=" + querySecret,
		"queen --port 0 --hive garden=http://bert:" + natsSecret + "@127.0.0.1:x",
		"jobs list --server http://bert:" + natsSecret + "@127.0.0.1:1", "jobs list --server ftp://bert:" + natsSecret + "@127.0.0.1:1",
		"jobs list --server http://bert:" + natsSecret + "@127.0.0.1:x", "jobs list --server http://127.0.0.1:1/?key=" + querySecret,
		"jobs list --server http://127.0.0.1:1", "status --server http://bert:" + natsSecret + "@127.0.0.1:1", "nodes --server ftp://bert:" + natsSecret + "@127.0.0.1",
		"serve --queen-url http://bert:" + natsSecret + "@127.0.0.1:1", "serve --queen-url http://127.0.0.1:1/?key=" + querySecret,
	} {
		t.Run(strings.ReplaceAll(line, "/", "|"), func(t *testing.T) {
			t.Parallel()
			o := finish(t, withSecrets(t, strings.Fields(line)...))
			if o.out+o.err == "" {
				t.Error("it said nothing")
			}
			without(t, line, o.out+o.err)
		})
	}
}
