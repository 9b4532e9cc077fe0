package webhook

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"waggle/internal/job"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	hosts, err := ParseHosts([]string{"hooks.example", "Other.Example.:9000", "127.0.0.1:8080", "::1", "[::2]:7", "xn--bcher-kva.example"})
	if err != nil {
		t.Fatal(err)
	}
	s := &Sender{options: Options{Hosts: hosts}}
	for address, want := range map[string]bool{
		"https://hooks.example/x": true, "http://hooks.example": true, "https://hooks.example:443/": true, "http://HOOKS.example./": true,
		"http://hooks.example:443/": false, "https://hooks.example:80/": false, "https://hooks.example:8443/": false,
		"http://other.example:9000/": true, "https://other.example:9000/": true, "http://other.example/": false,
		"http://127.0.0.1:8080/": true, "http://127.0.0.1/": false, "http://[::ffff:127.0.0.1]:8080/": true, "http://localhost:8080/": false,
		"http://127.1:8080/": false, "http://2130706433:8080/": false, "http://0x7f.0.0.1:8080/": false, "http://127.0.0.1.:8080/": false,
		"http://[::1]/": true, "http://[0:0::1]/": true, "http://[::2]:7/": true, "http://[::2]/": false, "http://[::1%25lo]/": false,
		"https://xn--bcher-kva.example/": true, "https://bücher.example/": false, "https://hoo\u212as.example/": false,
		"https://evil.example/": false, "https://hooks.example.evil.example/": false, "https://evil.example#hooks.example": false,
		"https://hooks.example@evil.example/": false, "https://user:hunter2@hooks.example/": false, "https://evil.example\\@hooks.example/": false,
		"ftp://hooks.example/": false, "//hooks.example/": false, "hooks.example": false, "": false, "http://": false, "http:///x": false,
		"http://hooks.example:0/": false, "http://hooks.example:99999/": false, "http://hooks.example:/": true, "gopher://hooks.example:70/": false,
	} {
		err := s.Check(job.Webhook{URL: address})
		if (err == nil) != want {
			t.Errorf("%s: %v, want allowed %v", address, err, want)
		}
		if err != nil && (job.KindOf(err) != job.InvalidInput || !strings.HasPrefix(err.Error(), "Invalid input: webhook.url: ") || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: the error is %v", address, err)
		}
	}
	var none *Sender
	if err := none.Check(job.Webhook{URL: "http://hooks.example/"}); err == nil || !strings.Contains(err.Error(), "--webhook-secret-file") || !strings.Contains(err.Error(), "webhook.url") {
		t.Errorf("without a secret: %v", err)
	}
	none.Close()
}

func TestParseHosts(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "http://x", "x/y", "x:0", "x:65536", "x:http", "a b", "x@y", "bücher.example", "*", ":80", "[::1", "::1]:x", "1:2:3"} {
		if hosts, err := ParseHosts([]string{bad}); err == nil {
			t.Errorf("%q gives %v", bad, hosts)
		} else if !strings.Contains(err.Error(), strconv.Quote(bad)) {
			t.Errorf("%q: the error is %v", bad, err)
		}
	}
}

// FuzzCheck: what is allowed has an allowed host in the eyes of the client that will ask it.
func FuzzCheck(f *testing.F) {
	for _, seed := range []string{"https://hooks.example/x", "http://[::1]:80/", "http://a@hooks.example", "https://hooks.example:443#@x", "http:\\\\hooks.example"} {
		f.Add(seed)
	}
	hosts, err := ParseHosts([]string{"hooks.example", "::1"})
	if err != nil {
		f.Fatal(err)
	}
	s := &Sender{options: Options{Hosts: hosts}}
	f.Fuzz(func(t *testing.T, address string) {
		if s.Check(job.Webhook{URL: address}) != nil {
			return
		}
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequest(http.MethodPost, u.String(), nil)
		if err != nil {
			return
		}
		if name := strings.ToLower(strings.TrimSuffix(r.URL.Hostname(), ".")); name != "hooks.example" {
			if at, ok := canonical(name); !ok || at != "::1" {
				t.Errorf("%q would ask %q", address, name)
			}
		}
	})
}
