package bus

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"waggle/internal/natstest"
)

func TestMain(m *testing.M) {
	natstest.Main()
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, o Options) *Bus {
	t.Helper()
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	b, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// TestFolder: a data folder is made, belongs to one at a time, and can be
// opened again at once.
func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	for range 2 {
		began := time.Now()
		b := open(t, Options{Dir: dir})
		if _, err := Open(Options{Dir: dir}); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) {
			t.Errorf("opened twice: %v", err)
		}
		opened := time.Now()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		t.Logf("opened in %v, closed in %v", opened.Sub(began), time.Since(opened))
		if took := time.Since(opened); took > time.Second {
			t.Errorf("closing took %v; the process must end within 2 s", took)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode of the folder: %v, %v: it holds what people asked for", info.Mode(), err)
	}
}

func TestNoFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]Options{
		"a file":    {Dir: file},
		"no name":   {},
		"no server": {URLs: []string{"nats://127.0.0.1:1"}},
		"no CA":     {URLs: []string{"nats://127.0.0.1:1"}, CA: file + "-absent"},
		"password":  {URLs: []string{"nats://user:secret@127.0.0.1:1"}},
		"bad creds": {URLs: []string{"nats://127.0.0.1:1"}, Credentials: file},
	} {
		o.Patience = time.Millisecond
		b, err := Open(o)
		if err == nil {
			b.Close()
			t.Errorf("%s: no error", name)
		}
		t.Logf("%s: %v", name, err)
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: a password is shown: %v", name, err)
		}
	}
}

// lines is a log that may be read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come", what)
		}
	}
}
