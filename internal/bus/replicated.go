package bus

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// openPatience is how long a stream is tried to be opened while the
	// cluster chooses its leaders.
	openPatience = 30 * time.Second
	// readPatience is how long an object is tried to be read, of which the
	// server that answers may not have all yet.
	readPatience = 5 * time.Second
	retryRead    = 200 * time.Millisecond
)

// replicated is JetStream on a cluster, of which one server is often behind
// the others, or away:
//
//   - buckets are read from their leader. Any copy may answer as the client
//     library opens them, and a copy that is behind says that there is no
//     such record, or shows one that was replaced long ago;
//   - an object that cannot be read whole is read again;
//   - opening waits for a leader, and never takes copies away;
//   - a guest opens what is there as it is, and makes only what is not.
type replicated struct {
	jetstream.JetStream
	guest bool
}

// CreateOrUpdateStream implements jetstream.JetStream.
func (r *replicated) CreateOrUpdateStream(ctx context.Context, c jetstream.StreamConfig) (s jetstream.Stream, err error) {
	err = opening(ctx, func(ctx context.Context) error {
		err := r.provide(ctx, c)
		if err == nil {
			s, err = r.Stream(ctx, c.Name)
		}
		return err
	})
	return s, err
}

// CreateOrUpdateKeyValue implements jetstream.JetStream.
func (r *replicated) CreateOrUpdateKeyValue(ctx context.Context, c jetstream.KeyValueConfig) (kv jetstream.KeyValue, err error) {
	err = r.bucket(ctx, recordStream(c), func(ctx context.Context) error {
		kv, err = r.JetStream.KeyValue(ctx, c.Bucket)
		return err
	})
	return kv, err
}

// CreateOrUpdateObjectStore implements jetstream.JetStream.
func (r *replicated) CreateOrUpdateObjectStore(ctx context.Context, c jetstream.ObjectStoreConfig) (s jetstream.ObjectStore, err error) {
	err = r.bucket(ctx, objectStream(c), func(ctx context.Context) error {
		s, err = r.JetStream.ObjectStore(ctx, c.Bucket)
		return err
	})
	return objects{s}, err
}

// bucket opens a bucket that lies in a stream.
func (r *replicated) bucket(ctx context.Context, c jetstream.StreamConfig, open func(context.Context) error) error {
	return opening(ctx, func(ctx context.Context) error {
		err := r.provide(ctx, c)
		if err == nil {
			err = r.readFromLeader(ctx, c.Name)
		}
		if err == nil {
			err = open(ctx)
		}
		return err
	})
}

// opening tries until a stream is open, or there is an error that waiting does
// not mend.
func opening(ctx context.Context, open func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, openPatience)
	defer cancel()
	return patiently(ctx, func(error) {}, func() error {
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		return open(ctx)
	})
}

// provide makes a stream what it shall be, on no fewer servers than now. A
// guest leaves one that is there as it is.
func (r *replicated) provide(ctx context.Context, c jetstream.StreamConfig) error {
	s, err := r.Stream(ctx, c.Name)
	switch {
	case err != nil && !errors.Is(err, jetstream.ErrStreamNotFound):
		return err
	case err == nil && r.guest:
		return nil
	case err == nil:
		c.Replicas = max(c.Replicas, s.CachedInfo().Config.Replicas)
	}
	_, err = r.JetStream.CreateOrUpdateStream(ctx, c)
	return err
}

// readFromLeader makes whoever opens a bucket's stream from now on ask its
// leader, and not any copy, where an older version made it.
func (r *replicated) readFromLeader(ctx context.Context, stream string) error {
	s, err := r.Stream(ctx, stream)
	if err != nil {
		return err
	}
	c := s.CachedInfo().Config
	if !c.AllowDirect {
		return nil
	}
	c.AllowDirect = false
	_, err = r.UpdateStream(ctx, c)
	return err
}

// objects reads again what it could not read whole.
type objects struct{ jetstream.ObjectStore }

// GetBytes implements jetstream.ObjectStore.
func (o objects) GetBytes(ctx context.Context, name string, options ...jetstream.GetObjectOpt) ([]byte, error) {
	for deadline := time.Now().Add(readPatience); ; {
		data, err := o.ObjectStore.GetBytes(ctx, name, options...)
		if err == nil || errors.Is(err, jetstream.ErrObjectNotFound) || time.Now().After(deadline) {
			return data, err
		}
		select {
		case <-time.After(retryRead):
		case <-ctx.Done():
			return nil, err
		}
	}
}
