//go:build unix

package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const webhookSecret = "a secret of the operator's own, with spaces"

// told is what a receiver of webhooks heard.
type told struct {
	JobID, State string
	body         string
	signature    string
}

func (w *told) UnmarshalJSON(data []byte) error {
	var v struct {
		JobID string `json:"job_id"`
		State string `json:"state"`
	}
	err := json.Unmarshal(data, &v)
	w.JobID, w.State, w.body = v.JobID, v.State, string(data)
	return err
}

// receiveWebhooks serves a receiver that answers as it is told to.
func receiveWebhooks(t *testing.T, answer func(n int) int) (address string, heard chan told) {
	t.Helper()
	heard = make(chan told, 100)
	n := make(chan int, 1)
	n <- 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var got told
		if err == nil {
			err = json.Unmarshal(body, &got)
		}
		if err != nil {
			t.Errorf("webhook %q: %v", body, err)
		}
		got.signature = r.Header.Get("Waggle-Signature")
		heard <- got
		i := <-n
		n <- i + 1
		w.WriteHeader(answer(i))
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), heard
}

func nextWebhook(t *testing.T, heard chan told) told {
	t.Helper()
	select {
	case w := <-heard:
		return w
	case <-time.After(time.Minute):
		t.Fatal("no webhook came")
		return told{}
	}
}

// TestWebhookKill kills the real program between the end of a job and its webhook: after a restart the webhook comes,
// whether it was waiting to be sent again or not yet queued.
func TestWebhookKill(t *testing.T) {
	needAdapter(t)
	t.Parallel()
	secretFile := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secretFile, []byte(webhookSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	address, heard := receiveWebhooks(t, func(n int) int {
		if n == 0 {
			return http.StatusInternalServerError
		}
		return http.StatusNoContent
	})
	dir := t.TempDir()
	start := func() *server {
		return startServer(t, "serve", "--port", "0", "--data", dir, "--webhook-host", address, "--webhook-secret-file", secretFile)
	}
	s := start()
	job := func(id string) fields {
		return star(fields{"id": id, "steps": 2, "webhook": fields{"url": "http://" + address + "/done"}})
	}
	_, stream := s.post(job("refused"))
	s.finished(stream)
	if w := nextWebhook(t, heard); w.JobID != "refused" || w.State != "complete" {
		t.Errorf("first came %s", w.body)
	}
	for deadline := time.Now().Add(time.Minute); !strings.Contains(s.log.String(), "webhook not taken"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the log does not say that the webhook was refused")
		}
	}
	s.kill()
	s = start()
	missing := map[string]bool{"refused": true}
	for i := range 3 { // as soon as the job has ended: the webhook may be queued or not
		id := fmt.Sprint("killed", i)
		missing[id] = true
		_, stream := s.post(job(id))
		s.replay(stream, 0, func(e placedEvent) bool { return e.Type == "complete" })
		s.kill()
		s = start()
	}
	for len(missing) > 0 {
		w := nextWebhook(t, heard)
		stamp, signature, _ := strings.Cut(w.signature, ",v1=")
		mac := hmac.New(sha256.New, []byte(webhookSecret))
		io.WriteString(mac, strings.TrimPrefix(stamp, "t=")+"."+w.body)
		if want := hex.EncodeToString(mac.Sum(nil)); signature != want || w.State != "complete" {
			t.Errorf("%s is signed %s, want %s", w.body, w.signature, want)
		}
		delete(missing, w.JobID)
	}
}

// TestWebhookRefused: what the operator has not allowed is refused when the job is sent, with what is to be done.
func TestWebhookRefused(t *testing.T) {
	t.Parallel()
	try := func(s *server, words ...string) {
		t.Helper()
		a := s.try(star(fields{"webhook": fields{"url": "https://hooks.example/done"}}))
		for _, word := range append(words, "Invalid input: webhook.url") {
			if a.status != http.StatusBadRequest || !strings.Contains(string(a.body), word) {
				t.Errorf("%d %s, want %q", a.status, a.body, word)
			}
		}
	}
	try(startServer(t, "serve", "--port", "0", "--webhook-host", "hooks.example"), "--webhook-secret-file", secretVariable)
	c := command(t, "serve", "--port", "0", "--webhook-host", "other.example")
	c.Env = append(c.Env, secretVariable+"="+webhookSecret)
	try(startCommand(t, c), "--webhook-host", "hooks.example")
}

// TestWebhookFlags: settings that cannot be meant end the program.
func TestWebhookFlags(t *testing.T) {
	t.Parallel()
	serve := func(args ...string) []string { return append([]string{"serve", "--port", "0"}, args...) }
	fail(t, command(t, serve("--webhook-host", "http://hooks.example")...), exitFailed, "--webhook-host", "HOST:PORT")
	fail(t, command(t, serve("--webhook-secret-file", "nowhere")...), exitFailed, "--webhook-secret-file", "nowhere")
	c := command(t, serve()...)
	c.Env = append(c.Env, secretVariable+"=short")
	fail(t, c, exitFailed, secretVariable, "16", "openssl")
	c = command(t, serve("--webhook-secret-file", "/dev/zero")...)
	fail(t, c, exitFailed, "--webhook-secret-file", "4096")
}
