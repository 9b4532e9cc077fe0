package bus

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The streams that buckets lie in, as the client library makes them, but for
// AllowDirect: what it opens while that is set asks any copy, and gets no
// answer once it is not. Changing it afterwards would cut off whoever opened
// the bucket at that moment.

// recordStream is the stream of a bucket of records.
func recordStream(c jetstream.KeyValueConfig) jetstream.StreamConfig {
	s := bucketStream("KV_"+c.Bucket, c.TTL, c.MaxBytes, c.Replicas)
	s.Subjects = []string{"$KV." + c.Bucket + ".>"}
	s.Storage, s.MaxMsgsPerSubject, s.DenyDelete = c.Storage, int64(max(c.History, 1)), true
	s.AllowMsgTTL, s.SubjectDeleteMarkerTTL = c.LimitMarkerTTL != 0, c.LimitMarkerTTL
	return s
}

// objectStream is the stream of a bucket of objects.
func objectStream(c jetstream.ObjectStoreConfig) jetstream.StreamConfig {
	s := bucketStream("OBJ_"+c.Bucket, c.TTL, c.MaxBytes, c.Replicas)
	s.Subjects = []string{"$O." + c.Bucket + ".C.>", "$O." + c.Bucket + ".M.>"}
	s.Storage = c.Storage
	return s
}

// bucketStream is what both have in common. A bound of 0 means none.
func bucketStream(name string, age time.Duration, bytes int64, replicas int) jetstream.StreamConfig {
	s := jetstream.StreamConfig{
		Name: name, MaxAge: age, MaxBytes: bytes, Replicas: max(replicas, 1), Discard: jetstream.DiscardNew, AllowRollup: true,
		MaxMsgs: -1, MaxConsumers: -1, MaxMsgSize: -1, Duplicates: 2 * time.Minute,
	}
	if bytes == 0 {
		s.MaxBytes = -1
	}
	if age > 0 {
		s.Duplicates = min(s.Duplicates, age) // the server wants it so
	}
	return s
}
