//go:build unix

package main

import (
	"encoding/json"
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
// much back, and an hour back. The monotonic clock goes on as it does when somebody sets a machine's clock. Jobs that have
// not ended are as they were; those that ended more than --keep ago by the new clock may be dropped, and none else.
func TestChaosClock(t *testing.T) {
	c := newChaos(t)
	if !c.full {
		c.Skip("building the program with another clock takes minutes: make chaos")
	}
	built := c.buildWithClock()
	for _, jump := range []time.Duration{25 * time.Hour, -25 * time.Hour, -time.Hour} {
		t.Run(jump.String(), func(t *testing.T) { c.with(t).clockJump(built, jump) })
	}
}

// with is the scenario reporting to a part of its test.
func (c *chaos) with(t *testing.T) *chaos { return &chaos{t, c.full, c.rng} }

func (c *chaos) clockJump(built string, jump time.Duration) {
	dir, clock := c.TempDir(), filepath.Join(c.TempDir(), "clock")
	start := func() *server {
		command := commandFor(c, 10*time.Minute, "serve", "--port", "0", "--data", dir, "--checkpoint-every", "100ms")
		command.Path = built
		command.Env = append(command.Env, "WAGGLE_TEST_CLOCK="+clock)
		return startCommand(c, command)
	}
	s := start()
	jobs := c.mixedJobs("clock", 12)
	before, during, after := jobs[:2], jobs[2:10], jobs[10:]
	for i := range before {
		c.submit(func() *server { return s }, &before[i])
	}
	c.settle(s, time.Minute, before...)
	for i := range during {
		during[i].recipe["steps"] = 30
		c.submit(func() *server { return s }, &during[i])
	}
	time.Sleep(c.between(500*time.Millisecond, 1500*time.Millisecond))
	c.fault("the clock jumps by %v: %d jobs were running, %d waiting", jump, len(s.list("running")), len(s.list("queued")))
	c.setClock(s, clock, jump)
	for i := range after {
		c.submit(func() *server { return s }, &after[i])
	}
	c.fault("kill -9 after it")
	s.kill()
	s = start()
	c.settle(s, 3*time.Minute, append(during, after...)...)
	c.keeps(s, before, jump)
	c.keeps(s, append(during, after...), 0)
}

// keeps waits until the server has swept at least once, and checks that jobs which are not old are still there.
func (c *chaos) keeps(s *server, jobs []chaosJob, age time.Duration) {
	time.Sleep(65 * time.Second)
	if age <= 24*time.Hour {
		c.judge(s, jobs...)
	}
}

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
	dir := c.TempDir()
	original := filepath.Join(runtime.GOROOT(), "src", "time", "time.go")
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
	here, err := os.Getwd()
	if err != nil {
		c.Fatal(err)
	}
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			c.Fatal(err)
		}
		return file
	}
	replaced, err := json.Marshal(map[string]map[string]string{"Replace": {
		original:                             write("time.go", source),
		filepath.Join(here, "clock_jump.go"): write("clock_jump.go", jumping),
	}})
	if err != nil {
		c.Fatal(err)
	}
	out := filepath.Join(dir, "waggle")
	if text, err := exec.CommandContext(c.Context(), "go", "build", "-overlay", write("overlay.json", string(replaced)), "-o", out, ".").CombinedOutput(); err != nil {
		c.Fatalf("build the program with another clock: %v\n%s", err, text)
	}
	return out
}
