package webhook

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// sendersLimit is how many requests are made at a time, senderLimit how
	// many to one host: one that hangs does not hold up the others.
	sendersLimit = 16
	senderLimit  = 4
	// troubleWait is the pause after an error of the stream.
	troubleWait = time.Second
)

// errBusy: enough requests are being made to this host.
var errBusy = errors.New("other webhooks are being sent to this host")

// places count the requests being made to each host.
type places struct {
	mu    sync.Mutex
	taken map[string]int
}

func (p *places) take(host string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken[host] >= senderLimit {
		return false
	}
	p.taken[host]++
	return true
}

func (p *places) leave(host string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken[host]--; p.taken[host] == 0 {
		delete(p.taken, host)
	}
}

// consume takes messages from the stream until ctx ends. It makes the consumer
// again if that is gone.
func (s *Sender) consume(ctx context.Context) {
	free := make(chan struct{}, sendersLimit)
	for ctx.Err() == nil {
		err := s.consumeFrom(ctx, free)
		if err == nil || ctx.Err() != nil {
			continue
		}
		s.options.Log.Warn("read queued webhooks; this will be tried again", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(troubleWait):
		}
		s.queued = nil
	}
}

// consumeFrom takes messages until there is an error, each when there is a
// place in free: none waits here while the stream counts its time.
func (s *Sender) consumeFrom(ctx context.Context, free chan struct{}) error {
	if s.queued == nil {
		if err := s.join(ctx); err != nil {
			return err
		}
	}
	for {
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		m, err := s.next(ctx)
		if m == nil {
			<-free
			if err != nil {
				return err
			}
			continue
		}
		s.work.Go(func() {
			s.deliver(ctx, m)
			<-free
		})
	}
}

// next returns a message, or nil if there was none for a while.
func (s *Sender) next(ctx context.Context) (jetstream.Msg, error) {
	batch, err := s.queued.Fetch(1, jetstream.FetchContext(ctx))
	if err != nil {
		return nil, err
	}
	m, ok := <-batch.Messages()
	if !ok {
		return nil, batch.Error()
	}
	return m, nil
}

// deliver makes one try and tells the stream what became of it. Should it not
// hear, the webhook is sent again: at least once is what is promised.
func (s *Sender) deliver(ctx context.Context, m jetstream.Msg) {
	log := s.options.Log.With("job", jobOf(m.Subject()))
	about, err := m.Metadata()
	if err != nil {
		log.Error("a queued webhook cannot be read", "error", err)
		return
	}
	age := time.Since(about.Timestamp)
	err = s.try(ctx, m)
	switch {
	case err == nil:
		log.Info("webhook taken")
		err = m.Ack()
	case ctx.Err() != nil:
		err = m.Nak()
	case errors.Is(err, errGone) || age >= s.options.times.giveUp:
		log.Warn("webhook given up", "after", age.Round(time.Second), "error", err)
		err = m.TermWithReason("given up")
	default:
		pause := s.options.times.pause(age)
		log.Info("webhook not taken; it will be sent again", "in", pause.Round(time.Millisecond), "error", err)
		err = m.NakWithDelay(pause)
	}
	if err != nil {
		log.Warn("tell the stream about a webhook; it may be sent again", "error", err)
	}
}

// try sends a message's webhook, if it may still go where it shall.
func (s *Sender) try(ctx context.Context, m jetstream.Msg) error {
	var u *url.URL
	u, err := s.options.Hosts.parse(m.Headers().Get(urlHeader))
	if err != nil {
		return err
	}
	if !s.places.take(u.Host) {
		return errBusy
	}
	defer s.places.leave(u.Host)
	return s.post(ctx, u, m.Data())
}

// pause is the time to the next try: as long again as the webhook has waited
// so far, so that each is about double the one before; a quarter more or less,
// lest many come at once.
func (t times) pause(age time.Duration) time.Duration {
	d := min(max(age, t.first), t.most)
	return d*3/4 + rand.N(d/2)
}
