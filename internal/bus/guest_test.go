package bus

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// TestGuest: a guest leaves streams and buckets as those made them whose they
// are, and makes what is not there.
func TestGuest(t *testing.T) {
	_, address := serve(t, nil)
	join := func(guest bool) jetstream.JetStream {
		t.Helper()
		b, err := Open(Options{URLs: []string{"nats://" + address}, Guest: guest})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		return b.JetStream
	}
	// make makes or changes a stream and a bucket of each kind, and returns how old things may get in them.
	make := func(js jetstream.JetStream, name string, age time.Duration) (ages [3]time.Duration) {
		t.Helper()
		_, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: name, MaxAge: age})
		if err == nil {
			_, err = js.CreateOrUpdateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: name, TTL: age})
		}
		if err == nil {
			_, err = js.CreateOrUpdateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: name, TTL: age})
		}
		for i, stream := range []string{name, "KV_" + name, "OBJ_" + name} {
			var s jetstream.Stream
			if err == nil {
				s, err = js.Stream(t.Context(), stream)
			}
			if err != nil {
				t.Fatal(err)
			}
			ages[i] = s.CachedInfo().Config.MaxAge
		}
		return ages
	}
	const host, guest = time.Hour, 2 * time.Hour
	for _, row := range []struct {
		what  string
		guest bool
		name  string
		age   time.Duration
		want  time.Duration
	}{
		{"the host makes", false, "a", host, host},
		{"the guest finds", true, "a", guest, host},
		{"the guest makes", true, "b", guest, guest},
		{"the host changes", false, "b", host, host},
	} {
		if got := make(join(row.guest), row.name, row.age); got != [3]time.Duration{row.want, row.want, row.want} {
			t.Errorf("%s: things may be %v old, want %v", row.what, got, row.want)
		}
	}
}
