// Package store keeps finished pictures by job and place in its batch.
//
// A picture is written once, whole or not at all, and read any number of
// times. Store is the interface; Objects keeps them in an object store of
// NATS JetStream.
package store

import (
	"context"
	"errors"

	"waggle/internal/job"
)

// ErrNotFound: no such picture, or it has expired.
var ErrNotFound = errors.New("store: picture not found")

// Store keeps pictures.
type Store interface {
	// Put keeps a PNG as picture number index (from 0) of a job, replacing
	// one that was there. Those of a job are put in order.
	Put(ctx context.Context, id job.ID, index int, png []byte) error
	// Get returns a PNG, ErrNotFound if there is none.
	Get(ctx context.Context, id job.ID, index int) ([]byte, error)
	// Remove drops all pictures of a job; it is no error if there are none.
	Remove(ctx context.Context, id job.ID) error
	// Close ends what the store does in the background.
	Close() error
}
