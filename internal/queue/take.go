package queue

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"waggle/internal/job"
)

const (
	// A lane may have its job in the index a moment before its consumer has
	// it, or another node may have taken it: ask again, ever more slowly.
	retryFirst = 2 * time.Millisecond
	retryLast  = time.Second
	// takeLimit is how long lanes are asked before Take gives up for now.
	takeLimit = time.Second
	// newFor is how long a job counts as new to its lane's consumer, retryNew
	// the longest pause before a lane with a new job is asked again.
	newFor   = time.Second
	retryNew = 32 * time.Millisecond
	// troubleEvery is how often trouble with taking jobs is worth a warning.
	troubleEvery = 10 * time.Second
)

// Next implements Queue.
func (q *JetStream) Next(ctx context.Context, c Consumer) (Lease, error) {
	retry := retryFirst
	for {
		arrived := q.index.arrivals()
		l, err := q.Take(ctx, c)
		if l != nil || err != nil {
			return l, err
		}
		wait := q.options.times.rescue
		if q.index.first(c, nil) != nil {
			wait, retry = min(wait, retry), min(2*retry, retryLast)
		}
		came, err := q.await(ctx, arrived, wait)
		if err != nil {
			return nil, err
		}
		if came {
			retry = retryFirst
		}
	}
}

// Take implements Queue. While there is no connection there is nothing to take,
// and a server that is slow to answer is not asked about every lane.
func (q *JetStream) Take(ctx context.Context, c Consumer) (Lease, error) {
	if !q.js.Conn().IsConnected() {
		return nil, q.over(ctx)
	}
	q.reclaim(ctx, c.Node)
	began := time.Now()
	if l, err := q.rescue(ctx, c); l != nil || err != nil {
		return l, err
	}
	tried := map[job.ID]bool{}
	for {
		it := q.index.first(c, tried)
		if it == nil || time.Since(began) > takeLimit {
			return nil, q.over(ctx)
		}
		tried[it.ID] = true
		if l, err := q.tryLane(ctx, laneOf(it.stored), it, c); l != nil || err != nil {
			return l, err
		}
		if q.fellSilent(it, time.Now()) {
			q.revive(ctx, it)
		}
	}
}

// Waiting implements Queue.
func (q *JetStream) Waiting(c Consumer) (job.Record, bool) { return q.index.waitingFor(c) }

// over is the error of a queue that was closed or a caller that has gone.
func (q *JetStream) over(ctx context.Context) error {
	if q.closed() {
		return ErrClosed
	}
	return ctx.Err()
}

// await returns when a job has arrived, with true, or the time is up.
func (q *JetStream) await(ctx context.Context, arrived <-chan struct{}, wait time.Duration) (bool, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-arrived:
		return true, nil
	case <-timer.C:
		return false, nil
	case <-q.stop:
		return false, ErrClosed
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// tryLane leases the first job of a lane, which should be that of an item, nil
// if it has none for c. Trouble with the lane is logged: there will be another
// time.
func (q *JetStream) tryLane(ctx context.Context, from lane, it *item, c Consumer) (Lease, error) {
	if err := q.over(ctx); err != nil {
		return nil, err
	}
	l, err := q.takeFrom(ctx, from, it, c)
	if err != nil && q.over(ctx) == nil {
		q.options.Log.Log(ctx, q.levelOfTrouble(time.Now()), "take a job", "lane", from.consumer(), "error", err)
	}
	return l, nil
}

// levelOfTrouble is how loudly it is said that a job could not be taken: not
// at every try, of which there are many while servers are away.
func (q *JetStream) levelOfTrouble(now time.Time) slog.Level {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now.Sub(q.troubled) < troubleEvery {
		return slog.LevelDebug
	}
	q.troubled = now
	return slog.LevelWarn
}

// takeFrom leases the first job of a lane; nil if it has none for c.
func (q *JetStream) takeFrom(ctx context.Context, from lane, it *item, c Consumer) (Lease, error) {
	for {
		m, err := q.fetchNew(ctx, from, it)
		if m == nil || err != nil {
			return nil, err
		}
		l, err := q.claim(ctx, m, c)
		if errors.Is(err, errRefused) {
			return nil, m.Nak()
		}
		if err != nil {
			return nil, errors.Join(err, m.Nak())
		}
		if l != nil {
			return l, nil
		}
	}
}

// fetchNew is fetch for a lane whose first job this process may know before
// the lane's consumer does: it asks again while the job is new and waits.
func (q *JetStream) fetchNew(ctx context.Context, from lane, it *item) (jetstream.Msg, error) {
	for pause := retryFirst; ; pause *= 2 {
		m, err := q.fetch(ctx, from)
		if m != nil || err != nil || it == nil || pause > retryNew || time.Since(it.heard) > newFor {
			return m, err
		}
		if now, ok := q.index.get(it.ID); !ok || now.revision != it.revision {
			return nil, nil // somebody else was faster
		}
		if _, err := q.await(ctx, nil, pause); err != nil {
			return nil, err
		}
	}
}
