package queue

import "time"

// leapLimit is how far a clock may be set without being noticed.
const leapLimit = time.Minute

// ages says whether the age of what was kept can be trusted: not for a while
// after the clock was found set forward, or the process began, as what looks
// old then may look young again when the clock is put right.
type ages struct {
	hold  time.Duration // how long they are not trusted
	began time.Time
	wall  time.Time     // the clock when trusted was last asked
	up    time.Duration // and how long the process had run
	since time.Duration // up when ages were last found not to be trusted
}

func newAges(o Options) *ages {
	now := time.Now()
	return &ages{hold: o.Expiry / 24, began: now, wall: now.Round(0)}
}

// trusted is asked now and then.
func (a *ages) trusted() bool {
	now := time.Now()
	return a.trust(now.Round(0), now.Sub(a.began)) // the second by a clock that nobody sets
}

func (a *ages) trust(wall time.Time, up time.Duration) bool {
	if wall.Sub(a.wall)-(up-a.up) > leapLimit {
		a.since = up
	}
	a.wall, a.up = wall, up
	return up-a.since >= a.hold
}
