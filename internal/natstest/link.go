package natstest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Link is the network between one client and the servers of a cluster: a proxy
// before each. Nothing else leads from the client to them.
type Link struct {
	proxies []*proxy
}

// Link lays a network for one client.
func (c *Cluster) Link() *Link {
	c.tb.Helper()
	l := &Link{}
	for _, s := range c.Servers {
		l.proxies = append(l.proxies, newProxy(c.tb, s.Address()))
	}
	return l
}

// URLs are the addresses for the client.
func (l *Link) URLs() (list []string) {
	for _, p := range l.proxies {
		list = append(list, "nats://"+p.listener.Addr().String())
	}
	return list
}

// Cut makes the network swallow everything, in both directions, as a pulled
// cable does: connections stay, and new ones get no answer.
func (l *Link) Cut() { l.each((*proxy).cut) }

// Reset breaks all connections and refuses new ones, until Heal.
func (l *Link) Reset() { l.each((*proxy).reset) }

// Heal makes the network work again; what was under way in connections that
// both ends still have arrives late, as with TCP.
func (l *Link) Heal() { l.each((*proxy).heal) }

func (l *Link) each(do func(*proxy)) {
	for _, p := range l.proxies {
		do(p)
	}
}

// proxy passes TCP connections on to one address.
type proxy struct {
	listener net.Listener
	target   string
	work     sync.WaitGroup

	mu      sync.Mutex
	flowing chan struct{} // closed while bytes pass
	refuses bool
	open    map[net.Conn]bool
	closed  bool
}

func newProxy(tb testing.TB, target string) *proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &proxy{listener: l, target: target, flowing: make(chan struct{}), open: map[net.Conn]bool{}}
	close(p.flowing)
	p.work.Go(p.accept)
	tb.Cleanup(p.end)
	return p
}

func (p *proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.work.Go(func() { p.serve(c) })
	}
}

// serve passes on one connection.
func (p *proxy) serve(client net.Conn) {
	defer p.forget(client)
	if !p.keep(client) || !p.wait() {
		return
	}
	there, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer p.forget(there)
	if !p.keep(there) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.copy(there, client) })
	both.Go(func() { p.copy(client, there) })
	both.Wait()
}

// copy passes bytes on until an end closes; then both are closed.
func (p *proxy) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil && err != io.EOF || !p.wait() {
			return
		}
		if _, writeErr := to.Write(buffer[:n]); err != nil || writeErr != nil {
			return
		}
	}
}

// wait waits while the network is cut; false if the proxy has ended.
func (p *proxy) wait() bool {
	p.mu.Lock()
	flowing := p.flowing
	p.mu.Unlock()
	<-flowing
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.closed
}

// keep remembers a connection; false if it must not be.
func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuses || p.closed {
		return false
	}
	p.open[c] = true
	return true
}

func (p *proxy) forget(c net.Conn) {
	c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flowing = make(chan struct{})
}

func (p *proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses = true
	p.flow()
	for c := range p.open {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset, not an orderly end
		}
		c.Close()
	}
}

func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses = false
	p.flow()
}

// flow lets bytes pass. The caller holds mu.
func (p *proxy) flow() {
	select {
	case <-p.flowing:
	default:
		close(p.flowing)
	}
}

func (p *proxy) end() {
	p.listener.Close()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.reset()
	p.work.Wait()
}
