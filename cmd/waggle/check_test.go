package main

import (
	"regexp"
	"testing"
	"time"
)

// The tests named TestCheckNN… are the checks of the protocol between clients, queens, hives and workers, by their numbers
// there. They start the real program and know nothing of it but what comes over the wire. docs/conformance.md.

// Where a check comes from.
const (
	rbee = "S"   // rbee does the same
	ours = "O"   // the protocol leaves it open; a rule of our own
	both = "S/O" // a bit of each
)

var checkName = regexp.MustCompile(`^TestCheck[0-4]\d[A-Z]`)

// check says what a test checks, for the table of make conformance.
func check(t *testing.T, from, title string) {
	t.Helper()
	if !checkName.MatchString(t.Name()) {
		t.Fatalf("a check's name begins with TestCheck and its number in two digits; this is %s", t.Name())
	}
	t.Attr("from", from)
	t.Attr("title", title)
}

// leaveOut ends a check that cannot be made, and says why.
func leaveOut(t *testing.T, reason string) {
	t.Helper()
	t.Attr("skipped", reason)
	t.Skip(reason)
}

// within is a limit of the protocol. The race detector makes programs several times slower, for which they are not to blame.
func within(limit time.Duration) time.Duration {
	if raceDetector {
		return 4 * limit
	}
	return limit
}

// drawsMuch leaves a check to the tests without race detector, which has much the same to look at in others.
func drawsMuch(t *testing.T) {
	t.Helper()
	if raceDetector {
		leaveOut(t, "made without the race detector, as it draws much")
	}
}
