package door

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// rememberedLimit is how many clients a meter tells apart. When there are
	// more at a time, any of them is forgotten, and begins anew.
	rememberedLimit = 10_000
	sweepEvery      = time.Second

	burstSeconds = 4 // of a client's rate may come at once

	guessesPerMinute = 10 // wrong tokens of one address
	guessesBurst     = 20
)

// meter gives each client so many events a second, and remembers those who have
// used some of theirs.
type meter struct {
	limit rate.Limit
	burst int

	mu    sync.Mutex
	of    map[string]*account
	swept time.Time
}

// account is what one client has left.
type account struct {
	*rate.Limiter
	wrong [sha256.Size]byte // the digest of its last wrong token
}

func newMeter(perSecond rate.Limit, burst int) *meter {
	return &meter{limit: perSecond, burst: burst, of: map[string]*account{}}
}

// take takes one from a client's account, or says how long until there is one.
func (m *meter) take(client string, now time.Time) (wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.account(client, now).ReserveN(now, 1)
	if wait = r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
	}
	return wait
}

// guess takes one for a wrong token. A client whose account is used up learns
// no longer which tokens are right; the same wrong one again is no new guess.
func (m *meter) guess(client, token string, right bool, now time.Time) (wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.of[client]
	switch digest := sha256.Sum256([]byte(token)); {
	case a != nil && a.TokensAt(now) < 1:
		return time.Duration((1 - a.TokensAt(now)) / float64(m.limit) * float64(time.Second))
	case right, a != nil && a.wrong == digest:
	default:
		a = m.account(client, now)
		a.wrong = digest
		a.AllowN(now, 1)
	}
	return 0
}

// account finds or opens a client's account.
func (m *meter) account(client string, now time.Time) *account {
	if a := m.of[client]; a != nil {
		return a
	}
	m.sweep(now)
	for other := range m.of {
		if len(m.of) < rememberedLimit {
			break
		}
		delete(m.of, other)
	}
	a := &account{Limiter: rate.NewLimiter(m.limit, m.burst)}
	m.of[client] = a
	return a
}

// sweep forgets, now and then, the clients of whom there is nothing to remember.
func (m *meter) sweep(now time.Time) {
	if now.Sub(m.swept) < sweepEvery {
		return
	}
	m.swept = now
	for client, a := range m.of {
		if a.TokensAt(now) >= float64(m.burst) {
			delete(m.of, client)
		}
	}
}

// Admit counts one command of a client that keeps a connection open, as if it
// were a request. An error is a Problem that says when to come again.
func (d *Door) Admit(client string) error {
	if why, refused := d.overRate(client); refused {
		return why
	}
	return nil
}

// overRate counts a request, and says why it comes too early.
func (d *Door) overRate(client string) (why Problem, refused bool) {
	if d.rates == nil {
		return Problem{}, false
	}
	if wait := d.rates.take(client, time.Now()); wait > 0 {
		return tooMany("Too many requests", wait), true
	}
	return Problem{}, false
}

func tooMany(what string, wait time.Duration) Problem {
	wait = wait.Truncate(time.Second) + time.Second
	return Problem{Status: http.StatusTooManyRequests, Message: fmt.Sprintf("%s: try again in %v", what, wait), RetryAfter: wait}
}
