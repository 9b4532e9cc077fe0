//go:build !linux && !js

package gpu

// freeMemory is not known here.
func freeMemory() (uint64, bool) { return 0, false }
