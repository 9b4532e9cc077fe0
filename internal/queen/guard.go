package queen

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
)

// policy is for answers that are data; the page sends a wider one of its own.
const policy = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// guard stands before every route: headers that keep browsers strict, the
// names this server answers to, the sites that may call it, and the token.
type guard struct {
	tokens  []string                 // of which a request must carry one; none lets all in
	origins []string                 // web sites that may call; "*" all
	hosts   []string                 // names besides localhost and addresses in digits
	public  func(*http.Request) bool // routes that need no token
	log     *slog.Logger
}

func (g *guard) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer g.survive(w, r)
		secureHeaders(w.Header())
		switch {
		case !g.hostAllowed(r.Host):
			http.Error(w, "Host not allowed: "+r.Host, http.StatusForbidden)
		case !g.originAllowed(w.Header(), r):
			http.Error(w, "Origin not allowed: "+r.Header.Get("Origin"), http.StatusForbidden)
		case preflight(r):
			w.WriteHeader(http.StatusOK)
		case g.takesToken(w, r):
		case !g.public(r) && !g.authorized(r):
			unauthorized(w)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// survive turns a panic of a handler into a logged error. It lets through the
// one that net/http itself asks handlers to raise.
func (g *guard) survive(w http.ResponseWriter, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	g.log.Error("request failed", "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
	http.Error(w, "internal error", http.StatusInternalServerError)
}

func secureHeaders(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// hostAllowed refuses names that are not ours: a page of evil.example that
// makes its own name point to this machine sends that name as Host. Addresses
// in digits cannot be made to point elsewhere.
func (g *guard) hostAllowed(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	if strings.EqualFold(host, "localhost") || net.ParseIP(host) != nil {
		return true
	}
	return slices.ContainsFunc(g.hosts, func(name string) bool { return strings.EqualFold(name, host) })
}

// originAllowed lets through requests that no other site's script makes, and
// those of sites the operator named, which get the headers their browser wants.
func (g *guard) originAllowed(h http.Header, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	h.Add("Vary", "Origin")
	every := slices.Contains(g.origins, "*")
	if !every && !slices.Contains(g.origins, origin) {
		u, err := url.Parse(origin)
		return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
	}
	if every {
		origin = "*"
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "Retry-After")
	if preflight(r) {
		h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, Last-Event-ID")
		h.Set("Access-Control-Max-Age", "600")
	}
	return true
}

func preflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// authorized looks for the token as a bearer or a cookie.
func (g *guard) authorized(r *http.Request) bool {
	if len(g.tokens) == 0 {
		return true
	}
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return g.isToken(strings.TrimSpace(token))
	}
	if c, err := r.Cookie(cookieName(r)); err == nil {
		return g.isToken(unarmour(c.Value))
	}
	return false
}

// isToken compares with all tokens, in a time that depends on no text.
func (g *guard) isToken(got string) bool {
	a, same := sha256.Sum256([]byte(got)), 0
	for _, token := range g.tokens {
		b := sha256.Sum256([]byte(token))
		same |= subtle.ConstantTimeCompare(a[:], b[:])
	}
	return same == 1
}

// unarmour undoes armour; a text that was not armoured gives no token.
func unarmour(text string) string {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return ""
	}
	return string(b)
}

func armour(token string) string { return base64.RawURLEncoding.EncodeToString([]byte(token)) }

// cookieName holds the port: browsers share cookies between the ports of a
// host, and two servers there have two tokens.
func cookieName(r *http.Request) string {
	if _, port, err := net.SplitHostPort(r.Host); err == nil {
		return "waggle_token_" + port
	}
	return "waggle_token"
}

// takesToken answers /?token=…, the address the server prints for people: it
// puts the token into a cookie that scripts cannot read and other sites cannot
// send, and takes it out of the address bar.
func (g *guard) takesToken(w http.ResponseWriter, r *http.Request) bool {
	token := r.URL.Query().Get("token")
	if r.URL.Path != "/" || r.Method != http.MethodGet || token == "" {
		return false
	}
	if len(g.tokens) > 0 && !g.isToken(token) {
		unauthorized(w)
		return true
	}
	if len(g.tokens) > 0 {
		http.SetCookie(w, &http.Cookie{
			Name: cookieName(r), Value: armour(token), Path: "/", MaxAge: 365 * 24 * 3600,
			HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
		})
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return true
}

func unauthorized(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", "Bearer")
	writeJSON(w, http.StatusUnauthorized, map[string]any{
		"error": map[string]string{"code": "unauthorized", "message": "This server wants a token: send Authorization: Bearer TOKEN, or open the address it printed."},
	})
}
