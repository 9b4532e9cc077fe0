package main

import (
	"context"
	"errors"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"strings"
	"time"

	"waggle/gpu"
	"waggle/internal/engine"
	"waggle/internal/job"
	"waggle/internal/picture"
	"waggle/internal/sd"
)

type generateCommand struct {
	pictureFlags `embed:""`
	fromFlag     `embed:""`

	Size string `help:"WIDTHxHEIGHT in pixels, multiples of 8; one number for a square."`
	Plan bool   `help:"Print the memory that the picture needs and make nothing."`

	modelFlags `embed:""`
}

// Run makes the pictures one after the other; each is written as soon as it is done.
func (c *generateCommand) Run(ctx context.Context) error {
	began := time.Now()
	if err := c.replay(); err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	if c.Server != "" {
		return c.remote(ctx, job.Generation, c.Model, func(r *job.Request) error {
			r.VAE = c.VAE
			return c.setSize(r)
		})
	}
	var err error
	if c.loras, err = c.loraFiles(); err != nil {
		return err
	}
	l, err := c.load()
	if err != nil {
		return err
	}
	defer l.Close()
	sayGuesses(l.Info())
	d := l.Info().Defaults
	defaults := job.Defaults{Width: d.Width, Height: d.Height, Steps: d.Steps, Guidance: d.Guidance, Sampler: d.Sampler, Schedule: d.Schedule}
	request, err := c.request(job.Generation, c.Model, defaults, c.setSize)
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
	if _, err := l.Plan(engine.Request(request, *request.Seed), 1); err != nil {
		return err
	}
	reports, err := l.LoRAs(engine.Request(request, *request.Seed))
	if err != nil {
		return err
	}
	show := newProgress(c.JSON)
	show.start(adapterNote(l.device.Adapter()), "", request)
	show.mixes(engine.LoRAResults(reports))
	for i := range request.Batch {
		if err := c.make(ctx, l, request, i, show, began); err != nil {
			return interrupted(err, i, request.Batch)
		}
	}
	return nil
}

// sayGuesses tells what is taken for granted of a model that does not say it.
func sayGuesses(i sd.Info) {
	for _, f := range i.Facts {
		if f.Guessed() {
			fmt.Fprintf(os.Stderr, "%s: %s (%s; waggle models inspect tells more)\n", f.Name, f.Value, f.Source)
		}
	}
}

// check finds out before the work what needs no model to be known.
func (c *generateCommand) check() error {
	switch {
	case c.Plan && c.Server != "":
		return errors.New("--plan is of this machine: leave --server out")
	case c.changesModel() && c.Server != "":
		return errors.New("--clip, --prediction and --zsnr are of this machine's models: leave --server out")
	case c.Plan:
		return nil
	}
	return c.pictureFlags.check()
}

// replay takes what --from says, and tells so.
func (c *generateCommand) replay() error {
	if c.From == "" {
		return nil
	}
	if err := c.take(c); err != nil {
		return err
	}
	if c.Server == "" {
		c.model(c)
	} else if !c.given["model"] && c.recipe.Model != "" {
		c.Model = c.recipe.Model
	}
	show := newProgress(c.JSON)
	show.from(c.took())
	for _, text := range c.said {
		show.note("%s", plainText(text))
	}
	return nil
}

// setSize is what only a picture from nothing has.
func (c *generateCommand) setSize(r *job.Request) error {
	if c.extra != nil {
		c.extra(r)
	}
	if c.Size == "" {
		return nil
	}
	return parseSize(c.Size, &r.Width, &r.Height)
}

// interrupted says which pictures of a batch were finished before a signal came.
func interrupted(err error, finished, count int) error {
	if finished == 0 || !errors.Is(err, context.Canceled) {
		return err
	}
	return &interruptedError{fmt.Sprintf("after %d of %d pictures", finished, count)}
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

// make draws picture i and writes it.
func (c *generateCommand) make(ctx context.Context, l *loaded, r job.Request, i int, show *progress, began time.Time) error {
	seed := *r.Seed + uint64(i)
	request := engine.Request(r, seed)
	embeddings, err := l.Embeddings(request)
	if err != nil {
		return err
	}
	img, err := l.Generate(ctx, request, func(p sd.Progress) { show.step(p.Step, p.Total, p.Elapsed) })
	show.done()
	if errors.Is(err, gpu.ErrOutOfMemory) {
		err = fmt.Errorf("%w; ask for a smaller picture with --size", err)
	}
	if err != nil {
		return err
	}
	if r.VAE = c.VAE; r.VAE != "" { // the model was loaded with it; this is for the picture to tell
		r.VAE = strings.TrimSuffix(filepath.Base(c.VAE), filepath.Ext(c.VAE))
	}
	path := numbered(c.Output, i, r.Batch)
	about := engine.Parameters(r, seed, l.Info().Name, version, show.loras...)
	show.widened(l.Redone())
	about.Extra = append(about.Extra, engine.EmbeddingHashes(embeddings)...)
	about.Extra = append(about.Extra, engine.InFloat32(show.float32)...)
	about.Extra = append(about.Extra, c.fields()...)
	if err := write(img, path, about); err != nil {
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
