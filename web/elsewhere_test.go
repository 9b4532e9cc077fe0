package web

import (
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/security"
	"github.com/chromedp/chromedp"
)

// From another machine the page works by HTTP/2 with the WebSocket beside it, and over plain HTTP, where it says what that costs.
func TestFromElsewhere(t *testing.T) {
	chromium(t)
	source, err := withWasm()
	if err != nil {
		t.Fatal(err)
	}
	page, err := newHandler(Options{}, source)
	if err != nil {
		t.Fatal(err)
	}
	server := newScripted(page)
	plain, secure := httptest.NewServer(server.handler()), httptest.NewUnstartedServer(server.handler())
	secure.EnableHTTP2, secure.Config.ErrorLog = true, log.New(io.Discard, "", 0) // Chromium itself complains first
	secure.StartTLS()
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	away := strings.NewReplacer("127.0.0.1", elsewhere)
	for url, noted := range map[string]bool{plain.URL: false, away.Replace(plain.URL): true, away.Replace(secure.URL): false} {
		t.Run(url, func(t *testing.T) {
			b := blank(t, 1280, 800, url)
			b.server = server
			b.do(security.SetIgnoreCertificateErrors(true), chromedp.Navigate(url))
			b.wait(`document.getElementById('link').dataset.state === 'open'`)
			b.done()
			var shown bool
			b.do(chromedp.Evaluate(`document.getElementById('insecure').checkVisibility()`, &shown))
			if shown != noted {
				t.Errorf("the note is shown: %v, want %v", shown, noted)
			}
			b.forgive("Cross-Origin-Opener-Policy") // which browsers ignore there, and say so
		})
	}
}
