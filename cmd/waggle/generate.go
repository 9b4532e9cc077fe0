package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"waggle/gpu"
	"waggle/internal/engine"
	"waggle/internal/job"
	"waggle/internal/picture"
	"waggle/internal/sd"
)

type generateCommand struct {
	Prompt string `arg:"" help:"What to draw."`
	Output string `short:"o" default:"waggle.png" type:"path" help:"PNG file to write; with --batch a number is added."`

	Negative  string   `help:"What to stay away from."`
	Steps     *int     `help:"Denoising steps (the model's default otherwise)."`
	Guidance  *float64 `help:"Classifier-free guidance; up to 1 there is none."`
	Seed      *uint64  `help:"Seed of the noise (random otherwise)."`
	Size      string   `help:"WIDTHxHEIGHT in pixels, multiples of 8; one number for a square."`
	Sampler   string   `help:"Sampler, such as euler, euler_ancestral, ddim, dpmpp_2m."`
	Schedule  string   `help:"Noise schedule, such as normal or karras."`
	Dialect   string   `default:"a1111" enum:"a1111,a1111-cpu,comfy,diffusers" help:"Whose noise to draw: a1111, a1111-cpu, comfy, diffusers."`
	Batch     int      `default:"1" help:"Number of pictures; picture i has seed + i."`
	Precision string   `default:"auto" enum:"auto,f32" help:"auto or f32."`
	Plan      bool     `help:"Print the memory that the picture needs and make nothing."`
	JSON      bool     `name:"json" help:"Print one JSON object a line instead of progress for people."`

	Server string `placeholder:"URL" help:"Let this server make the picture, as http://host:port or https://host:port, instead of this machine."`
	Token  string `env:"WAGGLE_TOKEN" help:"The server's bearer token."`
	Detach bool   `help:"With --server: print the job's id and leave; waggle jobs watches it."`

	trustFlags `embed:""`
	modelFlags `embed:""`
}

// Run makes the pictures one after the other; each is written as soon as it is done.
func (c *generateCommand) Run(ctx context.Context) error {
	began := time.Now()
	if err := c.check(); err != nil {
		return err
	}
	if c.Server != "" {
		return c.remote(ctx)
	}
	l, err := c.load()
	if err != nil {
		return err
	}
	defer l.Close()
	d := l.Info().Defaults
	request, err := c.request(c.Model, job.Defaults{Width: d.Width, Height: d.Height, Steps: d.Steps, Guidance: d.Guidance, Sampler: d.Sampler, Schedule: d.Schedule})
	if err == nil {
		err = resolveNames(&request)
	}
	if err != nil {
		return err
	}
	if c.Plan {
		return c.printPlan(l, request)
	}
	if err := l.CheckPrompts(engine.Request(request, *request.Seed)); err != nil {
		return err
	}
	show := newProgress(c.JSON)
	show.start(adapterNote(l.device.Adapter()), "", request)
	for i := range request.Batch {
		if err := c.make(ctx, l, request, i, show, began); err != nil {
			return interrupted(err, i, request.Batch)
		}
	}
	return nil
}

// check finds out before the work what needs no model to be known.
func (c *generateCommand) check() error {
	switch {
	case c.Detach && c.Server == "":
		return errors.New("--detach leaves a job to a server: name it with --server")
	case c.Plan && c.Server != "":
		return errors.New("--plan is of this machine: leave --server out")
	case c.Plan || c.Detach:
		return nil
	}
	return writable(c.Output)
}

// interrupted says which pictures of a batch were finished before a signal came.
func interrupted(err error, finished, count int) error {
	if finished == 0 || !errors.Is(err, context.Canceled) {
		return err
	}
	return &interruptedError{fmt.Sprintf("after %d of %d pictures", finished, count)}
}

// request is the job that the flags describe, with the model's defaults where they are silent.
func (c *generateCommand) request(model string, d job.Defaults) (job.Request, error) {
	r := job.NewRequest(job.Generation, model, c.Prompt)
	r.NegativePrompt, r.Dialect, r.Batch, r.Precision = c.Negative, c.Dialect, c.Batch, c.Precision
	r.Width, r.Height, r.Steps, r.GuidanceScale = d.Width, d.Height, d.Steps, d.Guidance
	r.Sampler, r.Schedule = d.Sampler, cmp.Or(d.Schedule, "normal")
	if c.Steps != nil {
		r.Steps = *c.Steps
	}
	if c.Guidance != nil {
		r.GuidanceScale = *c.Guidance
	}
	if c.Sampler != "" {
		r.Sampler, r.Schedule = c.Sampler, "normal"
	}
	if c.Schedule != "" {
		r.Schedule = c.Schedule
	}
	if c.Size != "" {
		if err := parseSize(c.Size, &r.Width, &r.Height); err != nil {
			return r, err
		}
	}
	seed := job.RandomSeed()
	if c.Seed != nil {
		seed = *c.Seed
	}
	r.Seed = &seed
	if err := r.Validate(); err != nil {
		return r, errors.New(strings.TrimPrefix(err.Error(), "Invalid input: "))
	}
	return r, nil
}

// resolveNames writes sampler and schedule as the pipeline knows them, whatever spelling was given.
func resolveNames(r *job.Request) error {
	samplers, schedules := engine.Choices()
	sampler, schedule, ok := job.ChooseSampler(samplers, schedules, r.Sampler)
	if !ok {
		return fmt.Errorf("unknown sampler %q: want one of %s", r.Sampler, names(samplers))
	}
	r.Sampler = sampler.Name
	if schedule.Name != "" {
		r.Schedule = schedule.Name
		return nil
	}
	if schedule, ok = job.Choose(schedules, r.Schedule); !ok {
		return fmt.Errorf("unknown schedule %q: want one of %s", r.Schedule, names(schedules))
	}
	r.Schedule = schedule.Name
	return nil
}

func names(list []job.Choice) string {
	var all []string
	for _, c := range list {
		all = append(all, c.Name)
	}
	return strings.Join(all, ", ")
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

// make draws picture i and writes it.
func (c *generateCommand) make(ctx context.Context, l *loaded, r job.Request, i int, show *progress, began time.Time) error {
	seed := *r.Seed + uint64(i)
	img, err := l.Generate(ctx, engine.Request(r, seed), func(p sd.Progress) { show.step(p.Step, p.Total, p.Elapsed) })
	show.done()
	if errors.Is(err, gpu.ErrOutOfMemory) {
		err = fmt.Errorf("%w; ask for a smaller picture with --size", err)
	}
	if err != nil {
		return err
	}
	path := numbered(c.Output, i, r.Batch)
	if err := write(img, path, engine.Parameters(r, seed, l.Info().Name, version)); err != nil {
		return err
	}
	show.wrote(path, seed, time.Since(began))
	return nil
}

// write makes the PNG with the settings that make it again.
func write(img image.Image, path string, parameters picture.Parameters) error {
	data, err := picture.EncodePNG(img, picture.Text{Keyword: picture.ParametersKeyword, Value: parameters.String()})
	if err != nil {
		return err
	}
	return picture.WriteFile(path, data)
}

// numbered is out.png for one picture, and out-1.png, out-2.png … for several.
func numbered(path string, i, count int) string {
	if count == 1 {
		return path
	}
	ext := filepath.Ext(path)
	return fmt.Sprintf("%s-%d%s", strings.TrimSuffix(path, ext), i+1, ext)
}

func (c *generateCommand) printPlan(l *loaded, r job.Request) error {
	plan, err := l.Plan(engine.Request(r, *r.Seed), 1)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(plan)
	}
	mb := func(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
	fmt.Printf("%s at %d×%d on %s\n", c.Model, r.Width, r.Height, adapterNote(l.device.Adapter()))
	fmt.Printf("%-16s %12s %12s %12s %16s\n", "", "weights", "buffers", "images", "largest binding")
	for _, p := range plan.Parts {
		fmt.Printf("%-16s %12s %12s %12s %16s\n", p.Name, mb(p.Weights), mb(p.Buffers), mb(p.Images), mb(p.LargestBinding))
	}
	fmt.Printf("%-16s %12s\n", "at most", mb(plan.Total()))
	return nil
}
