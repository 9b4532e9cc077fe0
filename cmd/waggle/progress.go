package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"waggle/internal/job"
	"waggle/internal/sd"
)

// progress tells how far a picture is: a bar on a terminal, lines elsewhere, JSON for programs.
type progress struct {
	json *json.Encoder // nil: for people
	bars *mpb.Progress // nil: lines
	bar  *mpb.Bar
	out  io.Writer
	told time.Time
}

func newProgress(asJSON bool) *progress {
	p := &progress{out: os.Stderr}
	if asJSON {
		p.json = json.NewEncoder(os.Stdout)
	} else if _, rows, err := term.GetSize(int(os.Stderr.Fd())); err == nil && rows > 1 {
		p.bars = mpb.New(mpb.WithOutput(os.Stderr), mpb.WithWidth(40))
	}
	return p
}

func (p *progress) start(adapter string, r job.Request) {
	if p.json != nil {
		p.json.Encode(map[string]any{"type": "start", "adapter": adapter, "model": r.Model, "seed": *r.Seed, "width": r.Width, "height": r.Height, "steps": r.Steps})
		return
	}
	fmt.Fprintf(p.out, "%s, %d×%d, %d steps of %s, seed %d, on %s\n", r.Model, r.Width, r.Height, r.Steps, r.Sampler, *r.Seed, adapter)
}

// step is called by the pipeline after each step.
func (p *progress) step(s sd.Progress) {
	switch {
	case p.json != nil:
		p.json.Encode(map[string]any{"type": "progress", "step": s.Step, "total": s.Total, "elapsed_ms": s.Elapsed.Milliseconds()})
	case p.bars != nil:
		if p.bar == nil {
			p.bar = p.bars.AddBar(int64(s.Total), mpb.BarRemoveOnComplete(),
				mpb.PrependDecorators(decor.CountersNoUnit("step %d/%d")),
				mpb.AppendDecorators(decor.Elapsed(decor.ET_STYLE_GO), decor.AverageETA(decor.ET_STYLE_GO, decor.WC{W: 8})))
		}
		p.bar.SetCurrent(int64(s.Step))
	case s.Step == s.Total || time.Since(p.told) > 2*time.Second:
		p.told = time.Now()
		fmt.Fprintf(p.out, "step %d of %d, %.0f ms a step\n", s.Step, s.Total, s.Elapsed.Seconds()*1e3/float64(s.Step))
	}
}

// done ends the bar of a picture.
func (p *progress) done() {
	if p.bar != nil {
		p.bar.Abort(true)
		p.bar.Wait()
		p.bar = nil
	}
}

func (p *progress) wrote(path string, seed uint64, total time.Duration) {
	if p.json != nil {
		p.json.Encode(map[string]any{"type": "complete", "file": path, "seed": seed, "elapsed_ms": total.Milliseconds()})
		return
	}
	fmt.Fprintf(p.out, "%s (seed %d, %.1f s)\n", path, seed, total.Seconds())
}
