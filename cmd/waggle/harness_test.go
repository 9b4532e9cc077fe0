package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"waggle/internal/natstest"
)

// program is the path of the real program, built once for all tests.
var program string

// atEnd ends what several tests have shared, when all have run.
var atEnd []func() error

func TestMain(m *testing.M) {
	natstest.Main()
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "waggle-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "waggle.exe") // the ending does no harm where it means nothing
	args := []string{"build", "-o", program}
	if raceDetector {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program: %v\n%s", err, out)
		return 1
	}
	code := tally.report(os.Stdout, m.Run())
	for _, end := range atEnd {
		if err := end(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	return code
}

// needAdapter skips a test that draws where the person who runs it says that there is no adapter.
func needAdapter(t testing.TB) {
	t.Helper()
	if os.Getenv("NO_GPU") == "1" {
		t.Skip("NO_GPU=1: tests that need an adapter are skipped")
	}
}

// commandLimit is how long a run of the program may take; on a busy machine a picture takes seconds.
const commandLimit = 3 * time.Minute

// command is a run of the program, in a folder of its own, without settings from the environment.
func command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	return commandFor(t, commandLimit, args...)
}

// commandFor is a run that may take longer, or must not.
func commandFor(t testing.TB, limit time.Duration, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, program, args...)
	c.Dir, c.Env = t.TempDir(), append(cleanEnviron(), "XDG_DATA_HOME="+t.TempDir())
	return c
}

// cleanEnviron is the environment without what sets flags of the program, but for the adapter.
func cleanEnviron() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		flag := strings.HasPrefix(name, "WAGGLE_") && name != "WAGGLE_GPU"
		return flag || slices.Contains([]string{"PORT", "QUEEN_PORT", "WORKER_ID", "LLORCH_API_TOKEN", "SD_VERSION", "MODEL_PATH",
			"CALLBACK_URL", "CUDA_DEVICE", "ROCM_DEVICE", "METAL_DEVICE", "USE_F16", "USE_FLASH_ATTN"}, name)
	})
}

// outcome is what a finished run leaves.
type outcome struct {
	code     int
	out, err string
}

// finish runs a command to its end.
func finish(t testing.TB, c *exec.Cmd) outcome {
	t.Helper()
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %v", c.Args, err)
	}
	return outcome{c.ProcessState.ExitCode(), out.String(), errs.String()}
}

// succeed runs a command that must succeed.
func succeed(t testing.TB, c *exec.Cmd) outcome {
	t.Helper()
	o := finish(t, c)
	if o.code != exitOK {
		t.Fatalf("%.300q: exit code %d\n%s", c.Args[1:], o.code, o.err)
	}
	return o
}

// fail runs a command that must fail with an exit code and one line on standard error that holds all words.
// Nothing may be left in the command's folder that was not there.
func fail(t testing.TB, c *exec.Cmd, code int, words ...string) {
	t.Helper()
	before := entries(t, c.Dir)
	o := finish(t, c)
	if o.code != code {
		t.Errorf("exit code %d, want %d\n%s", o.code, code, clipped(o.err))
	}
	oneClearLine(t, o.err, words...)
	if o.out != "" {
		t.Errorf("standard output holds %q", clipped(o.out))
	}
	if after := entries(t, c.Dir); !slices.Equal(before, after) {
		t.Errorf("the run left files: %q, before %q", after, before)
	}
}

// oneClearLine checks an error as a person sees it.
func oneClearLine(t testing.TB, text string, words ...string) {
	t.Helper()
	line, rest, whole := strings.Cut(text, "\n")
	if !whole || rest != "" || !strings.HasPrefix(line, "waggle: ") {
		t.Errorf("want one line that begins with \"waggle: \", got:\n%s", clipped(text))
	}
	for _, word := range words {
		if !strings.Contains(line, word) {
			t.Errorf("want %q in: %s", word, clipped(line))
		}
	}
	for _, word := range []string{"panic", "goroutine", "SIGSEGV", "%!", "<nil>"} {
		if strings.Contains(text, word) {
			t.Errorf("%q in: %s", word, clipped(text))
		}
	}
	if len(line) > 600 {
		t.Errorf("a line of %d bytes: %s", len(line), clipped(line))
	}
}

func clipped(text string) string {
	if len(text) > 2000 {
		return text[:2000] + "…"
	}
	return text
}

// entries lists a folder, hidden files included.
func entries(t testing.TB, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}
