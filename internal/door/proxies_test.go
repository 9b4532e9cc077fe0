package door

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

// proxies parses networks.
func proxies(t testing.TB, texts ...string) (p Proxies) {
	t.Helper()
	for _, text := range texts {
		network, err := ParseProxy(text)
		if err != nil {
			t.Fatal(err)
		}
		p = append(p, network)
	}
	return p
}

func TestParseProxy(t *testing.T) {
	for text, want := range map[string]string{
		"10.1.2.3": "10.1.2.3/32", "10.1.2.3/8": "10.0.0.0/8", "::1": "::1/128", "2001:db8::/32": "2001:db8::/32", "::ffff:10.1.2.3": "10.1.2.3/32",
	} {
		if got, err := ParseProxy(text); err != nil || got.String() != want {
			t.Errorf("%s is %v, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "proxy.example", "10.0.0.0/33", "10.0.0", "fe80::1%eth0", "10.1.2.3:80"} {
		if got, err := ParseProxy(text); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
}

// TestUnveil: who called is the right-most whom no known proxy has passed on,
// and only known proxies are believed.
func TestUnveil(t *testing.T) {
	p := proxies(t, "10.0.0.0/8", "2001:db8:1::/48")
	for _, row := range []struct {
		name, from, header string // "Name: value" lines
		caller, host       string
		secure             bool
	}{
		{"nobody's word", "192.0.2.1:5", "", "192.0.2.1:5", "here", false},
		{"a stranger's", "192.0.2.1:5", "X-Forwarded-For: 127.0.0.1\nX-Forwarded-Host: localhost\nX-Forwarded-Proto: https", "192.0.2.1:5", "here", false},
		{"a proxy that says nothing", "10.1.1.1:5", "", "10.1.1.1:5", "here", false},
		{"a proxy's", "10.1.1.1:5", "X-Forwarded-For: 192.0.2.7\nX-Forwarded-Host: pictures.example\nX-Forwarded-Proto: https", "192.0.2.7:0", "pictures.example", true},
		{"a caller who lies to it", "10.1.1.1:5", "X-Forwarded-For: 127.0.0.1, 192.0.2.7", "192.0.2.7:0", "here", false},
		{"on two lines", "10.1.1.1:5", "X-Forwarded-For: 127.0.0.1\nX-Forwarded-For: 192.0.2.7", "192.0.2.7:0", "here", false},
		{"two proxies", "10.1.1.1:5", "X-Forwarded-For: 127.0.0.1, 192.0.2.7,10.9.9.9", "192.0.2.7:0", "here", false},
		{"proxies alone", "10.1.1.1:5", "X-Forwarded-For: 10.3.3.3, 10.2.2.2", "10.3.3.3:0", "here", false},
		{"another machine's own", "10.1.1.1:5", "X-Forwarded-For: 127.0.0.1", "10.1.1.1:5", "here", false},
		{"no address", "10.1.1.1:5", "X-Forwarded-For: 192.0.2.7, unknown", "10.1.1.1:5", "here", false},
		{"no address behind a proxy", "10.1.1.1:5", "X-Forwarded-For: unknown, 10.2.2.2", "10.2.2.2:0", "here", false},
		{"nothing", "10.1.1.1:5", "X-Forwarded-For: \nX-Forwarded-Host: \nX-Forwarded-Proto: ftp", "10.1.1.1:5", "here", false},
		{"with a port", "10.1.1.1:5", "X-Forwarded-For: 192.0.2.7:4711", "192.0.2.7:0", "here", false},
		{"of version 6", "[2001:db8:1::1]:5", "X-Forwarded-For: 2001:db8:2::7", "[2001:db8:2::7]:0", "here", false},
		{"in brackets", "[2001:db8:1::1]:5", "X-Forwarded-For: [2001:db8:2::7]:80", "[2001:db8:2::7]:0", "here", false},
		{"4 in 6", "[::ffff:10.1.1.1]:5", "X-Forwarded-For: ::ffff:192.0.2.7", "192.0.2.7:0", "here", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "http://here/", nil)
			r.RemoteAddr = row.from
			for line := range strings.Lines(row.header) {
				name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
				r.Header.Add(name, value)
			}
			r = p.unveil(r)
			if r.RemoteAddr != row.caller || r.Host != row.host || Secure(r) != row.secure {
				t.Errorf("called by %s for %s, secure %v", r.RemoteAddr, r.Host, Secure(r))
			}
			for name := range r.Header {
				if strings.HasPrefix(name, "X-Forwarded") {
					t.Errorf("%s is left", name)
				}
			}
		})
	}
}

// TestProxied: the door judges what a proxy passed on, not the proxy.
func TestProxied(t *testing.T) {
	h := open(t, Config{Proxies: proxies(t, "127.0.0.1"), Hosts: []string{"pictures.example"}, Keys: []Key{{Secret: "abc"}}})
	for _, row := range []struct {
		header string
		status int
	}{
		{"X-Forwarded-Host: pictures.example", 200}, {"X-Forwarded-Host: evil.example", 403}, {"X-Forwarded-Host: localhost, evil.example", 403},
	} {
		if a := h.get("/health", row.header); a.StatusCode != row.status {
			t.Errorf("%s: %d, want %d", row.header, a.StatusCode, row.status)
		}
	}
	a := h.get("/who", "Authorization: Bearer abc", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: pictures.example")
	if a.StatusCode != 200 || a.text != "192.0.2.7" || a.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("%d, of %s, %v", a.StatusCode, a.text, a.Header)
	}
	login := h.get("/?token=abc", "X-Forwarded-Proto: https", "X-Forwarded-Host: pictures.example")
	if c := login.Cookies(); len(c) != 1 || !c[0].Secure || c[0].Name != "waggle_token" {
		t.Errorf("the cookie of a proxied page: %v", c)
	}
	if a := h.get("/health", "X-Forwarded-Proto: https", "Host: localhost"); a.Header.Get("Strict-Transport-Security") != "" {
		t.Errorf("localhost is told to be strict for every server on it")
	}
	if a := h.get("/health", "X-Forwarded-Proto: https", "X-Forwarded-Host: pictures.example:8443"); a.Header.Get("Strict-Transport-Security") != "" {
		t.Errorf("a server beside others is strict for them too")
	}
	for origin, want := range map[string]int{"https://pictures.example": 200, "http://pictures.example": 403} {
		if a := h.get("/who", "Authorization: Bearer abc", "X-Forwarded-Proto: https", "X-Forwarded-Host: pictures.example", "Origin: "+origin); a.StatusCode != want {
			t.Errorf("a script of %s: %d, want %d", origin, a.StatusCode, want)
		}
	}
	plain := open(t, Config{})
	if a := plain.get("/who", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https"); a.text != "127.0.0.1" || a.Header.Get("Strict-Transport-Security") != "" {
		t.Errorf("without a proxy that is known: of %s, %v", a.text, a.Header)
	}
}

// FuzzForwarded: whatever a proxy passes on, the caller is an address that was
// named or the proxy's own, never one that the left of an unknown address claims.
func FuzzForwarded(f *testing.F) {
	for _, text := range []string{"192.0.2.7", "10.0.0.1, 192.0.2.7", "[::1]:80,10.0.0.1", "unknown", "", ",,,", "::ffff:1.2.3.4", "fe80::1%eth0", "1.2.3.4:99999"} {
		f.Add(text, text, "https")
	}
	p := proxies(f, "10.0.0.0/8")
	f.Fuzz(func(t *testing.T, chain, host, scheme string) {
		r := httptest.NewRequest("GET", "http://here/", nil)
		r.RemoteAddr = "10.1.1.1:5"
		r.Header = http.Header{"X-Forwarded-For": {chain}, "X-Forwarded-Host": {host}, "X-Forwarded-Proto": {scheme}}
		r = p.unveil(r)
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			t.Fatalf("called by %q", r.RemoteAddr)
		}
		if p.has(from.Addr()) {
			return
		}
		parts := strings.Split(chain, ",")
		for i := len(parts) - 1; i >= 0; i-- {
			address, ok := parseForwarded(strings.TrimSpace(parts[i]))
			switch {
			case !ok:
				t.Fatalf("%q: %s stands left of what is no address", chain, from)
			case !p.has(address) && address != from.Addr():
				t.Fatalf("%q: called by %s, %s stands further right", chain, from, address)
			case !p.has(address):
				return
			}
		}
	})
}

// FuzzHostOrigin: what passes as a host is one of ours or digits, and no origin
// passes but a host's own.
func FuzzHostOrigin(f *testing.F) {
	for _, row := range [][2]string{
		{"localhost:8080", "http://localhost:8080"}, {"[::1]:80", "http://[::1]:80"}, {"127.0.0.1", "null"}, {"pictures.example", "https://PICTURES.example"},
		{"evil.example", "http://evil.example"}, {"localhost@evil.example", "http://a@localhost"}, {"[localhost]", "http://[localhost]"}, {"", "//"}, {"a:b:c", "http://:80"},
	} {
		f.Add(row[0], row[1])
	}
	d := New(Config{Hosts: []string{"pictures.example"}, Origins: []string{"https://studio.example"}})
	f.Fuzz(func(t *testing.T, host, origin string) {
		r := &http.Request{Method: http.MethodGet, Host: host, Header: http.Header{"Origin": {origin}}}
		if d.hostAllowed(host) {
			name := strings.ToLower(hostOf(host))
			if _, err := netip.ParseAddr(name); err != nil && name != "localhost" && name != "pictures.example" {
				t.Errorf("host %q passes", host)
			}
		}
		h := http.Header{}
		if passes := d.originAllowed(h, r); passes && origin != "" && origin != "https://studio.example" {
			if _, rest, ok := strings.Cut(strings.ToLower(origin), "//"); !ok || !strings.Contains(rest, strings.ToLower(host)) {
				t.Errorf("origin %q passes for host %q", origin, host)
			}
		}
		if allow := h.Get("Access-Control-Allow-Origin"); allow != "" && origin != "https://studio.example" {
			t.Errorf("origin %q is allowed %q", origin, allow)
		}
	})
}
