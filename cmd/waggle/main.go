// Waggle makes pictures from prompts with Stable Diffusion models on any GPU: by the command line, as a server with a web
// page, and as a worker.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// version is set at build time with -ldflags "-X main.version=…".
var version = "0.1.0"

// verbs are the commands; each runs with its flags filled in.
type verbs struct {
	Generate  generateCommand  `cmd:"" help:"Make a picture from a prompt."`
	Transform transformCommand `cmd:"" help:"Have a server make a picture out of another."`
	Inpaint   inpaintCommand   `cmd:"" help:"Have a server paint a part of a picture anew."`
	Serve     serveCommand     `cmd:"" help:"Serve the web page and the job API."`
	Jobs      jobsCommand      `cmd:"" help:"List a server's jobs, watch them, and say what becomes of them."`
	Status    statusCommand    `cmd:"" help:"Tell how a queen and her workers are, or one worker."`
	Nodes     nodesCommand     `cmd:"" help:"List who computes for a queen or a server."`
	Queen     queenCommand     `cmd:"" help:"Route jobs to workers over HTTP; needs no GPU."`
	Models    modelsCommand    `cmd:"" help:"List models, look into one."`
	Convert   convertCommand   `cmd:"" help:"Write a model in another layout or type: one file, or a diffusers folder."`
	Doctor    doctorCommand    `cmd:"" help:"Show adapters and check every kernel against a plain computation."`
	Bench     benchCommand     `cmd:"" help:"Measure a whole picture; prints one line."`
	Version   kong.VersionFlag `help:"Print the version."`
}

// groups of flags in the help.
var groups = []kong.Group{{
	Key: "worker", Title: "Flags for orchestrators",
	Description: "What rbee's hives and queens call a worker with. Some go by other names here: docs/worker.md.",
}}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		stop() // a second signal ends the process at once
		leaveInTime(os.Args[1:])
	})
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// leaveWithin is when a server that was told to stop leaves, whatever is not closed yet: orchestrators kill it after 2 s, and
// a kill loses nothing.
const leaveWithin = 1800 * time.Millisecond

// leaveInTime ends the process soon if it is a server.
func leaveInTime(args []string) {
	if verb := withVerb(args)[0]; verb != "serve" && verb != "queen" {
		return
	}
	time.AfterFunc(leaveWithin, func() {
		complain(errors.New("stopped before everything was closed; jobs go on at the next start"), exitOK)
		os.Exit(exitOK)
	})
}

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// run parses arguments, runs the verb and returns the exit code. Errors are one line on standard error.
func run(ctx context.Context, args []string) int {
	parser, err := newParser(ctx, new(verbs))
	if err != nil {
		return complain(err, exitFailed)
	}
	command, err := parser.Parse(withVerb(args))
	if err != nil {
		return complain(fmt.Errorf("%w (waggle --help lists verbs and flags)", err), exitUsage)
	}
	switch err := command.Run(); {
	case err == nil:
		return exitOK
	case errors.Is(err, context.Canceled):
		return complain(interruption(err), exitInterrupted)
	default:
		return complain(err, exitFailed)
	}
}

func newParser(ctx context.Context, v *verbs) (*kong.Kong, error) {
	return kong.New(v, kong.Name("waggle"), kong.Vars{"version": version, "kinds": kindNames()}, kong.BindTo(ctx, (*context.Context)(nil)),
		kong.ExplicitGroups(groups), kong.Description("Pictures from prompts with Stable Diffusion models on any GPU."))
}

// interruptedError is a context.Canceled that says what was done before.
type interruptedError struct{ done string }

func (e *interruptedError) Error() string { return "interrupted " + e.done }

func (e *interruptedError) Unwrap() error { return context.Canceled }

// interruption says in words what a signal ended.
func interruption(err error) error {
	var known *interruptedError
	if errors.As(err, &known) {
		return known
	}
	return errors.New("interrupted, nothing was written")
}

func complain(err error, code int) int {
	fmt.Fprintln(os.Stderr, "waggle:", oneLine(err.Error()))
	return code
}

// oneLine keeps the first line of a message that a library may have written as several.
func oneLine(text string) string {
	var kept []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "; ")
}

// withVerb puts serve before flags that come without a verb, as orchestrators start workers.
func withVerb(args []string) []string {
	if len(args) == 0 {
		return []string{"--help"}
	}
	if strings.HasPrefix(args[0], "-") && args[0] != "--help" && args[0] != "-h" && args[0] != "--version" {
		return append([]string{"serve"}, args...)
	}
	return args
}
