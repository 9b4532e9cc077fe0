package door

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// tokenProtocol begins the WebSocket subprotocol that carries a token, in
// unpadded base64url, for clients that can set no header.
const tokenProtocol = "waggle.token."

// Key is a bearer token and whose it is.
type Key struct {
	Name   string // empty: only its place tells it from others
	Secret string
}

// keyring holds the digests of all keys, so that comparing takes the same time
// whatever they are.
type keyring []digestedKey

type digestedKey struct {
	name   string
	digest [sha256.Size]byte
}

func newKeyring(keys []Key) (k keyring) {
	for i, key := range keys {
		if key.Name == "" {
			key.Name = fmt.Sprint("token ", i+1)
		}
		k = append(k, digestedKey{key.Name, sha256.Sum256([]byte(key.Secret))})
	}
	return k
}

// find returns the name of the key that is a secret. It compares with all,
// in a time that depends on no text.
func (k keyring) find(secret string) (name string, found bool) {
	digest := sha256.Sum256([]byte(secret))
	for _, key := range k {
		if subtle.ConstantTimeCompare(digest[:], key.digest[:]) == 1 {
			name, found = key.name, true
		}
	}
	return name, found
}

// of returns the name of the key that a request carries.
func (k keyring) of(r *http.Request) (name string, found bool) {
	secret, sent := secretOf(r)
	if !sent {
		return "", false
	}
	return k.find(secret)
}

// secretOf looks for a token as a bearer, a cookie or a subprotocol; the first counts.
func secretOf(r *http.Request) (secret string, sent bool) {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token), true
	}
	if c, err := r.Cookie(cookieName(r)); err == nil {
		return unarmour(c.Value)
	}
	for _, p := range subprotocols(r) {
		if armoured, ok := strings.CutPrefix(p, tokenProtocol); ok {
			return unarmour(armoured)
		}
	}
	return "", false
}

// unknown says why a request may not come in without another token: everybody
// may where there are no keys.
func (d *Door) unknown(r *http.Request) (why Problem, refused bool) {
	if len(d.keys) == 0 {
		return Problem{}, false
	}
	secret, sent := secretOf(r)
	if !sent {
		return errNoToken, true
	}
	return d.wrong(r, byHeader, secret)
}

var errNoToken = Problemf(http.StatusUnauthorized,
	"This server wants a token: send Authorization: Bearer TOKEN, or open the address it printed.")

// The ways a secret comes in, of which each has guesses of its own: pages of
// other sites can make a browser open addresses, but send no headers there.
const (
	byHeader  = "header "
	byAddress = "address "
)

// wrong says why a secret does not let a request in. Who guesses from elsewhere
// too often in one way has to wait, for the right one too.
func (d *Door) wrong(r *http.Request, way, secret string) (why Problem, refused bool) {
	_, right := d.keys.find(secret)
	if !AddressOf(r).IsLoopback() {
		if wait := d.guesses.guess(way+networkOf(r), secret, right, time.Now()); wait > 0 {
			return tooMany("Too many wrong tokens from your address", wait), true
		}
	}
	return errNoToken, !right
}

// ClientOf tells callers apart, to share out between them: by their keys where
// there are several, else by address.
func (d *Door) ClientOf(r *http.Request) string {
	if len(d.keys) > 1 {
		if name, ok := d.keys.of(r); ok {
			return name
		}
	}
	return networkOf(r)
}

// AddressOf is where a request came from; the zero Addr where that is not known.
func AddressOf(r *http.Request) netip.Addr {
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	return from.Addr().Unmap()
}

// networkOf is the network of a request's caller.
func networkOf(r *http.Request) string {
	if address := AddressOf(r); address.IsValid() {
		return network(address)
	}
	return r.RemoteAddr
}

// network is what one caller has of addresses: of version 6 the whole last half.
func network(address netip.Addr) string {
	address = address.WithZone("")
	if address.Is6() {
		return netip.PrefixFrom(address, 64).Masked().Addr().String()
	}
	return address.String()
}

// unarmour undoes armour; a text that was not armoured is no token.
func unarmour(text string) (string, bool) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	return string(b), err == nil
}

func armour(token string) string { return base64.RawURLEncoding.EncodeToString([]byte(token)) }

func subprotocols(r *http.Request) []string {
	list := strings.Split(r.Header.Get("Sec-WebSocket-Protocol"), ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

// cookieName holds the port: browsers share cookies between the ports of a
// host, and two servers there have two tokens.
func cookieName(r *http.Request) string {
	if _, port, err := net.SplitHostPort(r.Host); err == nil {
		return "waggle_token_" + port
	}
	return "waggle_token"
}

// bringsToken recognizes /?token=…, the address the server prints for people.
func bringsToken(r *http.Request) bool {
	return r.URL.Path == "/" && r.Method == http.MethodGet && r.URL.Query().Get("token") != ""
}

// takeToken puts the token of an address into a cookie that scripts cannot read
// and other sites cannot send, and takes it out of the address bar.
func (d *Door) takeToken(w http.ResponseWriter, r *http.Request) {
	if token := r.URL.Query().Get("token"); len(d.keys) > 0 {
		if why, refused := d.wrong(r, byAddress, token); refused {
			why.Answer(w)
			return
		}
		http.SetCookie(w, &http.Cookie{
			Name: cookieName(r), Value: armour(token), Path: "/", MaxAge: 365 * 24 * 3600,
			HttpOnly: true, Secure: Secure(r), SameSite: http.SameSiteStrictMode,
		})
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
