package door

import (
	"errors"
	"net"
	"net/netip"
	"testing"
)

// TestCrowd: an address has only so many connections, all together have only
// so many, and who goes makes room.
func TestCrowd(t *testing.T) {
	proxy, err := ParseProxy("10.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	var open []*arrival
	from := func(address string) *arrival {
		a := &arrival{from: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))}
		open = append(open, a)
		return a
	}
	for _, address := range []string{
		"192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3", // one too many
		"[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1", // one network, and one too many
		"10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3", "127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1",
		"192.0.2.2:1", // beyond all
	} {
		from(address)
	}
	l := &crowd{&arrivals{open}, NewPlaces(10, 2), Proxies{proxy}}
	var in []net.Conn
	for range 10 {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		in = append(in, c)
	}
	if c, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("one too many: %v, %v", c, err)
	}
	last := from("192.0.2.1:4")
	l.Listener.(*arrivals).coming = append(l.Listener.(*arrivals).coming, last)
	in[0].Close()
	in[0].Close() // counts once
	if c, err := l.Accept(); err != nil || c.(*visitor).Conn != net.Conn(last) {
		t.Errorf("after one has gone: %v, %v", c, err)
	}
	for i, a := range open {
		if refused := i == 2 || i == 5 || i == 12; a.closed != (refused || i == 0) {
			t.Errorf("%s, connection %d: closed %v", a.from, i, a.closed)
		}
	}
	if n := l.places.Taken(); n != 10 {
		t.Errorf("%d are counted", n)
	}
}

// arrivals is a listener to which these come.
type arrivals struct{ coming []*arrival }

func (l *arrivals) Accept() (net.Conn, error) {
	if len(l.coming) == 0 {
		return nil, net.ErrClosed
	}
	c := l.coming[0]
	l.coming = l.coming[1:]
	return c, nil
}

func (l *arrivals) Close() error   { return nil }
func (l *arrivals) Addr() net.Addr { return nil }

// arrival is a connection of which only its address matters.
type arrival struct {
	net.Conn
	from   net.Addr
	closed bool
}

func (a *arrival) RemoteAddr() net.Addr { return a.from }
func (a *arrival) Close() error         { a.closed = true; return nil }
