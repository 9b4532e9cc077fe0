// Package queen routes operations to workers. A queen has no GPU and keeps
// nothing on disk: hives tell her which workers there are, workers tell her so
// themselves, clients give her operations, and she hands each to a worker over
// HTTP and relays what that worker reports. On a cluster she puts them into the
// queue that nodes share, of which she is a guest.
//
// Files: fleet.go is who there is; telemetry.go and beat.go how she learns of
// it, subscription.go listens to hives. submit.go takes operations, operation.go
// reads what is asked. schedule.go chooses a worker, relay.go works with it over
// a link (link.go); run.go does the rest, status.go tells who there is.
// shelf.go keeps jobs and what was said
// of them, narration.go is how she says it. cluster.go is the way to the
// cluster, line.go puts jobs into its queue, shared.go shows them. doors.go has
// the routes, jobs.go, list.go and nodes.go some of them.
package queen

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"waggle/internal/door"
	"waggle/internal/job"
	"waggle/internal/queue"
)

// Config is what a Queen is made of. Zero values mean the defaults.
type Config struct {
	Version string
	// Built is when this program was built, for /v1/info; "unknown" if empty.
	Built string
	// Page makes what serves / and /static/, from a function that tells how
	// things are; nil serves one line of text.
	Page func(now func() Snapshot) http.Handler
	// Docs makes the page of /docs from the document of /openapi.json; nil leaves it out.
	Docs func(document []byte) http.Handler

	// Cluster opens the way to a queue that nodes share; nil: there is none. It
	// is called until it succeeds; meanwhile the queen does without.
	Cluster func(context.Context) (*Cluster, error)
	// WorkerToken is the bearer token shown to workers.
	WorkerToken string
	// Trust is for hives and workers at https; nil trusts the authorities of this machine.
	Trust *tls.Config
	// Door says who may come in; what it needs of this package is filled in.
	Door door.Config

	// Metrics serves /metrics; nil leaves it out.
	Metrics http.Handler
	// Ended is told of each job that has ended; it should be quick. It may be nil.
	Ended func(Job)

	Log *slog.Logger // default: none

	limits limits
	timing timing
}

// limits bound what others can make the queen remember. Zero means the default.
type limits struct {
	hives       int           // subscriptions; default 256
	hiveWorkers int           // workers kept of one hive; default 1024
	workers     int           // workers that report by themselves; default 4096
	jobs        int           // jobs kept, waiting and ended ones included; default 1000
	keptBytes   int64         // all jobs' bodies and events together; default 512 MiB
	bodyBytes   int64         // one submission; default job.BodyLimitBytes
	eventBytes  int           // one event of a worker; default 128 MiB
	jobBytes    int64         // all that is kept of one job; default 256 MiB
	previews    int           // bytes of a job's preview pictures; older ones go; default 16 MiB
	readers     int           // open event streams; default door.Streams
	expiry      time.Duration // how long ended jobs are kept; default 24 h
}

// timing are the waits of the protocol.
type timing struct {
	tick      time.Duration // between two heartbeats of the queen
	reconnect time.Duration // before a hive is tried again
	dead      time.Duration // silence after which a worker that reports by itself is gone
	forget    time.Duration // after which a hive that cannot be reached is forgotten
	keepAlive time.Duration // silence before a comment line
	hiveQuiet time.Duration // of a hive, comments included, before it is taken for lost: it speaks every second
	jobQuiet  time.Duration // of a worker's stream, likewise: it comments every 15 s
	rejoin    time.Duration // how long a worker's stream that broke is tried to be opened again
	connect   time.Duration // to connect to a worker
	answer    time.Duration // to the first byte of an answer
	unopened  time.Duration // a submitted job waits for its stream to be opened
}

const shutdownDelay = 500 * time.Millisecond // between the answer to /v1/shutdown and the end

// Queen routes until Close.
type Queen struct {
	Config
	door    *door.Door
	handler http.Handler
	fleet   *fleet
	shelf   *shelf
	member  membership
	hub     *hub
	readers *door.Places // of open streams
	http    *http.Client // towards hives and workers

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	mu     sync.Mutex // of the moment in which work ends
	work   sync.WaitGroup
	asked  context.Context // ends with /v1/shutdown
	quit   context.CancelFunc
}

// New returns a queen; serve her Handler, or let Serve do it. Close must be
// called in the end, which Serve does.
func New(c Config) *Queen {
	c.fillIn()
	q := &Queen{
		Config: c, fleet: newFleet(c.limits, c.timing), shelf: newShelf(c.limits, c.timing), hub: newHub(),
		readers: door.NewPlaces(c.limits.readers, door.StreamsEach), http: newClient(c.timing, c.Trust),
	}
	q.shelf.ended = c.Ended
	q.ctx, q.cancel = context.WithCancel(context.Background())
	q.asked, q.quit = context.WithCancel(context.Background())
	table := q.table()
	q.Door.Public, q.Door.Log = table.Public, c.Log
	q.door = door.New(q.Door)
	q.handler = q.door.Guard(table.Mux())
	q.spawn(q.tick)
	if q.Cluster != nil {
		q.member.set(nil, errJoining)
		q.spawn(q.join)
	}
	return q
}

func (c *Config) fillIn() {
	def(&c.Built, "unknown")
	c.limits.fillIn()
	c.timing.fillIn()
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Ended == nil {
		c.Ended = func(Job) {}
	}
	if c.Page == nil {
		c.Page = func(func() Snapshot) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				w.Write([]byte("waggle queen\n"))
			})
		}
	}
}

func (l *limits) fillIn() {
	def(&l.hives, 256)
	def(&l.hiveWorkers, 1024)
	def(&l.workers, 4096)
	def(&l.jobs, 1000)
	def(&l.keptBytes, 512<<20)
	def(&l.bodyBytes, job.BodyLimitBytes)
	def(&l.eventBytes, 128<<20)
	def(&l.jobBytes, 256<<20)
	def(&l.previews, 16<<20)
	def(&l.readers, door.Streams)
	def(&l.expiry, 24*time.Hour)
}

func (t *timing) fillIn() {
	def(&t.tick, 2500*time.Millisecond)
	def(&t.reconnect, 5*time.Second)
	def(&t.dead, 90*time.Second)
	def(&t.forget, 24*time.Hour)
	def(&t.keepAlive, 15*time.Second)
	def(&t.hiveQuiet, 30*time.Second)
	def(&t.jobQuiet, 2*time.Minute)
	def(&t.rejoin, time.Minute)
	def(&t.connect, 5*time.Second)
	def(&t.answer, 30*time.Second)
	def(&t.unopened, 10*time.Minute)
}

// def gives a zero value its default.
func def[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// Handler returns the whole of the service.
func (q *Queen) Handler() http.Handler { return q.handler }

// Serve answers on a listener until ctx ends or somebody asks for shutdown,
// then closes. It owns the listener.
func (q *Queen) Serve(ctx context.Context, l net.Listener) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(q.asked, stop)()
	return q.door.Serve(ctx, l, q.handler, q.Close)
}

// Close ends all streams and subscriptions and waits for them. What workers
// have begun goes on there.
func (q *Queen) Close() {
	q.mu.Lock()
	q.cancel()
	q.mu.Unlock()
	q.work.Wait()
}

// spawn runs f beside, unless the queen has been closed. Close waits for it.
func (q *Queen) spawn(f func()) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ctx.Err() != nil {
		return false
	}
	q.work.Go(f)
	return true
}

// tick tells readers how the fleet is and clears away what has gone.
func (q *Queen) tick() {
	ticker := time.NewTicker(q.timing.tick)
	defer ticker.Stop()
	for {
		select {
		case <-q.ctx.Done():
			return
		case now := <-ticker.C:
			for _, stop := range q.fleet.sweep(now) {
				stop()
			}
			q.shelf.sweep(now)
			q.hub.send(q.heartbeat(now))
		}
	}
}

// Snapshot is the queen's view of the world at one moment.
type Snapshot struct {
	Time    time.Time
	Hives   []Hive           // by id
	Workers []Worker         // by URL
	Nodes   []job.NodeReport // of the cluster, by id
	Jobs    []Job            // newest first, those that have ended too

	Clustered bool   // there is a cluster
	Problem   string // why it cannot be asked; empty if it can
}

// pageJobs is how many of the cluster's jobs a Snapshot has, the newest.
const pageJobs = 100

// Snapshot returns who there is and what goes on.
func (q *Queen) Snapshot() Snapshot {
	s := q.Own()
	c, records := q.sharedRecords(q.ctx, queue.Filter{Limit: pageJobs})
	for _, r := range records {
		s.Jobs = append(s.Jobs, c.report(q.ctx, r).brief())
	}
	slices.SortStableFunc(s.Jobs, func(a, b Job) int { return b.Created.Compare(a.Created) })
	return s
}

// Own is a Snapshot without the jobs of the cluster.
func (q *Queen) Own() Snapshot {
	hives, _ := q.fleet.snapshot()
	s := Snapshot{Time: time.Now(), Hives: hives, Workers: q.workers(q.ctx), Nodes: q.sharedNodes(q.ctx), Jobs: q.shelf.list(), Clustered: q.Cluster != nil}
	if _, err := q.shared(); err != nil {
		s.Problem = err.Error()
	}
	return s
}
