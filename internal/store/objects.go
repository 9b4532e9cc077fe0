package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"waggle/internal/bus"
	"waggle/internal/job"
)

const (
	bucketName = "waggle-pictures"
	// clearEvery is how often the size is compared with the limit.
	clearEvery = time.Minute
	// clearTo is what is left of the limit when the oldest pictures go, so
	// that they do not go one by one.
	clearTo = 0.9
	// abandoned is how many times longer than a job its pictures are kept where
	// nobody removes them: the job of a batch may be paused, or a clock may have
	// been set.
	abandoned = 7
)

// How long pictures and checkpoints are tried to be written and read while the
// servers do not answer. A checkpoint that is not written is followed by another.
var (
	patience     = bus.Patience{Each: 15 * time.Second, All: time.Minute}
	savePatience = bus.Patience{Each: 5 * time.Second}
)

// Options bound what is kept. Zero values mean the defaults.
type Options struct {
	Expiry   time.Duration // how long an ended job is kept, and with it its pictures; default 24 h
	Bytes    int64         // what all may take on disk; default 8 GiB
	Replicas int           // on how many servers of a cluster; default 1
	Log      *slog.Logger  // default: none
}

// Objects is a Store in an object store of JetStream.
type Objects struct {
	options Options
	bucket  jetstream.ObjectStore
	stop    chan struct{}
	once    sync.Once
	work    sync.WaitGroup
}

var _ Store = (*Objects)(nil)

// Open makes the bucket if it is not there. Close it before the connection.
func Open(ctx context.Context, js jetstream.JetStream, o Options) (*Objects, error) {
	if o.Expiry == 0 {
		o.Expiry = 24 * time.Hour
	}
	if o.Bytes == 0 {
		o.Bytes = 8 << 30
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	bucket, err := js.CreateOrUpdateObjectStore(ctx, jetstream.ObjectStoreConfig{
		Bucket: bucketName, TTL: abandoned * o.Expiry, Replicas: max(o.Replicas, 1),
	})
	if err != nil {
		return nil, fmt.Errorf("open picture store: %w", err)
	}
	s := &Objects{options: o, bucket: bucket, stop: make(chan struct{})}
	s.work.Go(s.sweep)
	return s, nil
}

// name is that of a picture's object. Ids come from strangers: only proper ones
// are let through.
func name(id job.ID, index int) (string, error) {
	if !job.ValidID(string(id)) || index < 0 {
		return "", ErrNotFound
	}
	return string(id) + "/" + strconv.Itoa(index), nil
}

// Put implements Store.
func (s *Objects) Put(ctx context.Context, id job.ID, index int, png []byte) error {
	n, err := name(id, index)
	if err == nil {
		err = bus.Patiently(ctx, s.stop, patience, func(ctx context.Context) error {
			_, err := s.bucket.PutBytes(ctx, n, png)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("store picture %d of %s: %w", index, id, err)
	}
	return nil
}

// Get implements Store.
func (s *Objects) Get(ctx context.Context, id job.ID, index int) ([]byte, error) {
	n, err := name(id, index)
	if err != nil {
		return nil, err
	}
	data, err := s.bucket.GetBytes(ctx, n)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read picture %d of %s: %w", index, id, err)
	}
	return data, nil
}

// Remove implements Store.
func (s *Objects) Remove(ctx context.Context, id job.ID) error {
	for index := 0; ; index++ {
		n, err := name(id, index)
		if err != nil {
			return nil
		}
		err = s.bucket.Delete(ctx, n)
		if errors.Is(err, jetstream.ErrObjectNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("remove pictures of %s: %w", id, err)
		}
	}
}

// Close implements Store.
func (s *Objects) Close() error {
	s.once.Do(func() { close(s.stop) })
	s.work.Wait()
	return nil
}

// sweep keeps the store within its limit of bytes, until Close. The bucket
// itself drops what is too old.
func (s *Objects) sweep() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.work.Go(func() {
		<-s.stop
		cancel()
	})
	tick := time.NewTicker(clearEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			if err := s.clear(ctx); err != nil && ctx.Err() == nil {
				s.options.Log.Warn("drop old pictures", "error", err)
			}
		}
	}
}

// clear drops the oldest pictures if all together take more than they may.
func (s *Objects) clear(ctx context.Context) error {
	status, err := s.bucket.Status(ctx)
	if err != nil || int64(status.Size()) <= s.options.Bytes {
		return err
	}
	list, err := s.bucket.List(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
		return fmt.Errorf("list pictures: %w", err)
	}
	slices.SortFunc(list, func(a, b *jetstream.ObjectInfo) int { return a.ModTime.Compare(b.ModTime) })
	excess := int64(status.Size()) - int64(clearTo*float64(s.options.Bytes))
	for _, o := range list {
		if excess <= 0 {
			break
		}
		if err := s.bucket.Delete(ctx, o.Name); err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) {
			return fmt.Errorf("drop picture %s: %w", o.Name, err)
		}
		excess -= cmp.Or(int64(o.Size), 1)
	}
	return nil
}
