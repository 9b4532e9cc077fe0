package bus

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// TestPutBytes: what is put can be read by the client library, which checks
// the digest; an object put in place of another leaves nothing of it behind.
func TestPutBytes(t *testing.T) {
	b, err := Open(Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	s, err := b.JetStream.CreateOrUpdateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: "things"})
	if err != nil {
		t.Fatal(err)
	}
	chacha := rand.NewChaCha8([32]byte{})
	for _, size := range []int{0, 1, chunkBytes - 1, chunkBytes, chunkBytes + 1, 5*chunkBytes + 7, 3} {
		data := make([]byte, size)
		chacha.Read(data)
		if _, err := s.PutBytes(t.Context(), "job one/0", data); err != nil {
			t.Fatal(err)
		}
		if got, err := s.GetBytes(t.Context(), "job one/0"); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes come back as %d, %v", size, len(got), err)
		}
		stream, err := b.JetStream.Stream(t.Context(), "OBJ_things")
		if err != nil {
			t.Fatal(err)
		}
		if n, want := stream.CachedInfo().State.Msgs, uint64(1+(size+chunkBytes-1)/chunkBytes); n != want {
			t.Errorf("%d messages after an object of %d bytes, want %d", n, size, want)
		}
	}
	if err := s.Delete(t.Context(), "job one/0"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.GetBytes(t.Context(), "job one/0"); !errors.Is(err, jetstream.ErrObjectNotFound) {
		t.Errorf("a deleted object: %v", err)
	}
	if _, err := s.PutBytes(t.Context(), "job one/0", []byte("again")); err != nil {
		t.Fatal(err)
	}
	if got, err := s.GetBytes(t.Context(), "job one/0"); err != nil || string(got) != "again" {
		t.Errorf("put after its end: %q, %v", got, err)
	}
}
