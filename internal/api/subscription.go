package api

import (
	"context"
	"errors"
	"sync"

	"waggle/internal/events"
	"waggle/internal/job"
	"waggle/internal/stream"
)

// everyJob subscribes to the states of all jobs.
const everyJob job.ID = "*"

// subscription is one job a socket listens to. It ends by itself behind the
// job's last event.
type subscription struct {
	socket  *socket
	id      job.ID
	record  job.Record // as it was when the subscription began; empty for all jobs
	cancel  context.CancelFunc
	preview string // "latent", "png" or "none"
}

// subscribe opens a job's events behind number c.After, its states and, as
// wanted, its previews. A second subscription to a job replaces the first.
func (k *socket) subscribe(ctx context.Context, c command, answer reply) error {
	if c.Preview == "" {
		c.Preview = "latent"
	}
	if c.Preview != "latent" && c.Preview != "png" && c.Preview != "none" {
		return job.Errorf(job.InvalidInput, "preview must be one of latent, png, none, got %.40q", c.Preview)
	}
	var record job.Record
	if c.Job != everyJob {
		var err error
		if record, err = k.server.Queue.Get(ctx, c.Job); err != nil {
			return err
		}
	}
	k.unsubscribe(c.Job)
	ctx, cancel := context.WithCancel(ctx)
	sub := &subscription{socket: k, id: c.Job, record: record, cancel: cancel, preview: c.Preview}
	if !k.add(sub) {
		cancel()
		return job.Errorf(job.InvalidInput, "more than %d subscriptions on one connection", subscriptionsLimit)
	}
	k.say(ctx, answer)
	k.work.Go(func() {
		defer k.drop(sub)
		if err := sub.run(ctx, c.After); err != nil && ctx.Err() == nil {
			k.refuse(ctx, c.Ref, err)
		}
	})
	return nil
}

func (k *socket) add(sub *subscription) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.subs) >= subscriptionsLimit {
		return false
	}
	k.subs[sub.id] = sub
	return true
}

// drop ends a subscription and forgets it, unless another has its place.
func (k *socket) drop(sub *subscription) {
	sub.cancel()
	k.frames.drop(sub)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.subs[sub.id] == sub {
		delete(k.subs, sub.id)
	}
}

func (k *socket) unsubscribe(id job.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if sub, ok := k.subs[id]; ok {
		sub.cancel()
		delete(k.subs, id)
	}
}

// run sends what there is until the job ends or ctx does.
func (sub *subscription) run(ctx context.Context, after uint64) error {
	if sub.id == everyJob {
		return sub.states(ctx, "")
	}
	alongside, cancel := context.WithCancel(ctx)
	var aside sync.WaitGroup
	aside.Go(func() { sub.log(alongside, "states", sub.states(alongside, sub.id)) })
	if sub.preview != "none" {
		aside.Go(func() { sub.log(alongside, "previews", sub.previews(alongside)) })
	}
	last, err := sub.events(ctx, after)
	cancel()
	aside.Wait()
	if err != nil {
		return err
	}
	return sub.end(ctx, last)
}

// log notes why a part of a subscription ended early.
func (sub *subscription) log(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil && !errors.Is(err, events.ErrEnd) {
		sub.socket.server.Log.Warn("subscription", "part", what, "job", sub.id, "error", err)
	}
}

// events sends the job's events, up to the last one, which it returns; nil if
// the client had it already.
func (sub *subscription) events(ctx context.Context, after uint64) (*job.Event, error) {
	s := sub.socket.server
	reader, err := s.Events.Read(ctx, sub.id, after)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	for {
		e, err := s.jobs.Next(ctx, reader)
		switch {
		case errors.Is(err, stream.ErrSilence):
			s.jobs.CheckEnd(ctx, sub.id)
		case errors.Is(err, events.ErrEnd):
			return nil, nil
		case err != nil:
			return nil, err
		case e.Final():
			return &e, nil
		default:
			sub.socket.sayEvent(ctx, sub.id, stream.Bare(e)) // a preview's picture comes in a binary message
		}
	}
}

// end sends the job's final state and then its last event.
func (sub *subscription) end(ctx context.Context, last *job.Event) error {
	k := sub.socket
	record, err := k.server.Queue.Get(ctx, sub.id)
	if err != nil {
		return err
	}
	k.say(ctx, sub.state(ctx, record))
	if last != nil {
		k.sayEvent(ctx, sub.id, k.server.jobs.Wire(ctx, sub.record, *last))
	}
	return nil
}

func (sub *subscription) state(ctx context.Context, r job.Record) reply {
	shown := sub.socket.server.jobs.Report(ctx, r)
	return reply{Type: "state", Job: r.ID, State: r.State, Record: &shown}
}

// states sends changed records of one job, or of all if id is empty.
func (sub *subscription) states(ctx context.Context, id job.ID) error {
	watcher, err := sub.socket.server.Queue.Watch(ctx, id)
	if err != nil {
		return err
	}
	defer watcher.Close()
	for {
		record, err := watcher.Next(ctx)
		if err != nil {
			return err
		}
		if id != "" && record.State.Final() {
			return nil // end sends it, before the last event
		}
		sub.socket.say(ctx, sub.state(ctx, record))
	}
}

// previews keeps the socket's box filled with the job's newest preview.
func (sub *subscription) previews(ctx context.Context) error {
	s := sub.socket.server
	reader, err := s.Events.Previews(ctx, sub.id)
	if err != nil {
		return err
	}
	defer reader.Close()
	for {
		p, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		sub.socket.frames.put(sub, p)
	}
}

func (sub *subscription) frame(ctx context.Context, p job.Preview) ([]byte, error) {
	if sub.preview == "latent" {
		return latentFrame(sub.id, p), nil
	}
	png, err := sub.socket.server.jobs.Draw(ctx, sub.id, p)
	if err != nil {
		return nil, err
	}
	return pngFrame(sub.id, p, png), nil
}
