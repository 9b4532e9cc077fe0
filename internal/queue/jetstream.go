package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"waggle/internal/job"
)

const (
	jobStream    = "waggle-jobs"
	recordBucket = "waggle-records"
	inputBucket  = "waggle-inputs"
	nodeBucket   = "waggle-nodes"
	idHeader     = "Waggle-Job"

	// laneIdle is when the consumer of a lane that nobody asks is removed. The
	// server waits for messages that are out.
	laneIdle = 10 * time.Minute
	// spareMessages are for jobs whose message is written anew before the old
	// one goes, and for those that several nodes take in at the same moment.
	spareMessages = 100
	// markerTTL is how long the mark of a removed record stays.
	markerTTL = 10 * time.Minute
)

// JetStream is a Queue on NATS JetStream:
//
//	stream waggle-jobs      one message for each job that has not ended
//	bucket waggle-records   the jobs' records; every change checks the revision
//	bucket waggle-inputs    pictures sent with jobs that have not ended
//	bucket waggle-nodes     the nodes, with a time to live
//
// A message says only that there is work; the record says what became of it.
// The message is written first, so that a job is in line or was refused before
// it is known; whoever finds a message that its record does not name drops it,
// unless the record may be about to name it.
type JetStream struct {
	options Options
	length  atomic.Int64 // jobs that may wait or run, and as many may be paused
	js      jetstream.JetStream
	jobs    jetstream.Stream
	records jetstream.KeyValue
	inputs  jetstream.ObjectStore
	parts   jetstream.Stream // what inputs lies in
	index   *index
	nodes   *nodes

	stop chan struct{}  // closed by Close
	once sync.Once      // guards stop
	work sync.WaitGroup // what goes on in the background

	moving chan struct{} // holds one thing, which whoever moves a job has

	mu        sync.Mutex
	consumers map[lane]*laneConsumer
	leases    map[job.ID]*held
	reclaimed map[string]bool    // nodes whose jobs of an earlier life are back
	rescued   map[lane]time.Time // when lanes were last asked for jobs of dead nodes
	troubled  time.Time          // when it was last said that jobs could not be taken
	silent    map[job.ID]silence
	unsure    map[job.ID]string // leases whose record may have been written or not
}

var _ Queue = (*JetStream)(nil)

// Open makes the streams and buckets that are not there yet, reads all records
// and mends what a crash may have left half done. Close it before the connection.
func Open(ctx context.Context, js jetstream.JetStream, o Options) (*JetStream, error) {
	q := &JetStream{
		options: o.withDefaults(), js: js, stop: make(chan struct{}), moving: make(chan struct{}, 1),
		consumers: map[lane]*laneConsumer{}, leases: map[job.ID]*held{}, reclaimed: map[string]bool{}, rescued: map[lane]time.Time{},
		silent: map[job.ID]silence{}, unsure: map[job.ID]string{},
	}
	q.index = newIndex(q.stop)
	err := q.open(ctx)
	if err == nil {
		err = q.reconcile(ctx, time.Now())
	}
	if err == nil {
		err = q.dropOrphans(ctx, time.Now())
	}
	if err != nil {
		q.Close()
		return nil, fmt.Errorf("open queue: %w", err)
	}
	q.work.Go(q.sweep)
	return q, nil
}

func (q *JetStream) open(ctx context.Context) (err error) {
	replicas := max(q.options.Replicas, 1)
	q.jobs, err = q.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: jobStream, Subjects: []string{jobSubjects + ".>"}, Retention: jetstream.WorkQueuePolicy, Replicas: replicas,
		MaxMsgs: int64(q.options.Length + spareMessages), Discard: jetstream.DiscardNew,
	})
	if err != nil {
		return err
	}
	q.measure(q.jobs.CachedInfo())
	q.records, err = q.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: recordBucket, Replicas: replicas, LimitMarkerTTL: markerTTL})
	if err != nil {
		return err
	}
	q.inputs, err = q.js.CreateOrUpdateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: inputBucket, Replicas: replicas, MaxBytes: int64(q.options.Bytes)})
	if err != nil {
		return err
	}
	if q.parts, err = q.js.Stream(ctx, "OBJ_"+inputBucket); err != nil {
		return err
	}
	if q.nodes, err = openNodes(ctx, q.js, q.options); err != nil {
		return err
	}
	q.work.Go(func() { q.nodes.run(q.stop) })
	return q.follow(ctx)
}

// measure notes how many jobs may wait or run: for a guest, as many as its host
// has room for now.
func (q *JetStream) measure(jobs *jetstream.StreamInfo) {
	n := int64(q.options.Length)
	if q.options.Guest {
		n = jobs.Config.MaxMsgs - spareMessages
	}
	q.length.Store(n)
}

// follow fills the index and keeps it up to date until Close.
func (q *JetStream) follow(ctx context.Context) error {
	f := &follower{bucket: q.records, log: q.options.Log, every: q.options.times.compare, tell: q.heard, all: q.index.retain}
	if err := f.open(ctx); err != nil {
		f.close()
		return err
	}
	q.work.Go(func() { f.run(q.stop) })
	return nil
}

// heard takes in what the watch tells.
func (q *JetStream) heard(e jetstream.KeyValueEntry) {
	id := job.ID(e.Key())
	if e.Operation() != jetstream.KeyValuePut {
		q.index.drop(id, e.Revision())
		return
	}
	q.know(decodeStored(id, e.Value(), e.Created()), e.Revision())
}

// know takes in a record, and tells its lease in this process, if there is one.
func (q *JetStream) know(s stored, revision uint64) {
	q.index.apply(s, revision)
	q.mu.Lock()
	l := q.leases[s.ID]
	q.mu.Unlock()
	if l != nil {
		l.told(s, revision)
	}
}

// Close implements Queue. Leases are left as they are: their jobs come back to
// this node when it is there again, or to another after a while.
func (q *JetStream) Close() error {
	q.once.Do(func() {
		q.mu.Lock()
		close(q.stop)
		q.mu.Unlock()
	})
	q.work.Wait()
	return nil
}

func (q *JetStream) closed() bool { return isClosed(q.stop) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// load reads a record; ErrNotFound if there is none.
func (q *JetStream) load(ctx context.Context, id job.ID) (item, error) {
	if !job.ValidID(string(id)) {
		return item{}, ErrNotFound
	}
	ctx, cancel := context.WithTimeout(ctx, q.options.times.answer)
	defer cancel()
	e, err := q.records.Get(ctx, string(id))
	if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, jetstream.ErrKeyDeleted) {
		return item{}, ErrNotFound
	}
	if err != nil {
		return item{}, fmt.Errorf("read record of %s: %w", id, refusal(err))
	}
	if it, ok := q.index.get(id); ok && it.revision > e.Revision() {
		return it, nil // the server that answered is behind
	}
	return item{stored: decodeStored(id, e.Value(), e.Created()), revision: e.Revision()}, nil
}

// Get implements Queue.
func (q *JetStream) Get(ctx context.Context, id job.ID) (job.Record, error) {
	it, err := q.load(ctx, id)
	return it.asked(), err
}

// List implements Queue.
func (q *JetStream) List(_ context.Context, f Filter) ([]job.Record, error) { return q.index.list(f) }

// Watch implements Queue.
func (q *JetStream) Watch(ctx context.Context, id job.ID) (Watcher, error) {
	if id != "" {
		it, err := q.load(ctx, id)
		if err != nil {
			return nil, err
		}
		q.know(it.stored, it.revision)
	}
	return q.index.watch(id), nil
}

// Remove implements Queue.
func (q *JetStream) Remove(ctx context.Context, id job.ID) error {
	return q.retry(ctx, id, func(it item) error {
		if !it.State.Final() {
			return ErrUnfinished
		}
		q.unannounce(ctx, it.stored) // a cancel may have been cut off before it did
		return q.purge(ctx, it)
	})
}

// purge removes a record, errChanged if it is not as it was read.
func (q *JetStream) purge(ctx context.Context, it item) error {
	ctx, cancel := context.WithTimeout(ctx, q.options.times.answer)
	defer cancel()
	err := q.records.Purge(ctx, string(it.ID), jetstream.PurgeTTL(markerTTL), jetstream.LastRevision(it.revision))
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return errChanged
	}
	if err != nil {
		return fmt.Errorf("remove record of %s: %w", it.ID, refusal(err))
	}
	q.index.purged(it.ID, it.revision)
	return nil
}

// PutNode implements Queue.
func (q *JetStream) PutNode(ctx context.Context, n job.Node) error {
	if q.closed() {
		return ErrClosed
	}
	return q.nodes.put(ctx, n)
}

// Nodes implements Queue.
func (q *JetStream) Nodes(context.Context) ([]job.Node, error) {
	return q.nodes.living(time.Now()), nil
}
