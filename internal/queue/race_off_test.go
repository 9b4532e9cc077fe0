//go:build !race

package queue

// raceDetector is off.
const raceDetector = false
