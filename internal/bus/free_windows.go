package bus

import (
	"math"

	"golang.org/x/sys/windows"
)

// Free is how many bytes a program of this user may still write to the disk of
// a folder; the greatest number if that cannot be told.
func Free(dir string) uint64 {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return math.MaxUint64
	}
	var available uint64
	if windows.GetDiskFreeSpaceEx(name, &available, nil, nil) != nil {
		return math.MaxUint64
	}
	return available
}
