package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"

	"waggle/internal/job"
)

// pictureFlags are those of every command that has a picture made.
type pictureFlags struct {
	Prompt string `arg:"" optional:"" help:"What to draw. Weights, schedules, embeddings and LoRAs are written as in A1111 (or ComfyUI, with --dialect comfy): docs/prompts.md."`
	Output string `short:"o" default:"waggle.png" type:"path" help:"PNG file to write; with --batch a number is added."`

	Negative  string   `help:"What to stay away from."`
	Steps     *int     `help:"Denoising steps (the model's default otherwise)."`
	Guidance  *float64 `help:"Classifier-free guidance; up to 1 there is none."`
	Rescale   float64  `name:"cfg-rescale" help:"Bring back the contrast that guidance raises: 0 leaves it, 1 gives that without guidance; 0.7 for models of zero terminal SNR."`
	Seed      *uint64  `help:"Seed of the noise (random otherwise)."`
	Sampler   string   `help:"Sampler, such as euler, euler_ancestral, ddim, dpmpp_2m."`
	Schedule  string   `help:"Noise schedule, such as normal or karras."`
	Dialect   string   `default:"a1111" enum:"a1111,a1111-cpu,comfy,diffusers" help:"Whose noise to draw: a1111, a1111-cpu, comfy, diffusers."`
	Batch     int      `default:"1" help:"Number of pictures; picture i has seed + i."`
	LoRA      []string `name:"lora" sep:"none" placeholder:"NAME[:STRENGTH]" help:"LoRA to mix into the model, by its name in the folders of --models, or a file of this machine where it draws itself; any number of them. The prompt may name more: <lora:NAME:STRENGTH>."`
	Precision string   `default:"auto" enum:"auto,f32" help:"auto or f32."`
	JSON      bool     `name:"json" help:"Print one JSON object a line instead of progress for people."`

	ClipSkip int `placeholder:"N" help:"Layer of the text encoders to read, from the end: 1 the last, 2 the last but one (the model's own otherwise)."`

	Eta    *float64  `help:"Share of new noise that a sampler makes, 0 to 1 (the sampler's own otherwise)."`
	Sigmas []float64 `placeholder:"LIST" help:"Noise levels of one's own in place of --schedule and --steps: falling, the last one 0, such as 14.6,5,1,0."`

	Server string `placeholder:"URL" help:"Let this server or queen make the picture, as http://host:port or https://host:port, instead of this machine."`
	Token  string `env:"WAGGLE_TOKEN" help:"The server's bearer token."`
	Hive   string `help:"With a queen: only workers of this hive."`
	Worker string `placeholder:"ID" help:"With a queen: this worker and no other."`
	Detach bool   `help:"With --server: print the job's id and leave; waggle jobs watches it."`

	trustFlags `embed:""`

	given map[string]bool // flags of the command line, and prompt
}

// AfterApply notes what was given: a prompt must be, or a file that tells it, before which flags go.
func (f *pictureFlags) AfterApply(k *kong.Context) error {
	f.given = map[string]bool{}
	for _, p := range k.Path {
		if p.Flag != nil {
			f.given[p.Flag.Name] = true
		}
		if p.Positional != nil {
			f.given[p.Positional.Name] = true
		}
	}
	if !f.given["prompt"] && !f.given["from"] {
		return errors.New(`expected "<prompt>", what to draw`)
	}
	return nil
}

// check finds out before the work what needs neither model nor server to be known.
func (f *pictureFlags) check() error {
	if f.Server == "" {
		for flag, set := range map[string]bool{"--detach": f.Detach, "--hive": f.Hive != "", "--worker": f.Worker != ""} {
			if set {
				return fmt.Errorf("%s is for a picture that a server makes: name it with --server", flag)
			}
		}
	}
	if f.Detach {
		return nil
	}
	return writable(f.Output)
}

// request is the job that the flags describe, with a model's defaults where they are silent; the protocol's, where the model's
// are not known. special fills in what only the operation has.
func (f *pictureFlags) request(op job.Operation, model string, d job.Defaults, special func(*job.Request) error) (job.Request, error) {
	r := job.NewRequest(op, model, f.Prompt)
	if d.Width > 0 {
		prefer(&r, d)
	}
	f.apply(&r)
	if err := f.addLoRAs(&r); err != nil {
		return r, err
	}
	if err := special(&r); err != nil {
		return r, err
	}
	if err := r.Validate(); err != nil {
		return r, errors.New(strings.TrimPrefix(err.Error(), "Invalid input: "))
	}
	return r, nil
}

// prefer puts a model's own defaults in the place of the protocol's.
func prefer(r *job.Request, d job.Defaults) {
	r.Steps, r.GuidanceScale, r.Sampler = d.Steps, d.Guidance, d.Sampler
	if d.Schedule != "" {
		r.Schedule = d.Schedule
	}
	if r.Operation == job.Generation {
		r.Width, r.Height = d.Width, d.Height
	}
}

// apply writes the flags that are set into a request.
func (f *pictureFlags) apply(r *job.Request) {
	r.NegativePrompt, r.Dialect, r.Batch, r.Precision, r.WorkerID = f.Negative, f.Dialect, f.Batch, f.Precision, f.Worker
	if f.Hive != "" {
		r.HiveID = f.Hive
	}
	if f.Steps != nil {
		r.Steps = *f.Steps
	}
	if f.Guidance != nil {
		r.GuidanceScale = *f.Guidance
	}
	r.CFGRescale = f.Rescale
	if f.Sampler != "" {
		r.Sampler, r.Schedule = f.Sampler, "normal"
	}
	if f.Schedule != "" {
		r.Schedule = f.Schedule
	}
	if f.ClipSkip != 0 {
		r.ClipSkip = f.ClipSkip
	}
	if f.Eta != nil {
		r.Eta = f.Eta
	}
	if f.Sigmas != nil {
		r.Sigmas, r.Steps = f.Sigmas, len(f.Sigmas)-1
	}
	seed := job.RandomSeed()
	if f.Seed != nil {
		seed = *f.Seed
	}
	r.Seed = &seed
}

func parseSize(text string, width, height *int) error {
	w, h, two := strings.Cut(strings.ToLower(text), "x")
	if !two {
		h = w
	}
	var errWidth, errHeight error
	*width, errWidth = strconv.Atoi(w)
	*height, errHeight = strconv.Atoi(h)
	if errWidth != nil || errHeight != nil {
		return fmt.Errorf("--size %q: want WIDTHxHEIGHT, such as 512x512", text)
	}
	return nil
}

// writable finds out before the work whether the output can be written at all.
func writable(path string) error {
	info, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("--output %s: the folder is not there", path)
	}
	if !info.IsDir() {
		return fmt.Errorf("--output %s: %s is not a folder", path, filepath.Dir(path))
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		if info.IsDir() {
			return fmt.Errorf("--output %s is a folder, want a file", path)
		}
		return nil // a device or a pipe
	}
	probe, err := os.CreateTemp(filepath.Dir(path), ".waggle-*.part")
	if err != nil {
		return fmt.Errorf("--output %s: the folder cannot be written to: %w", path, errors.Unwrap(err))
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// numbered is out.png for one picture, and out-1.png, out-2.png … for several.
func numbered(path string, i, count int) string {
	if count == 1 {
		return path
	}
	ext := filepath.Ext(path)
	return fmt.Sprintf("%s-%d%s", strings.TrimSuffix(path, ext), i+1, ext)
}
