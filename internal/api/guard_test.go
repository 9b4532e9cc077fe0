package api

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
)

func TestHosts(t *testing.T) {
	h := start(t, script{}, func(c *Config) { c.Hosts = []string{"studio.example"} })
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:8080": 200, "127.0.0.1:1": 200, "[::1]:8080": 200, "::1": 200, "192.168.1.7:8080": 200,
		"studio.example:8080": 200, "evil.example": 403, "evil.example:8080": 403, "localhost.evil.example": 403, "127.0.0.1.evil.example": 403,
	} {
		if a := h.get("/health", "Host: "+host); a.StatusCode != want {
			t.Errorf("Host %s: %d, want %d", host, a.StatusCode, want)
		}
	}
}

func TestOrigins(t *testing.T) {
	h := start(t, script{}, func(c *Config) { c.Origins = []string{"https://studio.example"} })
	own := h.url
	for _, row := range []struct {
		origin string
		status int
		allow  string
	}{
		{own, 200, ""}, {"https://studio.example", 200, "https://studio.example"},
		{"https://evil.example", 403, ""}, {"null", 403, ""}, {"http://localhost:1", 403, ""}, {"https://studio.example.evil.example", 403, ""},
	} {
		a := h.get("/v1/jobs", "Origin: "+row.origin)
		if a.StatusCode != row.status || a.Header.Get("Access-Control-Allow-Origin") != row.allow {
			t.Errorf("Origin %s: %d, allowed %q", row.origin, a.StatusCode, a.Header.Get("Access-Control-Allow-Origin"))
		}
		if a := h.call("POST", "/v1/jobs", jobBody(""), "Origin: "+row.origin); a.StatusCode != row.status {
			t.Errorf("POST from %s: %d", row.origin, a.StatusCode)
		}
	}
	a := h.call("OPTIONS", "/v1/jobs", "", "Origin: https://studio.example", "Access-Control-Request-Method: POST")
	if a.StatusCode != 200 || !strings.Contains(a.Header.Get("Access-Control-Allow-Methods"), "DELETE") || !strings.Contains(a.Header.Get("Access-Control-Allow-Headers"), "Content-Type") {
		t.Errorf("preflight: %d %v", a.StatusCode, a.Header)
	}
	h.wants(h.call("OPTIONS", "/v1/jobs", "", "Origin: https://evil.example", "Access-Control-Request-Method: POST"), 403, "")
}

func TestAnyOrigin(t *testing.T) {
	h := start(t, script{}, func(c *Config) { c.Origins = []string{"*"} })
	if a := h.get("/v1/jobs", "Origin: null"); a.StatusCode != 200 || a.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
}

func TestToken(t *testing.T) {
	const token = "s3cret, with a comma"
	h := start(t, script{}, func(c *Config) { c.Keys = []Key{{Secret: token}} })
	armoured := base64.RawURLEncoding.EncodeToString([]byte(token))
	_, port, _ := strings.Cut(strings.TrimPrefix(h.url, "http://"), ":")
	for _, row := range []struct {
		name, header string
		want         int
	}{
		{"none", "X: y", 401}, {"bearer", "Authorization: Bearer " + token, 200}, {"any case", "Authorization: bearer " + token, 200},
		{"wrong", "Authorization: Bearer s3cret", 401}, {"empty", "Authorization: Bearer ", 401}, {"basic", "Authorization: Basic " + token, 401},
		{"cookie", "Cookie: waggle_token_" + port + "=" + armoured, 200}, {"other port's cookie", "Cookie: waggle_token_1=" + armoured, 401},
		{"subprotocol", "Sec-WebSocket-Protocol: waggle.v1, waggle.token." + armoured, 200}, {"bad subprotocol", "Sec-WebSocket-Protocol: waggle.token.!!", 401},
	} {
		if a := h.get("/v1/jobs", row.header); a.StatusCode != row.want {
			t.Errorf("%s: %d, want %d", row.name, a.StatusCode, row.want)
		}
	}
	a := h.get("/v1/models")
	if got := decodeJSON[struct {
		Error struct{ Code, Message string }
	}](t, a.body); got.Error.Code != "unauthorized" || got.Error.Message == "" {
		t.Errorf("401 says %s", a.body)
	}
	for _, public := range []string{"/", "/favicon.ico", "/health", "/ready", "/static/x"} {
		if a := h.get(public); a.StatusCode == 401 {
			t.Errorf("%s wants a token", public)
		}
	}
	for _, private := range []string{"/info", "/v1/jobs/x", "/v1/jobs/x/stream", "/v1/ws", "/v1/nope", "//", "/static"} {
		if a := h.get(private); a.StatusCode != 401 {
			t.Errorf("%s: %d without a token", private, a.StatusCode)
		}
	}
}

// TestTokenAddress: the address with the token in it gives a cookie that works.
func TestTokenAddress(t *testing.T) {
	h := start(t, script{}, func(c *Config) { c.Keys = []Key{{Secret: "abc"}} })
	h.wants(h.get("/?token=wrong"), 401, "")
	a := h.get("/?token=abc")
	cookies := a.Cookies()
	if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/" || len(cookies) != 1 {
		t.Fatalf("%d %v", a.StatusCode, a.Header)
	}
	if c := cookies[0]; !c.HttpOnly || c.SameSite != http.SameSiteStrictMode {
		t.Errorf("cookie %v", c)
	}
	h.wants(h.get("/v1/jobs", "Cookie: "+cookies[0].Name+"="+cookies[0].Value), 200, "{")
}

func TestHeaders(t *testing.T) {
	h := start(t, script{})
	for _, path := range []string{"/v1/jobs", "/nope", "/"} {
		a := h.get(path)
		for _, name := range []string{"Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy"} {
			if a.Header.Get(name) == "" {
				t.Errorf("%s: no %s", path, name)
			}
		}
	}
}

// TestPanic: a handler's panic is an answer, and the server goes on.
func TestPanic(t *testing.T) {
	h := start(t, script{}, func(c *Config) {
		c.Page = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("no") })
	})
	h.wants(h.get("/"), 500, "internal error")
	h.wants(h.get("/health"), 200, "{")
}
