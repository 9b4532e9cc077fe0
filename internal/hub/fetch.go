package hub

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"sync"

	"github.com/gofrs/flock"
)

// Fetched is a file that came whole.
type Fetched struct {
	File
	SHA256 string // of what came
	Size   int64
}

const (
	usualParallel = 3
	lockEvery     = 200 * 1e6 // nanoseconds between two tries
	roomLeft      = 64 << 20  // bytes that stay free on the disk
)

// Fetch brings files into a folder, under their paths; a few at a time. A file that was begun is gone on with. One at a time
// fetches into a folder, in this process and in others; the rest wait. After an error nothing has a file's name that is not
// whole and right, and what came is kept for the next time.
func (c *Client) Fetch(ctx context.Context, dir string, files []File) ([]Fetched, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	unlock, err := c.lock(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := c.room(dir, root, files); err != nil {
		return nil, err
	}
	return c.all(ctx, root, files)
}

// lock makes others wait who fetch into the same folder.
func (c *Client) lock(ctx context.Context, dir string) (unlock func() error, err error) {
	lock := flock.New(filepath.Clean(dir) + ".lock")
	if ok, err := lock.TryLock(); err == nil && !ok {
		c.tell(Progress{Note: "another process fetches the same; this one waits"})
	} else if ok {
		return lock.Unlock, nil
	}
	if _, err := lock.TryLockContext(ctx, lockEvery); err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return lock.Unlock, nil
}

// room refuses what the disk has no room for.
func (c *Client) room(dir string, root *os.Root, files []File) error {
	if c.Free == nil {
		return nil
	}
	var need int64
	for _, f := range files {
		need += max(0, f.Size)
		for _, name := range []string{f.Path, f.Path + partSuffix} {
			if info, err := root.Stat(name); err == nil {
				need -= min(info.Size(), max(0, f.Size))
				break
			}
		}
	}
	if free := c.Free(dir); need > 0 && uint64(need)+roomLeft > free {
		return fmt.Errorf("%w in %s: %.1f MB are to come, %.1f MB are free", ErrNoSpace, dir, float64(need)/1e6, float64(free)/1e6)
	}
	return nil
}

// all fetches the files, a few at a time; the first error ends it.
func (c *Client) all(ctx context.Context, root *os.Root, files []File) ([]Fetched, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	out := make([]Fetched, len(files))
	var workers sync.WaitGroup
	for range min(cmp.Or(c.Parallel, usualParallel), len(files)) {
		workers.Go(func() {
			for i := range next {
				var err error
				if out[i], err = c.one(ctx, root, files[i]); err != nil {
					cancel(fmt.Errorf("%s: %w", files[i].Path, err))
				}
			}
		})
	}
	for i := range files {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	workers.Wait()
	return out, context.Cause(ctx)
}

// one fetches a file, however often it takes.
func (c *Client) one(ctx context.Context, root *os.Root, f File) (Fetched, error) {
	if !SafePath(f.Path) {
		return Fetched{}, fmt.Errorf("%q is no name for a file", clip(f.Path))
	}
	if err := root.MkdirAll(path.Dir(f.Path), 0o755); err != nil {
		return Fetched{}, err
	}
	if found, ok := have(root, f); ok {
		c.tell(Progress{File: f.Path, Done: f.Size, Size: f.Size})
		return found, nil
	}
	t, err := openTransfer(c, root, f)
	if err != nil {
		return Fetched{}, err
	}
	defer t.close()
	patient, furthest := patience{Client: c}, t.done
	for {
		err := t.attempt(ctx)
		if err == nil {
			return t.finish()
		}
		if t.done > furthest {
			patient.failures, furthest = 0, t.done
		}
		if err = patient.again(ctx, f.Path, err); err != nil {
			return Fetched{}, cmp.Or(context.Cause(ctx), err)
		}
	}
}

// have finds a file that came whole before.
func have(root *os.Root, f File) (Fetched, bool) {
	if f.SHA256 == "" && f.GitBlob == "" {
		return Fetched{}, false
	}
	file, err := root.Open(f.Path)
	if err != nil {
		return Fetched{}, false
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() != f.Size {
		return Fetched{}, false
	}
	s := newSums(f)
	if _, err := io.Copy(s, file); err != nil || s.check(f) != nil {
		return Fetched{}, false
	}
	return Fetched{f, s.sha(), s.count}, true
}
