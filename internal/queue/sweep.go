package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"waggle/internal/job"
)

// settleTime is how old a record or message must be before a missing partner
// means a crash and not a submission or an end that is under way.
const settleTime = 10 * time.Second

// sweep forgets ended jobs that are too old or too many, and mends what a
// crash left behind, until Close.
func (q *JetStream) sweep() {
	tick := time.NewTicker(q.options.sweepEvery())
	defer tick.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	q.work.Go(func() {
		<-q.stop
		cancel()
	})
	for {
		select {
		case <-q.stop:
			return
		case now := <-tick.C:
			q.expire(ctx, now)
			if err := q.reconcile(ctx, now); err != nil && ctx.Err() == nil {
				q.options.Log.Warn("compare records with the jobs in line", "error", err)
			}
		}
	}
}

// expire drops the records of ended jobs by age and by number, the oldest first.
func (q *JetStream) expire(ctx context.Context, now time.Time) {
	for _, it := range q.index.expired(q.options, now) {
		q.unannounce(ctx, it.stored)
		if err := q.purge(ctx, it); err != nil {
			q.options.Log.Warn("drop an old job", "job", it.ID, "error", err)
			return
		}
		if q.options.Dropped != nil {
			q.options.Dropped(ctx, it.ID)
		}
	}
	q.index.forgetClients()
	q.forgetLanes(time.Now())
}

// reconcile compares the messages in line with the records of unfinished jobs.
// Where the numbers agree there is nothing to do: a process that was killed
// leaves a message without a record, a disk that lost its last writes a record
// without a message, or a half-written end.
func (q *JetStream) reconcile(ctx context.Context, now time.Time) error {
	info, err := q.jobs.Info(ctx)
	if err != nil {
		return err
	}
	if info.State.Msgs == uint64(q.index.inLine()) {
		return nil
	}
	named := map[uint64]bool{}
	for _, it := range q.index.filter(func(it *item) bool { return it.inLine() }) {
		named[it.Sequence] = true
		if err := q.restore(ctx, it, now); err != nil {
			return err
		}
	}
	return q.adoptAll(ctx, named, info.State, now)
}

// restore puts a job in line again whose message is gone.
func (q *JetStream) restore(ctx context.Context, it item, now time.Time) error {
	_, err := q.jobs.GetMsg(ctx, it.Sequence)
	if !errors.Is(err, jetstream.ErrMsgNotFound) || now.Sub(it.Created) < settleTime || q.holds(it.ID) {
		return ignoreMissing(err)
	}
	if _, err := q.reline(ctx, it, it.stored); err != nil {
		if !errors.Is(err, errChanged) {
			return err
		}
		return nil
	}
	q.options.Log.Warn("a job had fallen out of the line; it is back in", "job", it.ID)
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	return err
}

// adoptAll goes through the messages and writes the records of those that have
// none; those whose job has ended it removes.
func (q *JetStream) adoptAll(ctx context.Context, named map[uint64]bool, state jetstream.StreamState, now time.Time) error {
	for next := state.FirstSeq; next <= state.LastSeq; next++ {
		m, err := q.jobs.GetMsg(ctx, next, jetstream.WithGetMsgSubject(jobSubjects+".>"))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read a message in line: %w", err)
		}
		if next = m.Sequence; named[next] || now.Sub(m.Time) < settleTime {
			continue
		}
		it, err := q.load(ctx, job.ID(m.Header.Get(idHeader)))
		if errors.Is(err, ErrNotFound) {
			it, err = q.adopt(ctx, job.ID(m.Header.Get(idHeader)), m.Data, next)
		}
		if err != nil {
			return err
		}
		if it.Sequence != next || it.State.Final() {
			q.unannounce(ctx, stored{Record: job.Record{ID: it.ID}, Sequence: next})
		}
	}
	return nil
}
