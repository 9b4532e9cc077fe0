package store

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"waggle/internal/bus"
	"waggle/internal/job"
	"waggle/internal/natstest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, natstest.Leaks()...)
}

// connect starts a server in this process on a folder.
func connect(t *testing.T, dir string) *bus.Bus {
	t.Helper()
	b, err := bus.Open(bus.Options{Dir: dir, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func open(t *testing.T, b *bus.Bus, o Options) *Objects {
	t.Helper()
	s, err := Open(t.Context(), b.JetStream, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t *testing.T, s Store, id job.ID, index int, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), id, index, data); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, s Store, id job.ID, index int, data []byte) {
	t.Helper()
	got, err := s.Get(t.Context(), id, index)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%s/%d: got %d bytes, %v, want %d", id, index, len(got), err, len(data))
	}
}

func absent(t *testing.T, s Store, id job.ID, index int) {
	t.Helper()
	if _, err := s.Get(t.Context(), id, index); !errors.Is(err, ErrNotFound) {
		t.Errorf("%s/%d: %v, want ErrNotFound", id, index, err)
	}
}

// picture is n bytes that differ from those of other seeds.
func picture(seed byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = seed + byte(i*7>>3)
	}
	return b
}

// TestPictures: what is put is there, after a restart too.
func TestPictures(t *testing.T) {
	dir := t.TempDir()
	b := connect(t, dir)
	s := open(t, b, Options{})
	large := picture(3, 3_000_000) // many parts
	put(t, s, "a", 0, picture(1, 10))
	put(t, s, "a", 1, picture(2, 100))
	put(t, s, "b", 0, large)
	put(t, s, "a", 0, picture(9, 20))
	s.Close()
	b.Close()

	s = open(t, connect(t, dir), Options{})
	want(t, s, "a", 0, picture(9, 20))
	want(t, s, "a", 1, picture(2, 100))
	want(t, s, "b", 0, large)
	absent(t, s, "a", 2)
	for range 2 { // removing nothing is no error
		if err := s.Remove(t.Context(), "a"); err != nil {
			t.Error(err)
		}
	}
	absent(t, s, "a", 0)
	absent(t, s, "a", 1)
	want(t, s, "b", 0, large)
	put(t, s, "a", 0, picture(4, 30))
	want(t, s, "a", 0, picture(4, 30))
}

func TestHostileNames(t *testing.T) {
	s := open(t, connect(t, t.TempDir()), Options{})
	for _, id := range []job.ID{"..", "", ".", "a/../..", "a.b", ">", "*"} {
		absent(t, s, id, 0)
		if err := s.Put(t.Context(), id, 0, nil); err == nil {
			t.Errorf("stored under %q", id)
		}
		if err := s.Remove(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	absent(t, s, "a", -1)
}

func TestWriteFails(t *testing.T) {
	s := open(t, connect(t, t.TempDir()), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Put(ctx, "a", 0, picture(1, 10)); err == nil {
		t.Error("no error for a picture that was not written")
	}
	absent(t, s, "a", 0)
}

// TestBytes: when all together are too large, the oldest go.
func TestBytes(t *testing.T) {
	s := open(t, connect(t, t.TempDir()), Options{Bytes: 100_000})
	for i := range byte(5) {
		put(t, s, job.NewID(), 0, picture(i, 15_000)) // 75 kB, and something for their descriptions
	}
	put(t, s, "new", 0, picture(9, 15_000))
	if err := s.clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list, err := s.bucket.List(t.Context()); err != nil || len(list) != 6 {
		t.Errorf("%d pictures, %v: all six fit", len(list), err)
	}
	put(t, s, "newest", 0, picture(10, 15_000))
	if err := s.clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(t, s, "new", 0, picture(9, 15_000))
	want(t, s, "newest", 0, picture(10, 15_000))
	list, err := s.bucket.List(t.Context())
	if err != nil || len(list) >= 7 || len(list) < 4 {
		t.Errorf("%d pictures, %v: want some less than seven", len(list), err)
	}
	if status, err := s.bucket.Status(t.Context()); err != nil || status.Size() > 100_000 {
		t.Errorf("%d bytes, %v: more than 100,000", status.Size(), err)
	}
}

func TestExpiry(t *testing.T) {
	s := open(t, connect(t, t.TempDir()), Options{Expiry: 300 * time.Millisecond})
	put(t, s, "old", 0, picture(1, 10))
	want(t, s, "old", 0, picture(1, 10))
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := s.Get(t.Context(), "old", 0); errors.Is(err, ErrNotFound) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("an old picture is still there")
		}
	}
}

func TestCheckpoints(t *testing.T) {
	b := connect(t, t.TempDir())
	c, err := OpenCheckpoints(t.Context(), b.JetStream, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Load(t.Context(), "one", 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("none yet: got %v", err)
	}
	for _, data := range [][]byte{{1, 2, 3}, bytes.Repeat([]byte{4}, 2<<20)} { // the second in several messages
		if err := c.Save(t.Context(), "one", 0, data); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Load(t.Context(), "one", 0); err != nil || !bytes.Equal(got, data) {
			t.Errorf("got %d bytes, %v, want %d", len(got), err, len(data))
		}
	}
	for range 2 { // the second time there is none
		if err := c.Remove(t.Context(), "one", 0); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.Load(t.Context(), "one", 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed: got %v", err)
	}
	if err := c.Save(t.Context(), "../escape", 0, []byte{1}); err == nil {
		t.Error("a name that is a path: want an error")
	}
}
