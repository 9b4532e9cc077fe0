package queue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"waggle/internal/job"
)

// subjects of the stream of jobs: priority, model and client follow, and for a
// job that was moved its own id.
const jobSubjects = "waggle.jobs"

// lane is a subject of the stream of jobs, with a durable consumer that all
// nodes share: the line of one client's jobs for one model at one priority, or
// one job that was moved in that line. Model, client and job are digests, as
// subjects cannot hold every text.
type lane struct {
	priority      job.Priority
	model, client string
	moved         string // empty for the line
}

func laneOf(s stored) lane {
	l := lane{priority: priorityOf(s.Record), model: token(s.Record.Request.Model), client: token(s.Client)}
	if s.Moved != nil {
		l.moved = token(string(s.ID))
	}
	return l
}

func (l lane) subject() string  { return jobSubjects + "." + l.key(".") }
func (l lane) consumer() string { return l.key("-") }

func (l lane) key(between string) string {
	key := string(l.priority) + between + l.model + between + l.client
	if l.moved != "" {
		key += between + l.moved
	}
	return key
}

func token(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:6])
}

// laneConsumer is the consumer of a lane and when it was last asked.
type laneConsumer struct {
	jetstream.Consumer
	used time.Time
}

// errNoAnswer: a lane's consumer did not say whether it has a message.
var errNoAnswer = errors.New("queue: the lane does not answer")

// answerTimeout is how long the client library waits for that answer.
const answerTimeout = time.Second

// fetch takes the first message of a lane; nil if it has none.
func (q *JetStream) fetch(ctx context.Context, from lane) (jetstream.Msg, error) {
	c, err := q.consumer(ctx, from)
	if err != nil {
		return nil, err
	}
	asked := time.Now()
	batch, err := c.FetchNoWait(1)
	if err == nil {
		for m := range batch.Messages() {
			return m, nil
		}
		if err = batch.Error(); err == nil && time.Since(asked) >= answerTimeout {
			err = errNoAnswer
		}
	}
	if err != nil { // it may have been removed for being idle, or with its server
		q.mu.Lock()
		delete(q.consumers, from)
		q.mu.Unlock()
	}
	return nil, err
}

// consumer returns the durable consumer of a lane, made if it is not there.
func (q *JetStream) consumer(ctx context.Context, of lane) (jetstream.Consumer, error) {
	q.mu.Lock()
	c, ok := q.consumers[of]
	if ok {
		c.used = time.Now()
	}
	q.mu.Unlock()
	if ok {
		return c, nil
	}
	ctx, cancel := context.WithTimeout(ctx, q.options.times.answer)
	defer cancel()
	made, err := q.makeConsumer(ctx, of, of.consumer())
	if damaged(err) { // the line may have a spare one since an earlier start
		q.options.Log.Warn("the server cannot read its file of a line's consumer; another takes its place", "consumer", of.consumer(), "error", err)
		made, err = q.makeConsumer(ctx, of, of.consumer()+spareName)
	}
	if err != nil {
		return nil, fmt.Errorf("consumer of a lane: %w", err)
	}
	q.mu.Lock()
	q.consumers[of] = &laneConsumer{made, time.Now()}
	q.mu.Unlock()
	return made, nil
}

func (q *JetStream) makeConsumer(ctx context.Context, of lane, name string) (jetstream.Consumer, error) {
	return q.jobs.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: name, FilterSubject: of.subject(), InactiveThreshold: laneIdle,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: q.options.times.ack, MaxDeliver: -1, MaxAckPending: -1,
	})
}

// spareName follows the name of a consumer in place of a damaged one.
const spareName = "-spare"

// damaged reports whether the server has a consumer's file and cannot read it,
// as after a power cut: then it neither gives the consumer nor makes one of its
// name, and it cannot be removed. Once a line has a spare consumer the server
// says instead that it has one.
func damaged(err error) bool {
	var refused *jetstream.APIError
	if !errors.As(err, &refused) {
		return false
	}
	switch refused.ErrorCode { // by the names of nats-server
	case 10012, 10104, 10100: // JSConsumerCreateErrF, JSConsumerStoreFailedErrF, JSConsumerWQConsumerNotUniqueErr
		return true
	}
	return false
}

// closeLane removes the consumer of a job that was moved, when the job is
// through with its lane. The server would do so in time.
func (q *JetStream) closeLane(ctx context.Context, s stored) {
	if s.Moved == nil {
		return
	}
	of := laneOf(s)
	q.mu.Lock()
	delete(q.consumers, of)
	q.mu.Unlock()
	if err := q.jobs.DeleteConsumer(ctx, of.consumer()); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		q.options.Log.Debug("remove the consumer of a lane", "lane", of.consumer(), "error", err)
	}
}

// forgetLanes lets go of consumers that were not asked for long, before the
// server removes them.
func (q *JetStream) forgetLanes(now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for of, c := range q.consumers {
		if now.Sub(c.used) > laneIdle/2 {
			delete(q.consumers, of)
		}
	}
	for of, asked := range q.rescued {
		if now.Sub(asked) > laneIdle {
			delete(q.rescued, of)
		}
	}
}
