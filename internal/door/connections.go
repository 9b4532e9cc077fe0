package door

import (
	"net"
	"net/netip"
	"sync"
)

// Bounds of open connections: of all callers, and of each address, for whom the
// streams and sockets that one client may have leave some. This machine and
// known proxies speak for many, and are bounded with all alone.
const (
	connections     = 4096
	connectionsEach = 1536
)

// crowd is a listener that has only so many connections open. One too many is
// closed when it comes, before it can say anything: so files are left for jobs.
type crowd struct {
	net.Listener
	places  *Places
	proxies Proxies
}

// Accept implements net.Listener.
func (l *crowd) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		caller := l.caller(c)
		if l.places.enter(caller) == "" {
			return &visitor{Conn: c, leave: sync.OnceFunc(func() { l.places.leave(caller) })}, nil
		}
		c.Close()
	}
}

// caller is whom a connection counts for.
func (l *crowd) caller(c net.Conn) string {
	from, err := netip.ParseAddrPort(c.RemoteAddr().String())
	address := from.Addr().Unmap()
	if err != nil || address.IsLoopback() || l.proxies.has(address) {
		return c.RemoteAddr().String() // each for itself
	}
	return network(address)
}

// visitor is a connection that counts until it is closed.
type visitor struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (v *visitor) Close() error {
	v.leave()
	return v.Conn.Close()
}
