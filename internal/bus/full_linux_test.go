package bus

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// TestDiskFull: on a full disk there is no room; when there is again, what was
// written is still there and more can be.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=32m"); err != nil {
		t.Skipf("no small disk can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	b := open(t, Options{Dir: dir})
	t.Cleanup(func() { b.Close() })
	kv, err := b.JetStream.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	put := func(key string, n int, limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		_, err := kv.Put(ctx, key, make([]byte, n))
		return err
	}
	if err := errors.Join(put("before", 1000, time.Second), b.Room()); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler")
	fill(t, filler)
	if err := b.Room(); !errors.Is(err, ErrFull) {
		t.Errorf("room on a full disk: %v", err)
	}
	if err := put("during", 100_000, 200*time.Millisecond); err == nil {
		t.Error("wrote to a full disk")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); put("after", 1000, time.Second) != nil; {
		if time.Now().After(deadline) {
			t.Fatal("nothing can be written though there is room again")
		}
	}
	if e, err := kv.Get(t.Context(), "before"); err != nil || len(e.Value()) != 1000 {
		t.Errorf("what was written before: %v", err)
	}
	if err := b.Room(); err != nil {
		t.Error(err)
	}
}

// fill writes a file until the disk is full.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}
