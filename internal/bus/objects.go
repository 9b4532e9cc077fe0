package bus

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// chunkBytes is the size of an object's parts, that of the client library.
const chunkBytes = 128 << 10

// promptObjects is an object store that waits for each answer in turn. The
// client library publishes an object's parts all at once and has a goroutine
// for that, which in nats.go 1.55.0 stays for ever where it comes to run only
// after the object is there.
type promptObjects struct {
	jetstream.ObjectStore
	js     prompt
	bucket string
}

func (p prompt) CreateOrUpdateObjectStore(ctx context.Context, c jetstream.ObjectStoreConfig) (jetstream.ObjectStore, error) {
	s, err := p.JetStream.CreateOrUpdateObjectStore(ctx, c)
	return promptObjects{s, p, c.Bucket}, err
}

func (p prompt) ObjectStore(ctx context.Context, bucket string) (jetstream.ObjectStore, error) {
	s, err := p.JetStream.ObjectStore(ctx, bucket)
	return promptObjects{s, p, bucket}, err
}

// PutBytes implements jetstream.ObjectStore: the parts, what tells of them in
// place of what told of an earlier object of the name, and the end of that
// one's parts (the layout of NATS' architecture decision record 20).
func (o promptObjects) PutBytes(ctx context.Context, name string, data []byte) (*jetstream.ObjectInfo, error) {
	before, err := o.GetInfo(ctx, name, jetstream.GetObjectInfoShowDeleted())
	if err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, err
	}
	digest := sha256.New()
	digest.Write(data)
	info := &jetstream.ObjectInfo{
		ObjectMeta: jetstream.ObjectMeta{Name: name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: chunkBytes}},
		Bucket:     o.bucket, NUID: uuid.NewString(), Size: uint64(len(data)), Digest: jetstream.GetObjectDigestValue(digest),
	}
	if err := o.putParts(ctx, info, data); err != nil {
		o.dropParts(ctx, info)
		return nil, err
	}
	if before != nil && !before.Deleted {
		o.dropParts(ctx, before)
	}
	return info, nil
}

// putParts publishes an object's parts and then info, which tells of them.
func (o promptObjects) putParts(ctx context.Context, info *jetstream.ObjectInfo, data []byte) error {
	for part := range slices.Chunk(data, chunkBytes) {
		if _, err := o.js.Publish(ctx, o.parts(info), part); err != nil {
			return err
		}
		info.Chunks++
	}
	text, err := json.Marshal(info)
	if err != nil {
		return err
	}
	subject := fmt.Sprintf("$O.%s.M.%s", o.bucket, base64.URLEncoding.EncodeToString([]byte(info.Name)))
	m := &nats.Msg{Subject: subject, Header: nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}}, Data: text}
	_, err = o.js.PublishMsg(ctx, m)
	return err
}

func (o promptObjects) parts(info *jetstream.ObjectInfo) string {
	return fmt.Sprintf("$O.%s.C.%s", o.bucket, info.NUID)
}

// dropParts removes an object's parts. Where it cannot, they go with their age.
func (o promptObjects) dropParts(ctx context.Context, info *jetstream.ObjectInfo) {
	ctx = context.WithoutCancel(ctx)
	if s, err := o.js.Stream(ctx, "OBJ_"+o.bucket); err == nil {
		_ = s.Purge(ctx, jetstream.WithPurgeSubject(o.parts(info)))
	}
}
