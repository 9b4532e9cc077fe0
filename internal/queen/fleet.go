package queen

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"waggle/internal/job"
)

// Hive is one hive as the queen knows it.
type Hive struct {
	ID      string
	URL     string
	Online  bool      // its telemetry stream is open
	Since   time.Time // when it came online or was lost
	Workers int       // that it told of
	Problem string    // why it is not online
}

// Worker is one worker as the queen knows it, from its hive, from itself, or both.
type Worker struct {
	IDs    []string // group-instance by its hive, its own by its heartbeats
	Hive   string   // the hive that tells of it, one of them; empty for a worker that reports by itself
	URL    string   // http://host:port, or https:
	Models []string // the names its model goes by
	Device string
	Status job.Status
	Idle   bool // at the last report nothing was under way

	Implementation, Version string // as it says itself; empty else

	Since time.Time // it has been there, as far as is known
	Seen  time.Time // it was last heard of

	GPUPercent   float64
	VRAMMiB      uint64
	VRAMTotalMiB uint64

	Jobs     int    // ours that are under way there
	Assigned uint64 // the turn in which it last got a job; 0 for never

	// TLSName is what its certificate must be for, by its own word; empty: it speaks plain HTTP.
	TLSName string

	hives []string // all that tell of it
	place string   // addressOf it, the same for one that is known in both ways
	port  int
}

// State is what a worker does, in one word: its status, with idle or busy for ready.
func (w Worker) State() string {
	switch {
	case w.Status != job.Ready:
		return string(w.Status)
	case w.Idle && w.Jobs == 0:
		return "idle"
	}
	return string(job.Busy)
}

// seen notes that the worker was there from one time to another.
func (w *Worker) seen(from, to time.Time) {
	if w.Since.IsZero() || from.Before(w.Since) {
		w.Since = from.UTC()
	}
	if to.After(w.Seen) {
		w.Seen = to.UTC()
	}
}

// fleet is the register of hives and workers.
type fleet struct {
	limits limits
	timing timing

	mu    sync.Mutex
	hives map[string]*hive
	beats map[string]beat // by host and id
	loads map[string]load // by place
	turn  uint64
}

// hive is a hive with its subscription and what it last told.
type hive struct {
	Hive
	processes []process
	told      time.Time // when it told of them
	waiting   bool      // it was lost, and is not tried again yet
	stop      context.CancelFunc
	ended     chan struct{} // closed when the subscription has ended
}

// load is what the queen herself gave to one worker.
type load struct {
	jobs int
	turn uint64
}

const connecting = "connecting" // the problem of a hive that is called for the first time

var (
	errManyHives   = errors.New("the queen knows as many hives as she can")
	errManyWorkers = errors.New("the queen knows as many workers as she can")
)

func newFleet(l limits, t timing) *fleet {
	return &fleet{limits: l, timing: t, hives: map[string]*hive{}, beats: map[string]beat{}, loads: map[string]load{}}
}

// subscribe registers a hive and returns it, with the subscription it replaces
// if there is one, for the caller to run; nil if it is being listened to.
func (f *fleet) subscribe(id, url string, stop context.CancelFunc) (new, old *hive, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old = f.hives[id]
	switch {
	case old != nil && !old.waiting && old.URL == url:
		return nil, nil, nil
	case old == nil && len(f.hives) >= f.limits.hives:
		if old = f.longestLost(); old == nil {
			return nil, nil, errManyHives
		}
		delete(f.hives, old.ID)
	}
	h := &hive{Hive: Hive{ID: id, URL: url, Since: time.Now(), Problem: connecting}, stop: stop, ended: make(chan struct{})}
	f.hives[id] = h
	return h, old, nil
}

// longestLost is the hive that has been away the longest, nil if all are online.
func (f *fleet) longestLost() (found *hive) {
	for _, h := range f.hives {
		if !h.Online && (found == nil || h.Since.Before(found.Since)) {
			found = h
		}
	}
	return found
}

// trying notes that a hive is called.
func (f *fleet) trying(h *hive) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h.waiting = false
}

// online notes that a hive's stream is open.
func (f *fleet) online(h *hive) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h.Online, h.Since, h.Problem = true, time.Now(), ""
}

// lost drops a hive's workers: nobody vouches for them any more. It reports
// whether that is news.
func (f *fleet) lost(h *hive, why error) (news bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	news = h.Online || h.Problem == connecting
	if h.Online {
		h.Since = time.Now()
	}
	h.Online, h.waiting, h.processes, h.Problem = false, true, nil, plain(why.Error(), 200)
	return news
}

// report replaces what a hive told of its workers.
func (f *fleet) report(h *hive, list []process) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h.processes, h.told = list, time.Now()
}

// beat takes a worker's own heartbeat. Another that was at its address before is
// there no more.
func (f *fleet) beat(b beat) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if loopback(b.host) {
		b.host = "localhost"
	}
	key := b.host + "/" + b.Worker.ID
	if b.Worker.Status == job.Stopped {
		delete(f.beats, key)
		return nil
	}
	maps.DeleteFunc(f.beats, func(other string, old beat) bool {
		return other != key && old.host == b.host && old.Worker.Port == b.Worker.Port
	})
	known, ok := f.beats[key]
	if !ok && len(f.beats) >= f.limits.workers {
		return errManyWorkers
	}
	if b.since = b.at; ok && known.Worker.Port == b.Worker.Port {
		b.since = known.since
	}
	f.beats[key] = b
	return nil
}

// sweep forgets what has been silent for too long. It returns the stops of
// subscriptions to hives that it forgot.
func (f *fleet) sweep(now time.Time) (stops []context.CancelFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.beats, func(_ string, b beat) bool { return now.Sub(b.at) > f.timing.dead })
	maps.DeleteFunc(f.hives, func(_ string, h *hive) bool {
		gone := !h.Online && now.Sub(h.Since) > f.timing.forget
		if gone {
			stops = append(stops, h.stop)
		}
		return gone
	})
	known := f.workers()
	maps.DeleteFunc(f.loads, func(place string, l load) bool { return l.jobs == 0 && known[place] == nil })
	return stops
}

// snapshot returns hives by id and workers by URL.
func (f *fleet) snapshot() ([]Hive, []Worker) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hiveList(), f.workerList()
}

func (f *fleet) hiveList() []Hive {
	var list []Hive
	for _, h := range f.hives {
		value := h.Hive
		value.Workers = len(h.processes)
		list = append(list, value)
	}
	slices.SortFunc(list, func(a, b Hive) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

func (f *fleet) workerList() []Worker {
	var list []Worker
	for _, w := range f.workers() {
		list = append(list, *w)
	}
	slices.SortFunc(list, func(a, b Worker) int { return cmp.Compare(a.URL, b.URL) })
	return list
}

// workers joins what hives tell and what workers tell of themselves: one
// address is one worker.
func (f *fleet) workers() map[string]*Worker {
	all := map[string]*Worker{}
	at := func(host, port string) *Worker {
		url := addressOf(host, port)
		if all[url] == nil {
			l := f.loads[url]
			all[url] = &Worker{place: url, URL: url, Status: job.Ready, Idle: true, Jobs: l.jobs, Assigned: l.turn}
			all[url].port, _ = strconv.Atoi(port) // it has been checked
		}
		return all[url]
	}
	for _, id := range slices.Sorted(maps.Keys(f.hives)) {
		h := f.hives[id]
		for _, p := range h.processes {
			p.describe(at(hostOf(h.URL), p.Instance), id, h.told)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(f.beats)) {
		b := f.beats[key]
		b.describe(at(b.host, b.port()))
	}
	return all
}

// claim chooses a worker and counts a job for it until release is called. It
// does not choose those already tried.
func (f *fleet) claim(want wanted, tried map[string]bool) (w Worker, release func(), ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w, ok = choose(f.workerList(), f.hiveList(), want, tried)
	if !ok {
		return Worker{}, nil, false
	}
	f.turn++
	f.loads[w.place] = load{f.loads[w.place].jobs + 1, f.turn}
	return w, sync.OnceFunc(func() { f.release(w.place) }), true
}

// best returns the worker that claim would choose now.
func (f *fleet) best(want wanted, tried map[string]bool) (Worker, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return choose(f.workerList(), f.hiveList(), want, tried)
}

// narrows reports whether an operation is for the workers of one hive.
func (f *fleet) narrows(want wanted) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return narrows(f.hiveList(), want)
}

func (f *fleet) release(place string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.loads[place]
	l.jobs--
	f.loads[place] = l
}

// addName adds a name without repeating it.
func addName(list []string, s string) []string {
	if s == "" || slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// addressOf is a worker's URL. All ways to say "this machine" are one.
func addressOf(host, port string) string {
	if loopback(host) {
		host = "localhost"
	}
	u := url.URL{Scheme: "http", Host: net.JoinHostPort(host, port)}
	return u.String() // which escapes the zone of an address
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Hostname()
}
