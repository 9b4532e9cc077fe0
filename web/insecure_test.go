package web

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// Over plain HTTP from another machine the page works, and says what that costs.
func TestPlainHTTPFromElsewhere(t *testing.T) {
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
	listener := httptest.NewServer(server.handler())
	t.Cleanup(listener.Close)
	for url, noted := range map[string]bool{listener.URL: false, strings.Replace(listener.URL, "127.0.0.1", elsewhere, 1): true} {
		t.Run(url, func(t *testing.T) {
			b := blank(t, 1280, 800, url)
			b.server = server
			b.do(chromedp.Navigate(url))
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
