package queue

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// openPatience is how long a watch may take to tell all there is.
	openPatience = 30 * time.Second
	retryOpen    = time.Second
)

// follower hears of every change of a bucket. The client library's watch can
// end for ever, or fall silent, when servers go and come: so the follower
// compares what it heard with what the bucket has, and opens the watch again
// when it has fallen behind.
type follower struct {
	bucket jetstream.KeyValue
	log    *slog.Logger
	every  time.Duration // between two comparisons

	tell func(jetstream.KeyValueEntry) // called for each entry
	// all is called when a watch has told all there is: no key but those
	// present has a value of a revision up to the one given. It may be nil.
	all func(present map[string]bool, upTo uint64)

	watch jetstream.KeyWatcher
	end   func()
	heard uint64 // newest revision heard of
	asked uint64 // newest revision of the bucket when last compared
}

// open begins to follow and tells all there is.
func (f *follower) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openPatience)
	defer cancel()
	upTo, err := f.newest(ctx)
	if err != nil {
		return err
	}
	watching, end := context.WithCancel(context.WithoutCancel(ctx))
	if f.watch, err = f.bucket.WatchAll(watching); err != nil {
		end()
		return err
	}
	f.end = end
	present := map[string]bool{}
	for {
		select {
		case e, open := <-f.watch.Updates():
			switch {
			case !open:
				return errors.New("the watch ended while it began")
			case e != nil:
				present[e.Key()] = true
				f.hear(e)
				continue
			}
			f.heard = max(f.heard, upTo)
			if f.all != nil {
				f.all(present, upTo)
			}
			return nil
		case <-ctx.Done():
			f.close()
			return ctx.Err()
		}
	}
}

func (f *follower) hear(e jetstream.KeyValueEntry) {
	f.heard = max(f.heard, e.Revision())
	f.tell(e)
}

// newest is the newest revision of the bucket.
func (f *follower) newest(ctx context.Context) (uint64, error) {
	status, err := f.bucket.Status(ctx)
	if err != nil {
		return 0, err
	}
	return status.(*jetstream.KeyValueBucketStatus).StreamInfo().State.LastSeq, nil
}

// run follows until stop is closed. The watch is open before.
func (f *follower) run(stop <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	var stopping sync.WaitGroup
	defer stopping.Wait()
	defer cancel()
	stopping.Go(func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	})
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	defer func() { f.close() }()
	for ctx.Err() == nil {
		select {
		case e, open := <-f.watch.Updates():
			if !open {
				f.log.Warn("a watch has ended; it is opened again", "bucket", f.bucket.Bucket())
				f.reopen(ctx)
			} else if e != nil {
				f.hear(e)
			}
		case <-tick.C:
			if f.behind(ctx) {
				f.log.Warn("a watch has fallen silent; it is opened again", "bucket", f.bucket.Bucket())
				f.reopen(ctx)
			}
		case <-ctx.Done():
		}
	}
}

// behind reports whether something has not been heard of that was there at the
// last comparison already.
func (f *follower) behind(ctx context.Context) bool {
	missed := f.asked > f.heard
	newest, err := f.newest(ctx)
	if err != nil {
		return false // there is nothing to compare with, nor to open
	}
	f.asked = newest
	return missed
}

// reopen opens the watch, as often as it takes.
func (f *follower) reopen(ctx context.Context) {
	f.close()
	for f.asked = 0; ; {
		err := f.open(ctx)
		if err == nil {
			return
		}
		f.log.Debug("open a watch", "bucket", f.bucket.Bucket(), "error", err)
		select {
		case <-time.After(retryOpen):
		case <-ctx.Done():
			return
		}
	}
}

func (f *follower) close() {
	if f.watch != nil {
		_ = f.watch.Stop() // it may have ended, and the connection be closed
		f.end()
	}
}
