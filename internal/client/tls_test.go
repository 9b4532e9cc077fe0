package client

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestTLSIsExplained(t *testing.T) {
	t.Parallel()
	nothing := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	secure, open := httptest.NewUnstartedServer(nothing), httptest.NewServer(nothing)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	t.Cleanup(open.Close)
	trusting := secure.Client().Transport.(*http.Transport).TLSClientConfig
	swap := strings.NewReplacer("https://", "http://", "http://", "https://")
	tests := map[string]struct {
		url   string
		trust *tls.Config
		want  string // in the error; empty: none
	}{
		"trusted":          {secure.URL, trusting, ""},
		"not trusted":      {secure.URL, nil, "name a file with the right one's certificate with --ca"},
		"http to https":    {swap.Replace(secure.URL), nil, "Use https://"},
		"https to http":    {swap.Replace(open.URL), nil, "it speaks plain HTTP, not TLS: use http://"},
		"http, as ever":    {open.URL, nil, ""},
		"http, with trust": {open.URL, trusting, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := New(test.url, "", test.trust)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			err = c.Ready(t.Context())
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
