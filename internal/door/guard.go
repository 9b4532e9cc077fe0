package door

import (
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
)

// policy is for answers that are data; the page sends a wider one of its own.
const policy = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// Guard stands before every route: headers that keep browsers strict, the
// names this server answers to, the sites that may call it, the tokens, and how
// often one may call. What no route takes (404, 405) is answered without a body.
func (d *Door) Guard(routes *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(to http.ResponseWriter, r *http.Request) {
		r = d.Proxies.unveil(r)
		w := d.visited(to, r, routes)
		defer w.leave()
		defer d.survive(w, r)
		limitBody(w, r, d.BodyTime)
		d.limitAnswer(w)
		secureHeaders(w.Header(), r)
		if problem, refused := d.refuses(w.Header(), r); refused {
			limitBody(w, r, min(strangerTimeout, d.BodyTime))
			problem.Answer(w)
			return
		}
		switch {
		case preflight(r):
			w.WriteHeader(http.StatusOK)
		case bringsToken(r):
			d.takeToken(w, r)
		case w.route == "":
			routes.ServeHTTP(bodyless{w}, r)
		default:
			routes.ServeHTTP(w, r)
		}
	})
}

// refuses says why a request may not come in. It writes the headers that
// browsers want to see.
func (d *Door) refuses(h http.Header, r *http.Request) (why Problem, refused bool) {
	switch {
	case !d.hostAllowed(r.Host):
		return Problemf(http.StatusForbidden, "Host not allowed: %s", r.Host), true
	case !d.originAllowed(h, r):
		return Problemf(http.StatusForbidden, "Origin not allowed: %s", r.Header.Get("Origin")), true
	case d.embedded(r):
		return errEmbedded, true
	case preflight(r), bringsToken(r), d.Public(r):
		return Problem{}, false
	}
	if why, refused = d.unknown(r); refused {
		return why, true
	}
	return d.overRate(d.ClientOf(r))
}

// survive turns a panic of a handler into a logged error. It lets through the
// one that net/http itself asks handlers to raise.
func (d *Door) survive(w http.ResponseWriter, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	d.Log.Error("request failed", "path", r.URL.Path, "request", w.Header().Get(idHeader), "panic", v, "stack", string(debug.Stack()))
	http.Error(w, "internal error", http.StatusInternalServerError)
}

// secureHeaders go with every answer, whatever it is.
func secureHeaders(h http.Header, r *http.Request) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()")
	// It holds for all ports of a name: only where the server has the usual one, and so the name, and never on one's own machine.
	if ours := hostOf(r.Host) == r.Host && !strings.EqualFold(r.Host, "localhost"); ours && Secure(r) {
		h.Set("Strict-Transport-Security", "max-age=2592000") // 30 days
	}
}

// hostAllowed refuses names that are not ours: a page of evil.example that
// makes its own name point to this machine sends that name as Host. Addresses
// in digits cannot be made to point elsewhere, and a browser that was led here
// by a name of ours in a certificate has seen that certificate.
func (d *Door) hostAllowed(hostport string) bool {
	host := hostOf(hostport)
	if strings.EqualFold(host, "localhost") || net.ParseIP(host) != nil {
		return true
	}
	ours := func(name string) bool { return strings.EqualFold(name, host) }
	return slices.ContainsFunc(d.Hosts, ours) || slices.ContainsFunc(d.Names(), ours)
}

// hostOf is a Host header without its port.
func hostOf(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}

// originAllowed lets through requests that no other site's script makes, and
// those of sites the operator named, which get the headers their browser wants.
func (d *Door) originAllowed(h http.Header, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	h.Add("Vary", "Origin")
	every := slices.Contains(d.Origins, "*")
	if !every && !slices.Contains(d.Origins, origin) {
		u, err := url.Parse(origin)
		return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host) && (u.Scheme == "https" || u.Scheme == "http" && !Secure(r))
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

var errEmbedded = Problemf(http.StatusForbidden, "Another site's page asked for this: open it by hand.")

// embedded recognizes what another site's page makes a browser ask for without
// a script, as a picture of that page, with which browsers send no Origin: a
// GET may cancel a job when its reader goes. Where they say Sec-Fetch-Site (to
// this machine and by TLS) such requests stay out; but links lead to pages.
func (d *Door) embedded(r *http.Request) bool {
	if r.Header.Get("Origin") != "" || slices.Contains(d.Origins, "*") {
		return false
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "cross-site", "same-site":
		return r.Header.Get("Sec-Fetch-Mode") != "navigate" || strings.HasPrefix(r.URL.Path, "/v1/")
	}
	return false
}

func preflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}
