package api

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"waggle/internal/door"
	"waggle/internal/job"
)

// TestSeveralKeys: each of several tokens opens every door, and its name is
// that of the client between whom the queue is shared out.
func TestSeveralKeys(t *testing.T) {
	keys := []door.Key{{Name: "anna", Secret: "one, two"}, {Secret: "plain=="}, {Name: "bert", Secret: "b"}}
	h := start(t, script{}, func(c *Config) { c.Door.Keys = keys })
	_, port, _ := strings.Cut(strings.TrimPrefix(h.url, "http://"), ":")
	for i, key := range keys {
		want := []string{"anna", "token 2", "bert"}[i]
		armoured := base64.RawURLEncoding.EncodeToString([]byte(key.Secret))
		login := h.get("/?token=" + strings.NewReplacer(" ", "%20", "=", "%3D").Replace(key.Secret))
		if login.StatusCode != http.StatusSeeOther || len(login.Cookies()) != 1 || login.Cookies()[0].Value != armoured {
			t.Errorf("%s: the page's login: %d %v", want, login.StatusCode, login.Header)
		}
		for door, header := range map[string]string{
			"bearer": "Authorization: Bearer " + key.Secret, "cookie": "Cookie: waggle_token_" + port + "=" + armoured,
			"subprotocol": "Sec-WebSocket-Protocol: waggle.token." + armoured,
		} {
			a := h.wants(h.call("POST", "/v1/jobs", jobBody(""), header), 200, "{")
			h.isOf(decodeJSON[job.Accepted](t, a.body).JobID, want, door)
		}
		w := h.dial(nil, "waggle.v1", "waggle.token."+armoured)
		w.send(`{"type":"submit","ref":1,%s`, jobBody("")[1:])
		h.isOf(w.answer("1").Job, want, "socket")
	}
	for _, wrong := range []string{"anna", "anna=one, two", "one", "token 2", "plain"} {
		h.wants(h.get("/v1/jobs", "Authorization: Bearer "+wrong), 401, "{")
	}
}

// isOf checks whose a job is.
func (h *harness) isOf(id job.ID, client, door string) {
	h.t.Helper()
	r, err := h.queue.Get(context.Background(), id)
	if err != nil || r.Request.Client != client {
		h.t.Errorf("by %s the job is %q's, want %q's; %v", door, r.Request.Client, client, err)
	}
}

// TestOneKey: callers with the one token are told apart by address, as without any.
func TestOneKey(t *testing.T) {
	for _, keys := range [][]door.Key{nil, {{Name: "all", Secret: "x"}}} {
		h := start(t, script{}, func(c *Config) { c.Door.Keys = keys })
		a := h.wants(h.call("POST", "/v1/jobs", jobBody(""), "Authorization: Bearer x"), 200, "{")
		h.isOf(decodeJSON[job.Accepted](t, a.body).JobID, "127.0.0.1", fmt.Sprint(len(keys), " keys"))
	}
}

// TestWebhook: a job whose end would not be told where it asks is refused.
func TestWebhook(t *testing.T) {
	body := jobBody(`,"webhook":{"url":"https://hooks.example/x"}`)
	none := start(t, script{})
	none.wants(none.call("POST", "/v1/jobs", body), 400, "Invalid input: webhook.url: ")
	some := start(t, script{}, func(c *Config) {
		c.Webhook = func(w job.Webhook) error {
			if w.URL != "https://hooks.example/x" {
				return errors.New("asked for " + w.URL)
			}
			return nil
		}
	})
	some.wants(some.call("POST", "/v1/jobs", body), 200, "{")
}
