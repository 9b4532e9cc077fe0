package bus

import (
	"context"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// prompt is JetStream with no question that waits longer than answerTimeout,
// however much time its caller has: an answer that was on its way through a
// server that died never comes, and the question can be asked again.
type prompt struct{ jetstream.JetStream }

func limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, answerTimeout)
}

func (p prompt) Publish(ctx context.Context, subject string, data []byte, o ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	return p.JetStream.Publish(ctx, subject, data, o...)
}

func (p prompt) PublishMsg(ctx context.Context, m *nats.Msg, o ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	return p.JetStream.PublishMsg(ctx, m, o...)
}

func (p prompt) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	s, err := p.JetStream.Stream(ctx, name)
	return promptStream{s}, err
}

func (p prompt) CreateOrUpdateStream(ctx context.Context, c jetstream.StreamConfig) (jetstream.Stream, error) {
	s, err := p.JetStream.CreateOrUpdateStream(ctx, c)
	return promptStream{s}, err
}

func (p prompt) CreateOrUpdateKeyValue(ctx context.Context, c jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	kv, err := p.JetStream.CreateOrUpdateKeyValue(ctx, c)
	return promptBucket{kv}, err
}

func (p prompt) KeyValue(ctx context.Context, bucket string) (jetstream.KeyValue, error) {
	kv, err := p.JetStream.KeyValue(ctx, bucket)
	return promptBucket{kv}, err
}

type promptStream struct{ jetstream.Stream }

func (s promptStream) Info(ctx context.Context, o ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	return s.Stream.Info(ctx, o...)
}

func (s promptStream) GetMsg(ctx context.Context, sequence uint64, o ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	return s.Stream.GetMsg(ctx, sequence, o...)
}

func (s promptStream) GetLastMsgForSubject(ctx context.Context, subject string) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	return s.Stream.GetLastMsgForSubject(ctx, subject)
}

func (s promptStream) DeleteMsg(ctx context.Context, sequence uint64) error {
	ctx, cancel := limited(ctx)
	defer cancel()
	return s.Stream.DeleteMsg(ctx, sequence)
}

func (s promptStream) Purge(ctx context.Context, o ...jetstream.StreamPurgeOpt) error {
	ctx, cancel := limited(ctx)
	defer cancel()
	return s.Stream.Purge(ctx, o...)
}

func (s promptStream) CreateOrUpdateConsumer(ctx context.Context, c jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	return s.Stream.CreateOrUpdateConsumer(ctx, c)
}

func (s promptStream) DeleteConsumer(ctx context.Context, name string) error {
	ctx, cancel := limited(ctx)
	defer cancel()
	return s.Stream.DeleteConsumer(ctx, name)
}

type promptBucket struct{ jetstream.KeyValue }

func (b promptBucket) Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	return b.KeyValue.Get(ctx, key)
}

func (b promptBucket) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	return b.KeyValue.Put(ctx, key, value)
}

func (b promptBucket) Create(ctx context.Context, key string, value []byte, o ...jetstream.KVCreateOpt) (uint64, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	return b.KeyValue.Create(ctx, key, value, o...)
}

func (b promptBucket) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	return b.KeyValue.Update(ctx, key, value, revision)
}

func (b promptBucket) Purge(ctx context.Context, key string, o ...jetstream.KVDeleteOpt) error {
	ctx, cancel := limited(ctx)
	defer cancel()
	return b.KeyValue.Purge(ctx, key, o...)
}

func (b promptBucket) Status(ctx context.Context) (jetstream.KeyValueStatus, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	return b.KeyValue.Status(ctx)
}
