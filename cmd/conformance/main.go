// Conformance makes the checks of the protocol between clients, queens, hives and workers, the tests TestCheck01… to
// TestCheck40… of cmd/waggle, and prints what became of each. It exits with 0 only if none failed. docs/conformance.md.
package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
)

// checks is how many there are, numbered from 1.
const checks = 40

func main() {
	r, err := measure()
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
	if failed := r.write(os.Stdout); failed > 0 {
		os.Exit(1)
	}
}

// measure runs the tests. Whether they pass is for the report to say.
func measure() (*report, error) {
	c := exec.Command("go", "test", "-json", "-count=1", "-timeout=15m", "-run=^TestCheck", "./cmd/waggle")
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	r, err := read(out)
	io.Copy(io.Discard, out)
	r.broken = c.Wait() != nil
	return r, err
}
