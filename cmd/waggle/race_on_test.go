//go:build race

package main

// raceDetector is on: the program under test is built with it too.
const raceDetector = true
