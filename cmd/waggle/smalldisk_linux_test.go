package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
)

// smallDisk mounts a disk of a size ("8k", "64m"), where the tests may.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir, err := mountSmallDisk(t, size)
	if err != nil {
		t.Skip(err)
	}
	return dir
}

func mountSmallDisk(t *testing.T, size string) (string, error) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		return "", fmt.Errorf("no small disk can be mounted here, which needs root: %w", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir, nil
}

// fillDisk writes a file until its disk is full.
func fillDisk(t *testing.T, file string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for part := make([]byte, 64<<10); err == nil; {
		_, err = f.Write(part)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}
