// Package door is what stands between a listener and the routes of a server:
// who may come in, how much they may send and how long they may take, what
// answers look like, and how serving ends.
//
// Files: guard.go lets requests in, keys.go knows tokens and tells callers
// apart, proxies.go finds out who called a proxy, rate.go counts how often one
// calls, body.go reads what is sent, answer.go writes what is no picture and no
// stream, places.go counts what is open, connections.go bounds how many call at
// all, serve.go serves.
package door

import (
	"crypto/tls"
	"log/slog"
	"math"
	"net/http"
	"time"

	"golang.org/x/time/rate"
)

// Config says to whom a server is open. Its zero value is that of a server for
// this machine alone.
type Config struct {
	// Keys are the bearer tokens, one of which everyone must send; without any, nobody need.
	Keys []Key
	// Origins are web sites (scheme://host) whose scripts may call; "*" all.
	Origins []string
	// Hosts are names the server is reached by, besides localhost and any
	// address written in digits.
	Hosts []string
	// Proxies are those whose word is taken for who called, and how: X-Forwarded-*.
	Proxies Proxies
	// RateLimit is how many requests a second a client may make in the long
	// run, and four times as many at once; 0: as many as it likes. What is
	// public does not count.
	RateLimit float64
	// TLS is what the server shows to callers; nil: it speaks plain HTTP.
	TLS *tls.Config
	// Names are more Hosts, as they are now: those in the certificate, which
	// may be renewed. Nil: none.
	Names func() []string

	// Public are requests for what holds no secret, which need no key; nil: none.
	Public func(*http.Request) bool

	Witness  Witness       // default: none
	BodyTime time.Duration // for a body to come; default 5 min
	Log      *slog.Logger  // default: none
}

// Door stands before the routes of one server.
type Door struct {
	Config
	keys    keyring
	bodies  budget
	rates   *meter // of requests, by client; nil: no limit
	guesses *meter // of wrong tokens, by address
}

// New returns a door.
func New(c Config) *Door {
	if c.Public == nil {
		c.Public = func(*http.Request) bool { return false }
	}
	if c.Names == nil {
		c.Names = func() []string { return nil }
	}
	if c.Witness == nil {
		c.Witness = nobody{}
	}
	if c.BodyTime == 0 {
		c.BodyTime = bodyTimeout
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	d := &Door{Config: c, keys: newKeyring(c.Keys), guesses: newMeter(guessesPerMinute/60.0, guessesBurst)}
	if c.RateLimit > 0 {
		d.rates = newMeter(rate.Limit(c.RateLimit), int(math.Ceil(burstSeconds*c.RateLimit)))
	}
	return d
}
