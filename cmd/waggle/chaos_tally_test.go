package main

import (
	"fmt"
	"io"
	"sync"
	"testing"
)

// tally is what all scenarios of this run have done and found; TestMain prints it.
var tally faults

// faults counts what was done to servers, and what that did to jobs: it shall do nothing.
type faults struct {
	mu     sync.Mutex
	begun  bool
	count  int
	found  map[damage]int
	notRun []string
}

// damage is what may happen to a job that is not as safe as it was said to be.
type damage string

const (
	lost      damage = "lost"      // taken in, and not ended as it must; or a part of it is gone
	doubled   damage = "doubled"   // done or told twice
	different damage = "different" // its picture is not the one of an undisturbed run
)

func (f *faults) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begun = true
}

func (f *faults) add(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count += n
}

func (f *faults) find(d damage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.found == nil {
		f.found = map[damage]int{}
	}
	f.found[d]++
}

// leaveOut notes that a scenario could not be played here, and why.
func (f *faults) leaveOut(scenario, why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.notRun = append(f.notRun, scenario+": "+why)
}

func (f *faults) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprintf("%d faults, %d lost, %d doubled, %d different", f.count, f.found[lost], f.found[doubled], f.found[different])
}

// report writes the last lines of a run in which there were scenarios, and returns its exit code.
func (f *faults) report(w io.Writer, code int) int {
	if !f.begun {
		return code
	}
	for _, line := range f.notRun {
		fmt.Fprintln(w, "not run:", line)
	}
	fmt.Fprintln(w, f)
	if len(f.found) > 0 && code == 0 {
		return 1
	}
	return code
}

func TestFaults(t *testing.T) {
	for _, row := range []struct {
		name  string
		found []damage
		code  int
		want  string
		exit  int
	}{
		{"good", nil, 0, "3 faults, 0 lost, 0 doubled, 0 different\n", 0},
		{"bad", []damage{lost, doubled, doubled, different}, 0, "3 faults, 1 lost, 2 doubled, 1 different\n", 1},
		{"another test failed", nil, 2, "3 faults, 0 lost, 0 doubled, 0 different\n", 2},
	} {
		var f faults
		var out stringWriter
		if code := f.report(&out, row.code); code != row.code || out != "" {
			t.Errorf("%s: without scenarios: code %d, %q", row.name, code, out)
		}
		f.begin()
		f.add(3)
		for _, d := range row.found {
			f.find(d)
		}
		if code := f.report(&out, row.code); code != row.exit || string(out) != row.want {
			t.Errorf("%s: code %d, %q", row.name, code, out)
		}
	}
}

type stringWriter string

func (s *stringWriter) Write(p []byte) (int, error) {
	*s += stringWriter(p)
	return len(p), nil
}
