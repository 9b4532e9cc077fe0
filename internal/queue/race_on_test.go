//go:build race

package queue

// raceDetector is on: memory and times are not those of the program.
const raceDetector = true
