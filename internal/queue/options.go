package queue

import (
	"context"
	"log/slog"
	"time"

	"waggle/internal/job"
)

// Options bound what a queue keeps. Zero values mean the defaults.
type Options struct {
	Length   int           // jobs that may wait or run, and as many may be paused; default 1000
	Bytes    int           // what the pictures sent with them may take; default 1 GiB
	Finished int           // ended jobs kept; default 10,000
	Expiry   time.Duration // how long an ended job is kept; default 24 h

	// Room returns an error while no more can be written; then nothing is
	// taken in. It may be nil.
	Room func() error
	// Replicas is on how many servers of a cluster all is kept; default 1.
	Replicas int
	// Guest says that others decide how much is kept, and drop what has ended:
	// this queue takes as many jobs as theirs do, and drops none.
	Guest bool
	// Ended is told of a job that the queue ended itself, because its
	// attempts are used up or it cannot be read. It may be nil.
	Ended func(context.Context, job.Record)
	// Changed is told of each change of a job's state that this process has written, by whoever wrote it: it should be
	// quick. was is the zero Record for a new job. It may be nil.
	Changed func(was, now job.Record)
	// Dropped is told of an ended job whose record has been dropped for its
	// age or for the number of others. It may be nil.
	Dropped func(context.Context, job.ID)
	Log     *slog.Logger // default: none

	times times // tests make them short
}

// times are those of the traffic with the server.
type times struct {
	// ack is how long a node may be silent before its job goes to another;
	// renew is how often one that lives speaks; rescue is how often lanes are
	// asked for jobs of nodes that died.
	ack, renew, rescue time.Duration
	// compare is how often what was heard is compared with what is kept;
	// silence is how long a lane may give nothing though there is a job in it.
	compare, silence time.Duration
	// answer is how long an answer is waited for, however long the caller
	// would: one that was lost with its server never comes.
	answer time.Duration
}

// A job of a node that died is with another within ack and rescue: 35 s.
var usualTimes = times{ack: 30 * time.Second, renew: 10 * time.Second, rescue: 5 * time.Second,
	compare: 10 * time.Second, silence: time.Minute, answer: 5 * time.Second}

func (o Options) withDefaults() Options {
	if o.Length == 0 {
		o.Length = 1000
	}
	if o.Bytes == 0 {
		o.Bytes = 1 << 30
	}
	if o.Finished == 0 {
		o.Finished = 10_000
	}
	if o.Expiry == 0 {
		o.Expiry = 24 * time.Hour
	}
	t, usual := &o.times, usualTimes
	for to, from := range map[*time.Duration]time.Duration{
		&t.ack: usual.ack, &t.renew: usual.renew, &t.rescue: usual.rescue, &t.compare: usual.compare, &t.silence: usual.silence,
		&t.answer: usual.answer,
	} {
		if *to == 0 {
			*to = from
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// sweepEvery is how often ended jobs are looked through.
func (o Options) sweepEvery() time.Duration {
	return min(max(o.Expiry/10, time.Second), time.Minute)
}
