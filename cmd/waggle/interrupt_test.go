//go:build unix

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// interruptLimit is how long a picture in the making may take to end; a step of the built-in model takes far less.
const interruptLimit = 10 * time.Second

// interruptAt starts a command that prints JSON lines and sends it a signal when the line is there that matches.
func interruptAt(t *testing.T, c *exec.Cmd, signal os.Signal, match func(line) bool) outcome {
	t.Helper()
	pipe, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	c.Stderr = &errs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var sent time.Time
	for scan := bufio.NewScanner(pipe); scan.Scan(); {
		var l line
		if err := json.Unmarshal(scan.Bytes(), &l); err != nil {
			t.Errorf("line %q: %v", scan.Text(), err)
		}
		if sent.IsZero() && match(l) {
			sent = time.Now()
			if err := c.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = c.Wait() // the exit code says it
	if took := time.Since(sent); sent.IsZero() || took > interruptLimit {
		t.Errorf("ended %v after the signal, want under %v", took, interruptLimit)
	}
	return outcome{code: c.ProcessState.ExitCode(), err: errs.String()}
}

func TestInterrupt(t *testing.T) {
	needAdapter(t)
	for _, row := range []struct {
		name   string
		signal os.Signal
		at     line
		files  []string
		words  []string
	}{
		{"Ctrl-C before the first step", syscall.SIGINT, line{Type: "start"}, []string{"out-1.png"}, []string{"interrupted", "nothing was written"}},
		{"Ctrl-C in mid-picture", syscall.SIGINT, line{Type: "progress", Step: 3}, []string{"out-1.png"}, []string{"interrupted", "nothing was written"}},
		{"terminated in mid-picture", syscall.SIGTERM, line{Type: "progress", Step: 3}, []string{"out-1.png"}, []string{"interrupted"}},
		{"Ctrl-C in the second picture", syscall.SIGINT, line{Type: "complete"}, []string{"out-1.png"}, []string{"interrupted", "1 of 3 pictures"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := command(t, "generate", starPrompt, "--json", "--steps", "60", "--batch", "3", "-o", "out.png")
			old := []byte("what was there before")
			first := filepath.Join(c.Dir, "out-1.png")
			if err := os.WriteFile(first, old, 0o644); err != nil {
				t.Fatal(err)
			}
			o := interruptAt(t, c, row.signal, func(l line) bool { return l.Type == row.at.Type && l.Step == row.at.Step })
			if o.code != exitInterrupted {
				t.Errorf("exit code %d, want %d", o.code, exitInterrupted)
			}
			oneClearLine(t, o.err, row.words...)
			if names := entries(t, c.Dir); !slices.Equal(names, row.files) {
				t.Errorf("files %q, want %q", names, row.files)
			}
			if kept := bytes.Equal(readFile(t, first), old); kept != (row.at.Type != "complete") {
				t.Errorf("the file of the first picture was kept: %v", kept)
			}
		})
	}
}

// TestDiskFull writes to a disk with room for nothing but the folder.
func TestDiskFull(t *testing.T) {
	needAdapter(t)
	t.Run("device", func(t *testing.T) {
		if _, err := os.Stat("/dev/full"); err != nil {
			t.Skip(err)
		}
		c := command(t, "generate", starPrompt, "--steps", "1", "--json", "-o", "/dev/full")
		o := finish(t, c)
		if o.code != exitFailed || strings.Contains(o.out, `"complete"`) {
			t.Errorf("exit code %d, output %s", o.code, o.out)
		}
		oneClearLine(t, o.err, "/dev/full", "disk is full")
	})
	t.Run("folder", func(t *testing.T) {
		disk := smallDisk(t)
		path := filepath.Join(disk, "out.png")
		old := []byte("what was there before")
		if err := os.WriteFile(path, old, 0o644); err != nil {
			t.Fatal(err)
		}
		o := finish(t, command(t, "generate", starPrompt, "--steps", "1", "--json", "-o", path))
		if o.code != exitFailed {
			t.Errorf("exit code %d", o.code)
		}
		oneClearLine(t, o.err, path, "disk is full")
		if names := entries(t, disk); !slices.Equal(names, []string{"out.png"}) || !bytes.Equal(readFile(t, path), old) {
			t.Errorf("files %q: want the old one alone", names)
		}
	})
}
