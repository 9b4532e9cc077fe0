package events

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// unlistenLimit is how long the client library may take to stop a consumer: it
// does not while it tries to make one on servers that do not answer.
const unlistenLimit = time.Second

// listen begins to hear all events, the newest of each job first.
func (l *JetStream) listen(ctx context.Context) error {
	c, err := l.js.OrderedConsumer(ctx, streamName, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy})
	if err != nil {
		return err
	}
	l.tail, err = c.Consume(l.hear)
	return err
}

func (l *JetStream) unlisten() {
	if l.tail == nil {
		return
	}
	tail, ended := l.tail, make(chan struct{})
	l.tail = nil
	go func() {
		defer close(ended)
		tail.Stop()
		<-tail.Closed()
	}()
	select {
	case <-ended:
	case <-time.After(unlistenLimit): // it ends with the connection
	}
}

// watchOver compares what was heard with what is kept, and listens anew if it
// has fallen behind: a consumer can fall silent when servers go and come.
func (l *JetStream) watchOver() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	l.work.Go(func() {
		<-l.stop
		cancel()
	})
	tick := time.NewTicker(l.options.compare)
	defer tick.Stop()
	last := comparison{begun: l.stream.CachedInfo().State.LastSeq}
	for {
		select {
		case <-tick.C:
			last = l.compare(ctx, last)
		case <-l.stop:
			return
		}
	}
}

// comparison is how far the stream had come when last looked at, and when the
// present consumer began: up to there nothing need come, as it may be purged.
type comparison struct{ newest, begun uint64 }

// compare listens anew if what was there at the last comparison was not heard
// of until now.
func (l *JetStream) compare(ctx context.Context, last comparison) comparison {
	info, err := l.stream.Info(ctx)
	if err != nil {
		return last // there is nothing to compare with, nor to listen to
	}
	newest := info.State.LastSeq
	l.mu.Lock()
	heard := l.heard
	l.mu.Unlock()
	if l.tail != nil && max(heard, last.begun) >= last.newest {
		return comparison{newest, last.begun}
	}
	l.options.Log.Warn("no events are heard; listening anew", "heard", heard, "newest", newest)
	l.unlisten()
	if err := l.listen(ctx); err != nil {
		return last
	}
	return comparison{newest, newest}
}
