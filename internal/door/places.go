package door

import (
	"net/http"
	"sync"
)

// Bounds of open event streams: of all clients, and of each, of which a queen
// is one with a stream for every job that she has given away.
const (
	Streams     = 2048
	StreamsEach = 1024
)

// Places bounds how many of something are open at once, as streams: in all, and
// those of each client.
type Places struct {
	all, each int

	mu    sync.Mutex
	taken int
	of    map[string]int // by client, those who have some
}

// NewPlaces returns places for all together, of which each client gets some.
func NewPlaces(all, each int) *Places {
	return &Places{all: all, each: each, of: map[string]int{}}
}

// Take takes a place for a client until leave is called, which must be done
// once, or answers that none is free.
func (p *Places) Take(w http.ResponseWriter, client string) (leave func(), ok bool) {
	if refusal := p.enter(client); refusal != "" {
		Problemf(http.StatusServiceUnavailable, "Try again later: %s", refusal).Answer(w)
		return nil, false
	}
	return func() { p.leave(client) }, true
}

func (p *Places) enter(client string) (refusal string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.taken >= p.all:
		return "too many connections are open"
	case p.of[client] >= p.each:
		return "too many of your connections are open"
	}
	p.taken++
	p.of[client]++
	return ""
}

func (p *Places) leave(client string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if p.of[client]--; p.of[client] == 0 {
		delete(p.of, client)
	}
}

// Taken is how many places are taken.
func (p *Places) Taken() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}
