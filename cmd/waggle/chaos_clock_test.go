//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestChaosClock lets the wall clock of the server's process jump while jobs run and wait: a day and an hour forward, as
// much back, and an hour back. The monotonic clock goes on, as it does when somebody sets a machine's clock. After each jump
// the server is killed, as what was written before it is then told from the wall clock alone. Nothing is lost: what looks old
// all at once is kept for a while.
func TestChaosClock(t *testing.T) {
	c := newChaos(t)
	if !c.full {
		c.Skip("building the program with another clock takes minutes: make chaos")
	}
	dir, clock, built := c.TempDir(), filepath.Join(c.TempDir(), "clock"), c.buildWithClock()
	start := func() *server {
		command := commandFor(c, 10*time.Minute, "serve", "--port", "0", "--data", dir, "--checkpoint-every", "100ms")
		command.Path = built
		command.Env = append(command.Env, "WAGGLE_TEST_CLOCK="+clock)
		return startCommand(c, command)
	}
	s := start()
	jobs := c.mixedJobs("clock", 26)
	for i := range jobs[:2] {
		c.submit(func() *server { return s }, &jobs[i])
	}
	c.settle(s, time.Minute, jobs[:2]...)
	for n, at := range []time.Duration{25 * time.Hour, 0, -time.Hour} {
		mine := jobs[2+8*n:][:8]
		for i := range mine[:6] {
			c.submit(func() *server { return s }, &mine[i])
		}
		time.Sleep(c.between(500*time.Millisecond, 1500*time.Millisecond))
		c.fault("the clock is set to %v from now: %d jobs were running, %d waiting", at, len(s.list("running")), len(s.list("queued")))
		c.setClock(s, clock, at)
		for i := range mine[6:] {
			c.submit(func() *server { return s }, &mine[6+i])
		}
		c.fault("kill -9 after it")
		s.kill()
		s = start()
		if n != 1 {
			time.Sleep(sweepTime)
		}
		c.settle(s, 3*time.Minute, jobs[:2+8*(n+1)]...)
	}
}

// sweepTime is how soon the server looks for what is old.
const sweepTime = 65 * time.Second

// setClock moves the server's wall clock and waits until it shows.
func (c *chaos) setClock(s *server, file string, offset time.Duration) {
	if err := os.WriteFile(file, []byte(strconv.Itoa(int(offset.Seconds()))), 0o600); err != nil {
		c.Fatal(err)
	}
	var health struct{ Timestamp time.Time }
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		s.get("/health", &health)
		if d := time.Until(health.Timestamp) - offset; -time.Minute < d && d < time.Minute {
			return
		}
	}
	c.Fatalf("the server's clock shows %v, want %v from now", health.Timestamp, offset)
}

// jumping is the source that moves the clock of the program it is built into.
const jumping = `package main

import (
	"os"
	"strconv"
	"time"
)

func init() {
	file := os.Getenv("WAGGLE_TEST_CLOCK")
	read := func() {
		if text, err := os.ReadFile(file); err == nil {
			if offset, err := strconv.ParseInt(string(text), 10, 64); err == nil {
				time.SetWallOffset(offset)
			}
		}
	}
	read()
	go func() {
		for range time.Tick(20 * time.Millisecond) {
			read()
		}
	}()
}
`

// buildWithClock builds the program with a time package whose wall clock can be moved. It is the toolchain's own but for
// three places.
func (c *chaos) buildWithClock() string {
	c.Helper()
	root, err := exec.CommandContext(c.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		c.Fatal(err)
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	source := string(readFile(c.T, original))
	for _, change := range [][2]string{
		{"import (\n", "import (\n\t\"sync/atomic\"\n"},
		{"\nfunc Now() Time {\n\tsec, nsec, mono := runtimeNow()\n", "\nfunc Now() Time {\n\tsec, nsec, mono := runtimeNow()\n\tsec += wallOffset.Load()\n"},
		{"\n// Now returns the current local time.\n", "\nvar wallOffset atomic.Int64 // seconds\n\nfunc SetWallOffset(seconds int64) { wallOffset.Store(seconds) }\n\n// Now returns the current local time.\n"},
	} {
		if strings.Count(source, change[0]) != 1 {
			c.Fatalf("package time of %s is not as this scenario knows it: it lacks %q; look at buildWithClock", runtime.Version(), change[0])
		}
		source = strings.Replace(source, change[0], change[1], 1)
	}
	return buildWith(c.T, map[string]string{original: source, "clock_jump.go": jumping})
}
