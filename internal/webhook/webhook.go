// Package webhook tells a URL that a job has ended, if the job's request names
// one: a signed POST, tried again until it is taken.
//
// A watch on the queue puts a message for each such job into a stream of NATS
// JetStream; the stream's one consumer, which all processes share, hands it to
// one of them at a time and gives it again later if nobody took it. The message
// stays in the stream for longer than the job's record lives, so that the
// stream itself knows which jobs it has been told of: what a crash kept from
// being told is found by comparing the records with it.
//
// Files: hosts.go says where webhooks may go, announce.go fills the stream,
// deliver.go empties it, post.go is one request.
package webhook

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"waggle/internal/queue"
)

const (
	streamName = "waggle-webhooks"
	subjects   = "waggle.webhooks."
	consumer   = "waggle-webhooks"
	urlHeader  = "Waggle-Webhook"

	// storedLimit bounds the stream beyond the records that are kept; it is
	// there for a receiver that is gone while very many jobs end.
	storedLimit = 100_000
	// clockSlack is how far the clocks of processes may be apart.
	clockSlack = time.Hour
)

// Options say what is sent where. Secret and Hosts are needed for anything to
// be sent; zero values of the rest mean the defaults.
type Options struct {
	Secret []byte // key of the signatures; Open wants SecretMin bytes
	Hosts  Hosts  // where webhooks may go

	Expiry   time.Duration // how long an ended job's record is kept; default 24 h
	Finished int           // how many records of ended jobs are kept; default 10,000
	Replicas int           // on how many servers of a cluster; default 1
	Version  string        // of this program, for the receiver
	Log      *slog.Logger  // default: none

	times times // tests make them short
}

// times are those of the traffic with receivers and with the stream.
type times struct {
	first, most time.Duration // between two tries
	giveUp      time.Duration // when a webhook is tried no more
	timeout     time.Duration // of a try
	silence     time.Duration // of a process, before its webhook goes to another
	sweep       time.Duration // between two comparisons of records and stream
}

var usualTimes = times{
	first: time.Second, most: time.Hour, giveUp: 24 * time.Hour,
	timeout: 10 * time.Second, silence: 20 * time.Second, sweep: time.Minute,
}

func (o Options) withDefaults() Options {
	if o.Expiry == 0 {
		o.Expiry = 24 * time.Hour
	}
	if o.Finished == 0 {
		o.Finished = 10_000
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.times == (times{}) {
		o.times = usualTimes
	}
	return o
}

// kept is how long a message stays: longer than the record of its job, and
// until it is tried no more.
func (o Options) kept() time.Duration { return o.Expiry + o.times.giveUp + 2*clockSlack }

// Sender sends the webhooks of a queue's jobs. A nil Sender sends none.
type Sender struct {
	options Options
	queue   queue.Queue
	js      jetstream.JetStream
	stream  jetstream.Stream
	queued  jetstream.Consumer // of the stream, for all processes; nil: to be made
	client  *http.Client
	places  places

	stop context.CancelFunc
	work sync.WaitGroup
}

// Open makes the stream if it is not there, sees to it that the webhooks of all
// jobs that have ended are in it, and begins to send. Close it before the queue.
func Open(ctx context.Context, js jetstream.JetStream, q queue.Queue, o Options) (*Sender, error) {
	s := &Sender{options: o.withDefaults(), queue: q, js: js, places: places{taken: map[string]int{}}}
	s.client = newClient(s.options.times.timeout)
	watch, err := s.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open webhooks: %w", err)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.work.Go(func() { s.announce(running, watch) })
	s.work.Go(func() { s.sweepOften(running) })
	s.work.Go(func() { s.consume(running) })
	return s, nil
}

// open begins to watch before it looks at what there is: nothing falls between.
func (s *Sender) open(ctx context.Context) (watch queue.Watcher, err error) {
	if len(s.options.Secret) < SecretMin {
		return nil, fmt.Errorf("the secret has %d bytes, want at least %d", len(s.options.Secret), SecretMin)
	}
	s.stream, err = s.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: streamName, Subjects: []string{subjects + "*.*"}, Replicas: max(s.options.Replicas, 1),
		MaxAge: s.options.kept(), MaxMsgs: int64(s.options.Finished) + storedLimit,
	})
	if err != nil {
		return nil, err
	}
	if err := s.join(ctx); err != nil {
		s.options.Log.Warn("ask for queued webhooks; it will be tried again", "error", err)
	}
	if watch, err = s.queue.Watch(ctx, ""); err == nil {
		s.makeUp(ctx)
	}
	return watch, err
}

// join opens the consumer, and makes it if it is not there.
func (s *Sender) join(ctx context.Context) error {
	c, err := s.stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: consumer, AckPolicy: jetstream.AckExplicitPolicy, AckWait: s.options.times.silence, MaxAckPending: -1,
	})
	if err == nil {
		s.queued = c
	}
	return err
}

// Close stops sending. A request under way is abandoned, and made again later.
func (s *Sender) Close() {
	if s == nil {
		return
	}
	s.stop()
	s.work.Wait()
}
