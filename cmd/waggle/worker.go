package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"runtime/debug"
	"strings"

	"github.com/alecthomas/kong"

	"waggle/internal/beacon"
	"waggle/internal/client"
	"waggle/internal/job"
)

// workerFlags are how rbee's orchestrators start workers: other names for what serve's own flags say, and more.
type workerFlags struct {
	SDVersion   string        `name:"sd-version" env:"SD_VERSION" placeholder:"NAME" help:"As --model, by a name like v1-5, v2-1, xl or turbo."`
	ModelPath   string        `env:"MODEL_PATH" placeholder:"PATH" help:"Where the model lies that the other flags give its name."`
	ModelRef    string        `placeholder:"NAME" help:"As --model."`
	Device      string        `placeholder:"N|KIND[:N]" help:"Adapter: the N-th GPU, or cpu, cuda:N, rocm:N, metal:N, vulkan:N."`
	Backend     string        `placeholder:"KIND" help:"Kind of the adapter: cpu, cuda, rocm, metal or vulkan."`
	CUDADevice  string        `name:"cuda-device" env:"CUDA_DEVICE" placeholder:"N" help:"As --device cuda:N."`
	ROCmDevice  string        `name:"rocm-device" env:"ROCM_DEVICE" placeholder:"N" help:"As --device rocm:N."`
	MetalDevice string        `name:"metal-device" env:"METAL_DEVICE" placeholder:"N" help:"As --device metal:N."`
	QueenURL    string        `name:"queen-url" placeholder:"URL" help:"Queen to report to every 30 s."`
	CallbackURL string        `name:"callback-url" env:"CALLBACK_URL" placeholder:"URL" help:"As --queen-url."`
	QueenToken  string        `env:"WAGGLE_QUEEN_TOKEN" placeholder:"SECRET" help:"Bearer token to show to the queen."`
	BuildInfo   buildInfoFlag `help:"Print how the program was built, release or debug, and leave."`

	// Taken, as orchestrators may give them, and without effect.
	HiveURL   string `name:"hive-url" hidden:""`
	HiveID    string `name:"hive-id" hidden:""`
	LocalMode bool   `hidden:""`
	UseF16    bool   `name:"use-f16" env:"USE_F16" hidden:""`
	UseFlash  bool   `name:"use-flash-attn" env:"USE_FLASH_ATTN" hidden:""`

	trustFlags `embed:""`

	unused []string // names of flags that were given and have no effect
}

// withoutEffect are flags of other workers that say nothing to this one.
var withoutEffect = []string{"hive-url", "hive-id", "local-mode", "use-f16", "use-flash-attn"}

// AfterApply settles what several flags say of one thing.
func (c *serveCommand) AfterApply(k *kong.Context) error {
	given := sourcesOf(k)
	c.unused = given.all(withoutEffect...)
	c.chooseModel(given)
	if err := c.chooseQueen(); err != nil {
		return err
	}
	var err error
	c.place, err = c.choosePlace(given)
	return err
}

// chooseModel settles on the model: called by the first name that was given, and read from --model-path, where there is
// one.
func (c *serveCommand) chooseModel(given sources) {
	text := map[string]string{"model": c.Model, "sd-version": c.SDVersion, "model-ref": c.ModelRef, "model-path": c.ModelPath}
	set := given.strongest("model", "sd-version", "model-ref", "model-path")
	if len(set) == 0 {
		return
	}
	c.Model = text[set[0]]
	for _, name := range set[1:] {
		if name == "model-path" {
			c.path = c.ModelPath
		} else if text[name] != c.Model {
			c.unused = append(c.unused, name)
		}
	}
}

// noteUnused says what was given in vain.
func (c *workerFlags) noteUnused(log *slog.Logger) {
	for _, name := range c.unused {
		log.Info("a flag has no effect here", "flag", "--"+name)
	}
}

// sources says of flags whether they stand on the command line or come from the environment. Empty ones are as good as
// none.
type sources map[string]source

type source int

const (
	environment source = iota + 1
	commandLine
)

func sourcesOf(k *kong.Context) sources {
	s := sources{}
	for _, f := range k.Flags() {
		for _, name := range f.Envs {
			if os.Getenv(name) != "" {
				s[f.Name] = environment
			}
		}
	}
	for _, p := range k.Path {
		if p.Flag != nil {
			s[p.Flag.Name] = commandLine
		}
	}
	for _, f := range k.Flags() {
		if text, ok := f.Target.Interface().(string); ok && text == "" {
			delete(s, f.Name)
		}
	}
	return s
}

// all returns those of the flags named that were given.
func (s sources) all(names ...string) (given []string) {
	for _, name := range names {
		if s[name] != 0 {
			given = append(given, name)
		}
	}
	return given
}

// strongest returns those that stand on the command line; where there is none, those of the environment.
func (s sources) strongest(names ...string) []string {
	for _, from := range []source{commandLine, environment} {
		var given []string
		for _, name := range s.all(names...) {
			if s[name] == from {
				given = append(given, name)
			}
		}
		if given != nil {
			return given
		}
	}
	return nil
}

// chooseQueen settles on where heartbeats go. An address that is none is refused as --queen-url; as --callback-url, which
// other workers take and do not use, it comes to nothing.
func (c *workerFlags) chooseQueen() error {
	switch {
	case c.QueenURL != "":
		if err := beacon.CheckURL(c.QueenURL); err != nil {
			return fmt.Errorf("--queen-url %s: %w", client.Shown(c.QueenURL), err)
		}
	case c.CallbackURL != "" && beacon.CheckURL(c.CallbackURL) != nil:
		c.unused = append(c.unused, "callback-url")
	default:
		c.QueenURL = c.CallbackURL
	}
	return nil
}

// report begins to report to the queen, if there is one.
func (c *serveCommand) report(node job.Node, log *slog.Logger) (*beacon.Beacon, error) {
	if c.QueenURL == "" {
		return nil, nil
	}
	trust, err := c.trust()
	if err != nil {
		return nil, err
	}
	if doubt := c.doubt(); doubt != "" {
		log.Warn(doubt, "queen", c.QueenURL)
	}
	return beacon.Start(beacon.Config{Queen: c.QueenURL, Token: c.QueenToken, Trust: trust, Log: log}, node), nil
}

// doubt says why the queen may hear this worker and not reach it; empty if nothing speaks against it.
func (c *serveCommand) doubt() string {
	loopback := func(host string) bool {
		ip := net.ParseIP(host)
		return host == "localhost" || ip != nil && ip.IsLoopback()
	}
	queen, err := url.Parse(c.QueenURL)
	switch {
	case err != nil:
		return ""
	case c.TLSCert != "":
		return "queens call workers by http, and this one speaks https alone: she will not reach it"
	case loopback(c.Bind) && !loopback(queen.Hostname()):
		return "this worker listens to its own machine alone: a queen elsewhere will not reach it without --bind and --token"
	}
	return ""
}

// buildInfoFlag answers the question of a hive which it asks before it starts a worker.
type buildInfoFlag bool

// BeforeReset answers before other flags are looked at.
func (buildInfoFlag) BeforeReset(app *kong.Kong) error {
	fmt.Fprintln(app.Stdout, buildKind())
	app.Exit(exitOK)
	return nil
}

// buildKind is release, or debug for a program with the race detector or without optimization.
func buildKind() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "release"
	}
	for _, s := range info.Settings {
		race := s.Key == "-race" && s.Value == "true"
		slow := s.Key == "-gcflags" && strings.Contains(s.Value, "-N")
		if race || slow {
			return "debug"
		}
	}
	return "release"
}
