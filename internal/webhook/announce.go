package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"waggle/internal/job"
	"waggle/internal/queue"
)

// Body is what a receiver is told: how the job ended and where its pictures
// are, not the pictures themselves.
type Body struct {
	JobID    job.ID    `json:"job_id"`
	State    job.State `json:"state"`
	Kind     job.Kind  `json:"kind,omitempty"`
	Message  string    `json:"message,omitempty"`
	Seed     uint64    `json:"seed"`
	Pictures []Picture `json:"pictures"`
	Created  time.Time `json:"created"`
	Finished time.Time `json:"finished"`
}

// Picture is a finished picture. URL is a path on the server.
type Picture struct {
	job.Picture
	URL string `json:"url"`
}

func bodyOf(r job.Record) Body {
	b := Body{
		JobID: r.ID, State: r.State, Kind: r.Kind, Message: r.Message, Seed: r.Seed,
		Pictures: []Picture{}, Created: r.Created, Finished: r.Finished,
	}
	for i, p := range r.Pictures {
		b.Pictures = append(b.Pictures, Picture{p, fmt.Sprintf("/v1/jobs/%s/image/%d", r.ID, i)})
	}
	return b
}

// subjectOf names the one message of a job. An id that a client uses again,
// after the first job's record is gone, is another job.
func subjectOf(r job.Record) string {
	return subjects + string(r.ID) + "." + strconv.FormatInt(r.Created.UnixMicro(), 36)
}

// jobOf is the job that a subject speaks of.
func jobOf(subject string) string {
	id, _, _ := strings.Cut(strings.TrimPrefix(subject, subjects), ".")
	return id
}

func wanted(r job.Record) bool { return r.State.Final() && r.Request.Webhook != nil }

// announce puts every job that ends into the stream, until ctx ends.
func (s *Sender) announce(ctx context.Context, watch queue.Watcher) {
	defer watch.Close()
	for {
		r, err := watch.Next(ctx)
		if err != nil {
			return // closing
		}
		if !wanted(r) {
			continue
		}
		if err := s.put(ctx, r); err != nil && ctx.Err() == nil {
			s.options.Log.Warn("queue a webhook; it will be tried again", "job", r.ID, "error", err)
		}
	}
}

// put writes the message of a job, unless it has been written before.
func (s *Sender) put(ctx context.Context, r job.Record) error {
	data, err := json.Marshal(bodyOf(r))
	if err != nil {
		return err
	}
	m := &nats.Msg{Subject: subjectOf(r), Header: nats.Header{urlHeader: {r.Request.Webhook.URL}}, Data: data}
	_, err = s.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(0))
	if known(err) {
		return nil
	}
	return err
}

// known reports whether a message was refused because its subject has one.
func known(err error) bool {
	var refused *jetstream.APIError
	return errors.As(err, &refused) && (refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// sweepOften makes up for what announce could not do, until ctx ends.
func (s *Sender) sweepOften(ctx context.Context) {
	tick := time.NewTicker(s.options.times.sweep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.makeUp(ctx)
	}
}

// makeUp sweeps. What that cannot do now is done the next time.
func (s *Sender) makeUp(ctx context.Context) {
	if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
		s.options.Log.Warn("look for jobs whose webhook is not queued; it will be tried again", "error", err)
	}
}

// sweep puts ended jobs into the stream that it does not know. It leaves out
// those that ended so long ago that it may have forgotten them.
func (s *Sender) sweep(ctx context.Context) error {
	records, err := s.queue.List(ctx, queue.Filter{})
	if err != nil {
		return err
	}
	oldest := time.Now().Add(clockSlack - s.options.kept())
	var missing []job.Record
	for _, r := range records {
		if wanted(r) && r.Finished.After(oldest) {
			missing = append(missing, r)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	info, err := s.stream.Info(ctx, jetstream.WithSubjectFilter(subjects+">"))
	if err != nil {
		return fmt.Errorf("read which webhooks are queued: %w", err)
	}
	for _, r := range missing {
		if _, queued := info.State.Subjects[subjectOf(r)]; queued {
			continue
		}
		if err := s.put(ctx, r); err != nil {
			return fmt.Errorf("queue the webhook of %s: %w", r.ID, err)
		}
	}
	return nil
}
