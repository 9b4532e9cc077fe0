package door

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Proxies are the networks of callers whose X-Forwarded-* headers are believed.
type Proxies []netip.Prefix

// ParseProxy reads a network as 10.0.0.0/8, or a single address.
func ParseProxy(text string) (netip.Prefix, error) {
	if network, err := netip.ParsePrefix(text); err == nil {
		return network.Masked(), nil
	}
	address, err := netip.ParseAddr(text)
	if err != nil || address.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%q is no address and no network like 10.0.0.0/8", text)
	}
	address = address.Unmap()
	return netip.PrefixFrom(address, address.BitLen()), nil
}

func (p Proxies) has(address netip.Addr) bool {
	for _, network := range p {
		if network.Contains(address.WithZone("")) {
			return true
		}
	}
	return false
}

// unveil puts into a request that a known proxy passed on what it was before:
// who called (RemoteAddr, port 0), under which name (Host), and whether by TLS.
// Nobody else's X-Forwarded-* are believed; whoever sent them, they go.
func (p Proxies) unveil(r *http.Request) *http.Request {
	chain := list(r.Header, "X-Forwarded-For")
	host, scheme := last(list(r.Header, "X-Forwarded-Host")), last(list(r.Header, "X-Forwarded-Proto"))
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		r.Header.Del(name)
	}
	caller := AddressOf(r)
	if !p.has(caller) {
		return r
	}
	if from := p.origin(caller, chain); from != caller {
		r.RemoteAddr = netip.AddrPortFrom(from, 0).String()
	}
	if host != "" {
		r.Host = host // the guard looks at it as at any
	}
	if strings.EqualFold(scheme, "https") {
		return r.WithContext(context.WithValue(r.Context(), byTLS{}, true))
	}
	return r
}

// origin goes back from a caller through those it says it was called by, as
// long as they are ours: the first that is not has called. What stands further
// left was written by strangers. Another machine's word for itself (127.0.0.1)
// names nobody here.
func (p Proxies) origin(caller netip.Addr, chain []string) netip.Addr {
	for len(chain) > 0 && p.has(caller) {
		before, ok := parseForwarded(last(chain))
		if !ok || before.IsLoopback() && !caller.IsLoopback() {
			return caller
		}
		caller, chain = before, chain[:len(chain)-1]
	}
	return caller
}

// parseForwarded reads an address, as proxies write it: some with a port, some
// in brackets.
func parseForwarded(text string) (netip.Addr, bool) {
	if host, _, err := net.SplitHostPort(text); err == nil {
		text = host
	}
	address, err := netip.ParseAddr(strings.Trim(text, "[]"))
	return address.Unmap().WithZone(""), err == nil
}

// list reads a header of values with commas between them, however many lines it has.
func list(h http.Header, name string) []string {
	lines := h.Values(name)
	if len(lines) == 0 {
		return nil
	}
	values := strings.Split(strings.Join(lines, ","), ",")
	for i := range values {
		values[i] = strings.TrimSpace(values[i])
	}
	return values
}

func last(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// byTLS marks the context of a request that came to a proxy by TLS.
type byTLS struct{}

// Secure reports whether the caller used TLS, towards us or a known proxy.
func Secure(r *http.Request) bool { return r.TLS != nil || r.Context().Value(byTLS{}) != nil }

// BaseURL is the address by which a caller reaches the server.
func BaseURL(r *http.Request) string {
	if Secure(r) {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}
