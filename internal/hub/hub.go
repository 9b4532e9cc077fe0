// Package hub fetches models from repositories in the manner of Hugging Face, and files from plain addresses.
//
// [Client.List] tells what a repository holds, [Listing.Choose] which of it makes a model, [Client.Fetch] brings files into a
// folder. What was begun is gone on with, in a later process too; every byte is counted and summed while it comes, and a file
// has its name only when it is whole and right. A hub is a stranger: its names lead nowhere else, its numbers are bounds and
// not sizes to reserve, and the token goes to the hub's own address alone.
package hub

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// DefaultEndpoint is the hub where nothing else is said.
const DefaultEndpoint = "https://huggingface.co"

// What a caller can decide on, by errors.Is.
var (
	ErrNotFound = errors.New("not found")
	ErrRefused  = errors.New("not allowed") // by the hub: the token is missing, wrong, or not for this
	ErrDamaged  = errors.New("damaged")     // what came is not what was promised
	ErrNoSpace  = errors.New("no space")    // on the disk
)

// Client speaks to a hub. Its zero values stand for what is usual.
type Client struct {
	Endpoint string // DefaultEndpoint
	Token    string // goes to Endpoint alone
	Version  string // of the program, told to servers

	Parallel int                                              // files at a time: 3
	Tries    int                                              // in a row that bring nothing, before a file is given up: 6
	Stall    time.Duration                                    // after which a transfer that brings nothing is begun anew: 60 s
	Free     func(dir string) uint64                          // bytes that a disk has left; nil: not looked at
	Wait     func(ctx context.Context, d time.Duration) error // nil: time passes
	Progress func(Progress)                                   // may be nil; called from several goroutines

	HTTP http.RoundTripper // nil: one of its own
}

// Progress tells how far a file is.
type Progress struct {
	File string // its path in the repository
	Done int64  // bytes
	Size int64  // bytes; 0 if it is not known
	Note string // what happens that takes time, for people; mostly empty
}

const (
	answerLimit  = 64 << 20 // bytes of a listing
	messageLimit = 300      // bytes of a hub's own words in an error
	headersIn    = 60 * time.Second
	redirects    = 5
)

// client is an HTTP client that keeps the token from strangers.
func (c *Client) client() *http.Client {
	transport := c.HTTP
	if transport == nil {
		transport = defaultTransport
	}
	return &http.Client{Transport: transport, CheckRedirect: c.follow}
}

// defaultTransport keeps a few connections for all clients of the process.
var defaultTransport = &http.Transport{
	Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
	TLSHandshakeTimeout: 20 * time.Second, ResponseHeaderTimeout: headersIn, IdleConnTimeout: 30 * time.Second,
	DisableCompression: true, ForceAttemptHTTP2: true,
}

// follow allows a redirect. The token stays at the address that it is for, its port and scheme included; nothing goes on
// unencrypted that began encrypted.
func (c *Client) follow(to *http.Request, via []*http.Request) error {
	switch {
	case len(via) > redirects:
		return permanent(fmt.Errorf("more than %d redirects", redirects))
	case to.URL.Scheme != "https" && (to.URL.Scheme != "http" || via[0].URL.Scheme == "https"):
		return permanent(fmt.Errorf("redirected from https to %s", to.URL.Scheme))
	}
	if !c.own(to.URL) {
		to.Header.Del("Authorization")
	}
	to.Header.Del("Referer")
	return nil
}

// own reports whether an address is of the hub.
func (c *Client) own(u *url.URL) bool {
	hub, err := url.Parse(c.endpoint())
	return err == nil && u.Scheme == hub.Scheme && u.Host == hub.Host
}

func (c *Client) endpoint() string {
	if c.Endpoint == "" {
		return DefaultEndpoint
	}
	return strings.TrimRight(c.Endpoint, "/")
}

// request makes a request that carries the token, if it goes to the hub.
func (c *Client) request(ctx context.Context, address string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil || r.URL.Host == "" || r.URL.Scheme != "http" && r.URL.Scheme != "https" {
		return nil, permanent(errors.New("is no http or https address"))
	}
	r.Header.Set("User-Agent", "waggle/"+c.Version)
	r.Header.Set("Accept-Encoding", "identity")
	if c.Token != "" && c.own(r.URL) {
		r.Header.Set("Authorization", "Bearer "+c.Token)
	}
	return r, nil
}

// permanentError is one that another try would not help.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

func permanent(err error) error { return permanentError{err} }

// bare leaves out of an error what the HTTP client says of the address: it may hold secrets.
func bare(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}

// clip shortens what a hub says.
func clip(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "")), " ")
	if len(text) > messageLimit {
		text = strings.ToValidUTF8(text[:messageLimit], "") + "…"
	}
	return text
}
