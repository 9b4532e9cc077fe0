package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// TestOpenTogether: of many who open buckets at the same moment, for the first
// time and later, each can read what is in them.
func TestOpenTogether(t *testing.T) {
	_, address := serve(t, nil)
	var all []*Bus
	for range 8 {
		b, err := Open(Options{URLs: []string{"nats://" + address}, Guest: len(all)%4 == 3})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		all = append(all, b)
	}
	for round := range 6 {
		name := fmt.Sprint("b", round/2)
		var together sync.WaitGroup
		var opened sync.WaitGroup
		opened.Add(len(all))
		for _, b := range all {
			together.Go(func() {
				kv, objects, err := buckets(t.Context(), b, name)
				opened.Done()
				if err != nil {
					t.Error(err)
					return
				}
				opened.Wait()
				if _, err := kv.Get(t.Context(), "nothing"); !errors.Is(err, jetstream.ErrKeyNotFound) {
					t.Errorf("round %d: a record that is not there: %v", round, err)
				}
				if _, err := objects.GetInfo(t.Context(), "nothing"); !errors.Is(err, jetstream.ErrObjectNotFound) {
					t.Errorf("round %d: an object that is not there: %v", round, err)
				}
			})
		}
		together.Wait()
	}
}

func buckets(ctx context.Context, b *Bus, name string) (kv jetstream.KeyValue, objects jetstream.ObjectStore, err error) {
	kv, err = b.JetStream.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: name, TTL: time.Minute})
	if err == nil {
		objects, err = b.JetStream.CreateOrUpdateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: name, TTL: time.Hour})
	}
	return kv, objects, err
}

// TestOpenOld: buckets as the client library makes them are taken over as they are.
func TestOpenOld(t *testing.T) {
	_, address := serve(t, nil)
	b, err := Open(Options{URLs: []string{"nats://" + address}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	library, err := jetstream.New(b.conn)
	if err != nil {
		t.Fatal(err)
	}
	records := jetstream.KeyValueConfig{Bucket: "b", LimitMarkerTTL: time.Minute, Storage: jetstream.MemoryStorage}
	things := jetstream.ObjectStoreConfig{Bucket: "b", TTL: time.Hour, MaxBytes: 1 << 20}
	old, err := library.CreateOrUpdateKeyValue(t.Context(), records)
	if err == nil {
		_, err = old.PutString(t.Context(), "key", "value")
	}
	if err == nil {
		_, err = library.CreateOrUpdateObjectStore(t.Context(), things)
	}
	if err != nil {
		t.Fatal(err)
	}
	streams := []string{"KV_b", "OBJ_b"}
	var was, is []jetstream.StreamConfig
	for _, list := range []*[]jetstream.StreamConfig{&was, &is} {
		for _, name := range streams {
			s, err := library.Stream(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			*list = append(*list, s.CachedInfo().Config)
		}
		if list == &is {
			break
		}
		kv, err := b.JetStream.CreateOrUpdateKeyValue(t.Context(), records)
		if err == nil {
			_, err = b.JetStream.CreateOrUpdateObjectStore(t.Context(), things)
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, err := kv.Get(t.Context(), "key"); err != nil || string(e.Value()) != "value" {
			t.Errorf("what was in it: %v", err)
		}
	}
	for i, name := range streams {
		was[i].AllowDirect = false
		if diff := cmp.Diff(was[i], is[i]); diff != "" {
			t.Errorf("%s is another:\n%s", name, diff)
		}
	}
}
