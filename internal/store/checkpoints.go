package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"waggle/internal/bus"
	"waggle/internal/job"
)

// Checkpoints keeps the newest checkpoint of each unfinished picture, by job
// and place in its batch, in an object store of JetStream.
type Checkpoints struct{ bucket jetstream.ObjectStore }

// OpenCheckpoints makes the bucket if it is not there. Checkpoints older than
// expiry (0: a week) are dropped.
func OpenCheckpoints(ctx context.Context, js jetstream.JetStream, expiry time.Duration, replicas int) (*Checkpoints, error) {
	if expiry == 0 {
		expiry = 7 * 24 * time.Hour
	}
	bucket, err := js.CreateOrUpdateObjectStore(ctx, jetstream.ObjectStoreConfig{
		Bucket: "waggle-checkpoints", TTL: expiry, Replicas: max(replicas, 1),
	})
	if err != nil {
		return nil, fmt.Errorf("open checkpoints: %w", err)
	}
	return &Checkpoints{bucket}, nil
}

// Save keeps a checkpoint in place of the one before.
func (c *Checkpoints) Save(ctx context.Context, id job.ID, index int, data []byte) error {
	n, err := name(id, index)
	if err == nil {
		err = bus.Patiently(ctx, nil, savePatience, func(ctx context.Context) error {
			_, err := c.bucket.PutBytes(ctx, n, data)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("save checkpoint %d of %s: %w", index, id, err)
	}
	return nil
}

// Load returns the checkpoint, ErrNotFound if there is none. It waits for
// servers that do not answer: without it the picture would begin anew.
func (c *Checkpoints) Load(ctx context.Context, id job.ID, index int) ([]byte, error) {
	n, err := name(id, index)
	if err != nil {
		return nil, err
	}
	var data []byte
	err = bus.Patiently(ctx, nil, patience, func(ctx context.Context) (err error) {
		data, err = c.bucket.GetBytes(ctx, n)
		return err
	})
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("load checkpoint %d of %s: %w", index, id, err)
	}
	return data, nil
}

// Remove drops a checkpoint; it is no error if there is none.
func (c *Checkpoints) Remove(ctx context.Context, id job.ID, index int) error {
	n, err := name(id, index)
	if err == nil {
		err = bus.Patiently(ctx, nil, savePatience, func(ctx context.Context) error { return c.bucket.Delete(ctx, n) })
	}
	if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil
	}
	return fmt.Errorf("remove checkpoint %d of %s: %w", index, id, err)
}
