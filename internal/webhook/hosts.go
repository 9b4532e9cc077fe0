package webhook

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"waggle/internal/job"
)

// Hosts are those that webhooks may be sent to, as "host:port"; without a port
// ("host:"), that of the URL's scheme. A name stands for whatever it resolves
// to; an address is allowed only as itself.
type Hosts map[string]bool

// ParseHosts reads HOST or HOST:PORT.
func ParseHosts(list []string) (Hosts, error) {
	hosts := Hosts{}
	for _, text := range list {
		host, port := text, ""
		if h, p, err := net.SplitHostPort(text); err == nil {
			host, port = h, p
		} else if inner, ok := strings.CutPrefix(host, "["); ok && strings.HasSuffix(inner, "]") {
			host = strings.TrimSuffix(inner, "]")
		}
		name, ok := canonical(host)
		if n, err := strconv.ParseUint(port, 10, 16); !ok || port != "" && (err != nil || n == 0) {
			return nil, fmt.Errorf("%q: want HOST or HOST:PORT, without http:// and path; of a name in other letters than a-z the form that begins with xn--", text)
		}
		hosts[net.JoinHostPort(name, port)] = true
	}
	return hosts, nil
}

// canonical gives a host its one spelling, and reports whether it is one.
func canonical(host string) (string, bool) {
	if address, err := netip.ParseAddr(host); err == nil {
		return address.Unmap().String(), true
	}
	host = strings.TrimSuffix(host, ".")
	if _, err := netip.ParseAddr(host); err == nil {
		return "", false // an address with a dot behind it is a name, which nobody has
	}
	for _, c := range []byte(host) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_') {
			return "", false
		}
	}
	return strings.ToLower(host), host != ""
}

// allow reports whether a webhook may go to a URL.
func (h Hosts) allow(u *url.URL) bool {
	name, ok := canonical(u.Hostname())
	usual := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	if !ok || usual == "" {
		return false
	}
	port := u.Port()
	if port == "" {
		port = usual
	}
	return h[net.JoinHostPort(name, port)] || port == usual && h[net.JoinHostPort(name, "")]
}

// Check is nil if the webhook of a request will be sent. Its error is a
// *job.Error of kind InvalidInput that says what the operator must do.
func (s *Sender) Check(w job.Webhook) error {
	if s == nil {
		return refused("this server sends no webhooks; its operator must give it a secret (--webhook-secret-file or WAGGLE_WEBHOOK_SECRET) and allow the host (--webhook-host HOST)")
	}
	_, err := s.options.Hosts.parse(w.URL)
	if err != nil {
		return refused(err.Error())
	}
	return nil
}

func refused(why string) error {
	return job.Errorf(job.InvalidInput, "Invalid input: webhook.url: %s", why)
}

// parse reads a URL that a webhook may go to.
func (h Hosts) parse(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("want an http or https address")
	case u.User != nil:
		return nil, errors.New("it must hold no user and password: the signature tells the receiver who sends")
	case !h.allow(u):
		return nil, fmt.Errorf("the host %.100q is not allowed; the server's operator can allow it with --webhook-host", u.Host)
	}
	return u, nil
}
