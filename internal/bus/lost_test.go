package bus

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// TestDamagedFile: a damaged file is told of, with the stream that it belongs to, and what stands before the damage is kept.
func TestDamagedFile(t *testing.T) {
	dir := t.TempDir()
	b := open(t, Options{Dir: dir})
	kv, err := b.JetStream.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"one", "two", "three"} {
		if _, err := kv.Put(t.Context(), key, bytes.Repeat([]byte(key), 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "jetstream", "jetstream", "$G", "streams", "KV_b", "msgs")
	if err := os.Remove(filepath.Join(folder, "index.db")); err != nil { // a killed server leaves none
		t.Fatal(err)
	}
	block := filepath.Join(folder, "1.blk")
	data, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(block, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	b, err = Open(Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	kv, err = b.JetStream.KeyValue(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Get(t.Context(), "one"); err != nil {
		t.Errorf("what stood before the damage: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "damaged") || !strings.Contains(log.String(), "stream=KV_b") {
		t.Errorf("the log does not tell of the damage:\n%s", &log)
	}
}
