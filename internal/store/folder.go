package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"waggle/internal/job"
)

// Folder is a Store on disk: one folder a job, one file a picture. It may be
// opened again later; several processes may read it.
type Folder struct {
	root      string
	temporary bool // made by us, removed by Close
	expiry    time.Duration
	stop      chan struct{}
	swept     chan struct{}
	once      sync.Once
}

var _ Store = (*Folder)(nil)

// Open returns the store in a folder, which is made if it is not there; with
// an empty name, in a temporary one that Close removes. Pictures older than
// expiry (0: 24 h) are dropped. Close it.
func Open(root string, expiry time.Duration) (*Folder, error) {
	if expiry == 0 {
		expiry = 24 * time.Hour
	}
	f := &Folder{root: root, temporary: root == "", expiry: expiry, stop: make(chan struct{}), swept: make(chan struct{})}
	var err error
	if f.temporary {
		f.root, err = os.MkdirTemp("", "waggle-pictures-")
	} else {
		err = os.MkdirAll(root, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("open picture store: %w", err)
	}
	go f.sweep()
	return f, nil
}

// path returns the file of a picture. Ids come from strangers: only those that
// are safe as a file name are let through.
func (f *Folder) path(id job.ID, index int) (string, error) {
	if !job.ValidID(string(id)) || index < 0 {
		return "", ErrNotFound
	}
	return filepath.Join(f.root, string(id), strconv.Itoa(index)+".png"), nil
}

// Put implements Store. The file appears whole or not at all.
func (f *Folder) Put(_ context.Context, id job.ID, index int, png []byte) error {
	name, err := f.path(id, index)
	if err == nil {
		err = writeAside(name, png)
	}
	if err != nil {
		return fmt.Errorf("store picture %d of %s: %w", index, id, err)
	}
	return nil
}

// writeAside writes a file beside its place and moves it there.
func writeAside(name string, data []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	aside, err := os.CreateTemp(filepath.Dir(name), ".part-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(aside.Name())
		}
	}()
	_, err = aside.Write(data)
	if err == nil {
		err = aside.Sync()
	}
	if cerr := aside.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(aside.Name(), name)
}

// Get implements Store.
func (f *Folder) Get(_ context.Context, id job.ID, index int) ([]byte, error) {
	name, err := f.path(id, index)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read picture %d of %s: %w", index, id, err)
	}
	return data, nil
}

// Remove implements Store.
func (f *Folder) Remove(_ context.Context, id job.ID) error {
	if !job.ValidID(string(id)) {
		return nil
	}
	if err := os.RemoveAll(filepath.Join(f.root, string(id))); err != nil {
		return fmt.Errorf("remove pictures of %s: %w", id, err)
	}
	return nil
}

// Close implements Store.
func (f *Folder) Close() error {
	f.once.Do(func() { close(f.stop) })
	<-f.swept
	if f.temporary {
		return os.RemoveAll(f.root)
	}
	return nil
}

// sweep drops expired pictures now and then, until Close.
func (f *Folder) sweep() {
	defer close(f.swept)
	tick := time.NewTicker(min(max(f.expiry/10, time.Second), 10*time.Minute))
	defer tick.Stop()
	for {
		f.expire(time.Now())
		select {
		case <-f.stop:
			return
		case <-tick.C:
		}
	}
}

// expire removes the folders of jobs nothing was written to for too long.
// What it cannot read or remove it leaves for the next time.
func (f *Folder) expire(now time.Time) {
	entries, err := os.ReadDir(f.root)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !e.IsDir() || !job.ValidID(e.Name()) || now.Sub(info.ModTime()) <= f.expiry {
			continue
		}
		os.RemoveAll(filepath.Join(f.root, e.Name()))
	}
}
