package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"time"

	"waggle/internal/sd"
)

type benchCommand struct {
	Size  string `help:"WIDTHxHEIGHT in pixels."`
	Steps int    `default:"0" help:"Denoising steps (the model's default otherwise)."`
	Runs  int    `default:"3" help:"Pictures to make after one to warm up; the quickest counts."`
	JSON  bool   `name:"json" help:"Print JSON."`

	modelFlags `embed:""`
}

// result is what bench prints.
type result struct {
	Model   string  `json:"model"`
	Width   int     `json:"width"`
	Height  int     `json:"height"`
	Steps   int     `json:"steps"`
	Adapter string  `json:"adapter"`
	Step    float64 `json:"ms_per_step"`
	Picture float64 `json:"s_per_picture"`
	CPU     float64 `json:"cpu_s_per_picture,omitempty"`
	Rate    float64 `json:"gflop_per_s"`
	Device  float64 `json:"device_mb"` // most memory on the device at a time
	Heap    float64 `json:"heap_mb"`   // of Go, at the end
}

// Run makes pictures and prints the quickest one's times.
func (c *benchCommand) Run(ctx context.Context) error {
	if c.Runs < 0 {
		return fmt.Errorf("--runs %d: want 0 or more", c.Runs)
	}
	l, err := c.load()
	if err != nil {
		return err
	}
	defer l.Close()
	d := l.Info().Defaults
	r := sd.Request{Prompt: "a red circle on a blue background", Seed: 1, Width: d.Width, Height: d.Height, Steps: c.Steps}
	if r.Steps == 0 {
		r.Steps = d.Steps
	}
	if c.Size != "" {
		if err := parseSize(c.Size, &r.Width, &r.Height); err != nil {
			return err
		}
	}
	best := result{Model: c.Model, Width: r.Width, Height: r.Height, Steps: r.Steps, Adapter: l.device.Adapter().Name}
	for i := range c.Runs + 1 {
		if err := c.measure(ctx, l, r, i > 0 || c.Runs == 0, &best); err != nil {
			return err
		}
	}
	plan, err := l.Plan(r)
	if err != nil {
		return err
	}
	best.Rate = float64(plan.Flops(r.Steps)) / best.Picture / 1e9
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	best.Device, best.Heap = float64(l.device.Peak())/1e6, float64(memory.HeapInuse)/1e6
	return best.print(c.JSON)
}

// measure makes one picture and keeps its times if they are the best counted ones.
func (c *benchCommand) measure(ctx context.Context, l *loaded, r sd.Request, counts bool, best *result) error {
	var first, last time.Duration
	began, cpu := time.Now(), cpuTime()
	_, err := l.Generate(ctx, r, func(p sd.Progress) {
		if p.Step == 1 {
			first = p.Elapsed
		}
		last = p.Elapsed
	})
	if err != nil {
		return err
	}
	seconds := time.Since(began).Seconds()
	if counts && (best.Picture == 0 || seconds < best.Picture) {
		best.Picture, best.CPU = seconds, (cpuTime() - cpu).Seconds()
		best.Step = last.Seconds() * 1e3 / float64(r.Steps)
		if r.Steps > 1 {
			best.Step = (last - first).Seconds() * 1e3 / float64(r.Steps-1)
		}
	}
	return nil
}

func (r result) print(asJSON bool) error {
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	fmt.Printf("%s %d×%d %d steps on %s: %.1f ms/step, %.2f s/picture, %.2f CPU s/picture, %.1f GFLOP/s, %.0f MB on the device, %.0f MB of Go heap\n",
		r.Model, r.Width, r.Height, r.Steps, r.Adapter, r.Step, r.Picture, r.CPU, r.Rate, r.Device, r.Heap)
	return nil
}
