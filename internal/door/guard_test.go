package door

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

func TestHosts(t *testing.T) {
	h := open(t, Config{Hosts: []string{"studio.example"}})
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
	h := open(t, Config{Origins: []string{"https://studio.example"}})
	own := h.url
	for _, row := range []struct {
		origin string
		status int
		allow  string
	}{
		{own, 200, ""}, {"https://studio.example", 200, "https://studio.example"},
		{"https://evil.example", 403, ""}, {"null", 403, ""}, {strings.Replace(own, "http:", "ftp:", 1), 403, ""}, {"http://localhost:1", 403, ""}, {"https://studio.example.evil.example", 403, ""},
	} {
		a := h.get("/who", "Origin: "+row.origin)
		if a.StatusCode != row.status || a.Header.Get("Access-Control-Allow-Origin") != row.allow {
			t.Errorf("Origin %s: %d, allowed %q", row.origin, a.StatusCode, a.Header.Get("Access-Control-Allow-Origin"))
		}
		if a := h.call("DELETE", "/who", "", "Origin: "+row.origin); a.StatusCode != row.status {
			t.Errorf("DELETE from %s: %d", row.origin, a.StatusCode)
		}
	}
	a := h.call("OPTIONS", "/who", "", "Origin: https://studio.example", "Access-Control-Request-Method: POST")
	if a.StatusCode != 200 || !strings.Contains(a.Header.Get("Access-Control-Allow-Methods"), "DELETE") || !strings.Contains(a.Header.Get("Access-Control-Allow-Headers"), "Content-Type") {
		t.Errorf("preflight: %d %v", a.StatusCode, a.Header)
	}
	if a := h.call("OPTIONS", "/who", "", "Origin: https://evil.example", "Access-Control-Request-Method: POST"); a.StatusCode != 403 {
		t.Errorf("preflight of another site: %d", a.StatusCode)
	}
}

// What another site's page embeds comes without an Origin; browsers tell it in other words.
func TestEmbedded(t *testing.T) {
	h := open(t, Config{Origins: []string{"https://studio.example"}})
	for _, row := range []struct {
		site, mode, path, origin string
		status                   int
	}{
		{"cross-site", "no-cors", "/v1/job", "", 403},
		{"same-site", "no-cors", "/v1/job", "", 403}, // another port of this host
		{"cross-site", "no-cors", "/", "", 403},
		{"cross-site", "navigate", "/v1/job", "", 403},
		{"cross-site", "navigate", "/", "", 200}, // a link
		{"cross-site", "cors", "/v1/job", "https://studio.example", 200},
		{"cross-site", "websocket", "/v1/job", "https://evil.example", 403},
		{"same-origin", "no-cors", "/v1/job", "", 200},
		{"same-origin", "cors", "/v1/job", h.url, 200},
		{"none", "navigate", "/v1/job", "", 200}, // by hand
	} {
		headers := []string{"Sec-Fetch-Site: " + row.site, "Sec-Fetch-Mode: " + row.mode}
		if row.origin != "" {
			headers = append(headers, "Origin: "+row.origin)
		}
		if a := h.get(row.path, headers...); a.StatusCode != row.status {
			t.Errorf("%+v: %d %s", row, a.StatusCode, a.text)
		}
	}
	all := open(t, Config{Origins: []string{"*"}})
	if a := all.get("/v1/job", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"); a.StatusCode != 200 {
		t.Errorf("where all sites may call: %d", a.StatusCode)
	}
}

func TestAnyOrigin(t *testing.T) {
	h := open(t, Config{Origins: []string{"*"}})
	if a := h.get("/who", "Origin: null"); a.StatusCode != 200 || a.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
}

func TestToken(t *testing.T) {
	const token = "s3cret, with a comma"
	h := open(t, Config{Keys: []Key{{Secret: token}}})
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
		if a := h.get("/who", row.header); a.StatusCode != row.want {
			t.Errorf("%s: %d, want %d", row.name, a.StatusCode, row.want)
		}
	}
	var got struct {
		Error struct{ Code, Message string }
	}
	a := h.get("/who")
	if err := json.Unmarshal([]byte(a.text), &got); err != nil || got.Error.Code != "unauthorized" || got.Error.Message == "" || a.Header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("401 says %s, %v", a.text, err)
	}
	for path, want := range map[string]int{"/": 200, "/health": 200, "/nope": 401, "//": 401, "/health/": 401} {
		if a := h.get(path); a.StatusCode != want {
			t.Errorf("%s without a token: %d, want %d", path, a.StatusCode, want)
		}
	}
}

// TestNames: every key opens every way in, and its name is the client's where
// there are several; else callers are told apart by address.
func TestNames(t *testing.T) {
	several := []Key{{Name: "anna", Secret: "one, two"}, {Secret: "plain=="}, {Name: "bert", Secret: "b"}}
	for _, row := range []struct {
		keys   []Key
		secret string
		want   string
	}{
		{nil, "x", "127.0.0.1"}, {[]Key{{Name: "all", Secret: "x"}}, "x", "127.0.0.1"},
		{several, "one, two", "anna"}, {several, "plain==", "token 2"}, {several, "b", "bert"},
	} {
		h := open(t, Config{Keys: row.keys})
		if a := h.get("/who", "Authorization: Bearer "+row.secret); a.StatusCode != 200 || a.text != row.want {
			t.Errorf("the key %q is %q's, want %q", row.secret, a.text, row.want)
		}
	}
}

// TestAddresses: what one caller has of addresses.
func TestAddresses(t *testing.T) {
	for from, want := range map[string]string{
		"192.0.2.7:80": "192.0.2.7", "[::ffff:192.0.2.7]:80": "192.0.2.7", "[2001:db8:1:2:3:4:5:6]:80": "2001:db8:1:2::",
		"[fe80::1%eth0]:80": "fe80::", "@": "@",
	} {
		if got := networkOf(&http.Request{RemoteAddr: from}); got != want {
			t.Errorf("%s is %s, want %s", from, got, want)
		}
	}
}

// TestTokenAddress: the address with the token in it gives a cookie that works.
func TestTokenAddress(t *testing.T) {
	h := open(t, Config{Keys: []Key{{Secret: "abc"}}})
	if a := h.get("/?token=wrong"); a.StatusCode != 401 || len(a.Cookies()) > 0 {
		t.Errorf("a wrong token: %d, %v", a.StatusCode, a.Header)
	}
	a := h.get("/?token=abc")
	cookies := a.Cookies()
	if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/" || len(cookies) != 1 {
		t.Fatalf("%d %v", a.StatusCode, a.Header)
	}
	if c := cookies[0]; !c.HttpOnly || c.SameSite != http.SameSiteStrictMode {
		t.Errorf("cookie %v", c)
	}
	if a := h.get("/who", "Cookie: "+cookies[0].Name+"="+cookies[0].Value); a.StatusCode != 200 {
		t.Errorf("with the cookie: %d", a.StatusCode)
	}
}

// TestHeaders: every answer is strict with browsers, whatever it is; nothing is
// said of TLS where there is none.
func TestHeaders(t *testing.T) {
	h := open(t, Config{Keys: []Key{{Secret: "abc"}}})
	for path, status := range map[string]int{"/who": 401, "/nope": 401, "/": 200, "/?token=x": 401, "/health": 200, "/panic": 500} {
		headers := []string{"X: y"}
		if path == "/panic" {
			headers[0] = "Authorization: Bearer abc"
		}
		a := h.get(path, headers...)
		if a.StatusCode != status {
			t.Errorf("%s: %d, want %d", path, a.StatusCode, status)
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "Strict-Transport-Security": "",
		} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		if !strings.Contains(a.Header.Get("Permissions-Policy"), "camera=()") {
			t.Errorf("%s: Permissions-Policy %q", path, a.Header.Get("Permissions-Policy"))
		}
	}
}

// TestPanic: a handler's panic is an answer, and the server goes on.
func TestPanic(t *testing.T) {
	h := open(t, Config{})
	if a := h.get("/panic"); a.StatusCode != 500 || a.text != "internal error\n" {
		t.Errorf("%d %q", a.StatusCode, a.text)
	}
	if a := h.get("/health"); a.StatusCode != 200 {
		t.Errorf("afterwards: %d", a.StatusCode)
	}
}

// TestBare: what no route takes has no body.
func TestBare(t *testing.T) {
	h := open(t, Config{})
	for path, want := range map[string]int{"/nope": 404, "/read": 405} {
		if a := h.get(path); a.StatusCode != want || a.text != "" || a.Header.Get("Content-Type") != "" {
			t.Errorf("%s: %d %q %q, want %d", path, a.StatusCode, a.Header.Get("Content-Type"), a.text, want)
		}
	}
}
