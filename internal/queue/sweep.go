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
	ages := newAges(q.options)
	for {
		select {
		case <-q.stop:
			return
		case <-tick.C:
			q.tidy(ctx, time.Now(), ages.trusted())
		}
	}
}

// tidy is one round of sweep.
func (q *JetStream) tidy(ctx context.Context, now time.Time, byAge bool) {
	if !q.options.Guest {
		q.expire(ctx, now, byAge)
	}
	q.forget(now)
	if err := errors.Join(q.reconcile(ctx, now), q.dropOrphans(ctx, now)); err != nil && ctx.Err() == nil {
		q.options.Log.Warn("compare records with the jobs in line and their pictures", "error", err)
	}
}

// expire drops the records of ended jobs by number and, if ages can be trusted,
// by age, the oldest first.
func (q *JetStream) expire(ctx context.Context, now time.Time, byAge bool) {
	for _, it := range q.index.expired(q.options, now, byAge) {
		q.unannounce(ctx, it.stored)
		err := q.purge(ctx, it)
		if errors.Is(err, errChanged) { // another node was faster, and the id may be another job's by now
			continue
		}
		if err != nil {
			q.options.Log.Warn("drop an old job", "job", it.ID, "error", err)
			return
		}
		if q.options.Dropped != nil {
			q.options.Dropped(ctx, it.ID)
		}
	}
}

// forget lets go of what is known of clients, lanes and leases that are no more.
func (q *JetStream) forget(now time.Time) {
	q.index.forgetClients()
	q.forgetLanes(now)
	q.forgetDoubts()
	q.forgetSilence()
}

// reconcile compares the messages in line with the records of unfinished jobs,
// and mends the lanes where their numbers differ. A process that was killed
// leaves a message without a record, a disk that lost its last writes a record
// without a message, or a half-written end.
func (q *JetStream) reconcile(ctx context.Context, now time.Time) error {
	info, err := q.jobs.Info(ctx, jetstream.WithSubjectFilter(jobSubjects+".>"))
	if err != nil {
		return err
	}
	q.measure(info)
	lanes := map[string][]item{}
	for _, it := range q.index.filter(func(it *item) bool { return it.inLine() }) {
		subject := laneOf(it.stored).subject()
		lanes[subject] = append(lanes[subject], it)
	}
	for subject, items := range lanes {
		if info.State.Subjects[subject] != uint64(len(items)) {
			if err := q.restoreAll(ctx, items, now); err != nil {
				return err
			}
		}
	}
	for subject, messages := range info.State.Subjects {
		if messages != uint64(len(lanes[subject])) {
			if err := q.adoptAll(ctx, subject, lanes[subject], now); err != nil {
				return err
			}
		}
	}
	return nil
}

// restoreAll puts jobs in line again whose messages are gone, where they stood.
func (q *JetStream) restoreAll(ctx context.Context, items []item, now time.Time) error {
	for _, it := range items {
		m, err := q.jobs.GetMsg(ctx, it.Sequence)
		if err == nil && m.Header.Get(idHeader) != string(it.ID) {
			err = jetstream.ErrMsgNotFound // a stream that lost its end has given the number again
		}
		switch {
		case err == nil || q.leaseOf(it.ID) != nil || isYoung(it.Created, now, settleTime) && time.Since(it.heard) < settleTime:
			continue
		case !errors.Is(err, jetstream.ErrMsgNotFound):
			return fmt.Errorf("read a message in line: %w", err)
		}
		s, at := it.stored, it.place()
		s.Moved = &at
		_, err = q.reline(ctx, it, s)
		switch {
		case err == nil:
			q.options.Log.Warn("a job had fallen out of the line; it is back in", "job", it.ID)
		case !errors.Is(err, errChanged):
			return err
		}
	}
	return nil
}

// adoptAll goes through the messages of a lane and writes the records of those
// that have none; those that stand for no work it removes.
func (q *JetStream) adoptAll(ctx context.Context, subject string, items []item, now time.Time) error {
	named := map[uint64]bool{}
	for _, it := range items {
		named[it.Sequence] = true
	}
	for next := uint64(1); ; next++ {
		m, err := q.jobs.GetMsg(ctx, next, jetstream.WithGetMsgSubject(subject)) // the first from there on
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read a message in line: %w", err)
		}
		if next = m.Sequence; named[next] || isYoung(m.Time, now, settleTime) {
			continue
		}
		if err := q.mend(ctx, m); err != nil {
			return err
		}
	}
}

// mend finds out what a message stands for that no job in line names.
func (q *JetStream) mend(ctx context.Context, m *jetstream.RawStreamMsg) error {
	id := job.ID(m.Header.Get(idHeader))
	it, err := q.load(ctx, id)
	if errors.Is(err, ErrNotFound) {
		it, err = q.adopt(ctx, id, m.Data, m.Sequence)
	}
	if err != nil || it.standing(m.Sequence) == present {
		return err
	}
	q.unannounce(ctx, stored{Record: job.Record{ID: id}, Sequence: m.Sequence})
	return q.endDamaged(ctx, it)
}

// isYoung reports whether something was made less than a time ago. What seems
// to come from a later time than that does not: a clock was set.
func isYoung(made, now time.Time, than time.Duration) bool { return now.Sub(made).Abs() < than }
