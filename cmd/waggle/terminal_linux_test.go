package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/mattn/go-runewidth"
	"golang.org/x/sys/unix"

	"waggle/internal/job"
)

// terminal opens a terminal of so many columns: ours reads what a program writes to theirs.
func terminal(t *testing.T, columns int) (ours, theirs *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { ours.Close() })
	fd := int(ours.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(theirs.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: uint16(columns)})
	}
	if err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// onTerminal runs a command that must succeed and returns what its terminal shows.
func onTerminal(t *testing.T, columns int, c *exec.Cmd) string {
	t.Helper()
	ours, theirs := terminal(t, columns)
	c.Stdout, c.Stderr = theirs, theirs
	text := make(chan string)
	go func() {
		var b strings.Builder
		buf := make([]byte, 4096)
		for {
			n, err := ours.Read(buf)
			b.Write(buf[:n])
			if err != nil { // the last of those who write has gone
				text <- b.String()
				return
			}
		}
	}()
	err := c.Run()
	theirs.Close()
	shown := <-text
	if err != nil {
		t.Errorf("%.100q: %v\n%s", c.Args[1:], err, shown)
	}
	return shown
}

// testTerminal: on a terminal the table is as wide as that, and a bar shows how far a job is.
func testTerminal(t *testing.T, s *server) {
	s.post(star(fields{"id": "bar", "steps": 40, "prompt": strings.Repeat("灯台 ", 100)}))
	s.await(t, "bar", job.Running)
	bar := onTerminal(t, 100, s.jobs(t, "watch", "bar"))
	if !strings.Contains(bar, "/40") || !strings.Contains(bar, "[==") || !strings.Contains(bar, "bar complete") {
		t.Errorf("watching shows %q", bar)
	}
	table := onTerminal(t, 70, s.jobs(t, "list", "--limit", "5"))
	for line := range strings.SplitSeq(strings.TrimSpace(table), "\r\n") {
		if n := runewidth.StringWidth(line); n > 70 {
			t.Errorf("%d cells: %s", n, line)
		}
	}
	if !strings.Contains(table, "bar ") || !strings.Contains(table, "…") {
		t.Errorf("the table:\n%s", table)
	}
}

// testKeeperTerminal: people who watch see what a queen says, dimly and above the bar.
func testKeeperTerminal(t *testing.T, queen, _ *server) {
	shown := onTerminal(t, 100, command(t, "generate", starPrompt, "--steps", "20", "--size", "128", "--server", queen.url))
	for _, text := range []string{"\x1b[2mLooking for a worker with model 'tiny-shapes'\x1b[0m\r\n", "/20", "[==", "waggle.png (seed "} {
		if !strings.Contains(shown, text) {
			t.Errorf("no %q in %q", text, shown)
		}
	}
}
