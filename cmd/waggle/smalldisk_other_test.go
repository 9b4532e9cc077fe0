//go:build unix && !linux

package main

import (
	"errors"
	"testing"
)

func smallDisk(t *testing.T, size string) string {
	t.Helper()
	_, err := mountSmallDisk(t, size)
	t.Skip(err)
	return ""
}

func mountSmallDisk(*testing.T, string) (string, error) {
	return "", errors.New("no small disk can be mounted here")
}

func fillDisk(*testing.T, string) {}
