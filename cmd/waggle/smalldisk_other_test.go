//go:build unix && !linux

package main

import "testing"

func smallDisk(t *testing.T, size string) string {
	t.Helper()
	t.Skip("no small disk can be mounted here")
	return ""
}
