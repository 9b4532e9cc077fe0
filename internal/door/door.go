// Package door is what stands between a listener and the routes of a server:
// who may come in, how much they may send and how long they may take, what
// answers look like, and how serving ends.
//
// Files: guard.go lets requests in, keys.go knows tokens and tells callers
// apart, body.go reads what they send, answer.go writes what is not a
// picture or a stream, places.go counts what is open, serve.go serves.
package door

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"time"
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
	keys   keyring
	bodies budget
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
	return &Door{Config: c, keys: newKeyring(c.Keys)}
}
