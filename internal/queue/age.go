package queue

import "time"

// leapLimit is how far a clock may be set without being noticed.
const leapLimit = time.Minute

// ages says whether the age of what was kept can be trusted: not for a while
// after the clock was found set forward, or the process began, as what looks
// old then may look young again when the clock is put right.
type ages struct {
	hold  time.Duration // how long they are not trusted
	last  time.Time     // when trusted was last asked
	since time.Time     // when they were last found not to be
}

func newAges(o Options, now time.Time) *ages {
	return &ages{hold: o.Expiry / 24, last: now, since: now}
}

// trusted is asked now and then. now is the system's clock with the monotonic
// one, which nobody can set.
func (a *ages) trusted(now time.Time) bool {
	leap := now.Round(0).Sub(a.last.Round(0)) - now.Sub(a.last)
	if a.last = now; leap > leapLimit {
		a.since = now
	}
	return now.Sub(a.since) >= a.hold
}
