package picture

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// WriteFile writes a file whole or not at all: to a new file beside it, onto the disk, then under its name. A file of
// that name is replaced. Whatever fails, the old file stays as it was and nothing new is left behind. Devices and pipes
// are written to as they are.
func WriteFile(path string, data []byte) error {
	return explain(path, writeFile(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}))
}

func writeFile(path string, write func(io.Writer) error) error {
	if path == "" {
		return errors.New("the file has no name")
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return writeThrough(path, info, write)
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // replace the file, not the link
	}
	aside := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+rand.Text()[:8]+".part")
	err := writeNew(aside, write)
	if err == nil {
		err = os.Rename(aside, path)
	}
	if err != nil {
		_ = os.Remove(aside) // the error that counts is the first
		return err
	}
	syncDir(filepath.Dir(path))
	return nil
}

// writeThrough writes to a thing that cannot be replaced.
func writeThrough(path string, info fs.FileInfo, write func(io.Writer) error) error {
	if info.IsDir() {
		return errors.New("it is a folder: name a file in it")
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(write(file), file.Close())
}

// writeNew makes a file that did not exist and waits until the disk has it.
func writeNew(path string, write func(io.Writer) error) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	err = write(file)
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}

// syncDir makes the new name last through a power cut, where the system can; the file itself is safe already.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}

// explain names the file that was asked for and says what to do about the commonest causes.
func explain(path string, err error) error {
	var inPath *fs.PathError
	var inLink *os.LinkError
	switch {
	case errors.As(err, &inPath):
		err = inPath.Err // its path is that of the file beside
	case errors.As(err, &inLink):
		err = inLink.Err
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("write %s: the disk is full: free some space or choose another folder (%w)", path, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("write %s: folder %s does not exist: make it first (%w)", path, filepath.Dir(path), err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("write %s: not allowed: choose another folder (%w)", path, err)
	}
	return fmt.Errorf("write %s: %w", path, err)
}
