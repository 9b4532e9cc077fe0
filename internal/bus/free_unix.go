//go:build linux || darwin

package bus

import (
	"math"

	"golang.org/x/sys/unix"
)

// Free is how many bytes a program of this user may still write to the disk of
// a folder; the greatest number if that cannot be told.
func Free(dir string) uint64 {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return math.MaxUint64
	}
	return uint64(s.Bavail) * uint64(s.Bsize)
}
