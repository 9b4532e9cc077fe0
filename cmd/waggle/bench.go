package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"time"

	"waggle/internal/sd"
)

type benchCommand struct {
	Size    string `help:"WIDTHxHEIGHT in pixels."`
	Steps   int    `default:"0" help:"Denoising steps (the model's default otherwise)."`
	Runs    int    `default:"3" help:"Pictures to make after one to warm up; the quickest counts."`
	Batch   int    `default:"1" help:"Pictures to draw together; steps are counted for each."`
	JSON    bool   `name:"json" help:"Print JSON."`
	Service bool   `help:"Measure the whole service around the pipeline, and jobs together against one by one."`
	Row     bool   `name:"row" help:"Print a row of a table in Markdown: times and memory of the first picture."`
	Paced   bool   `help:"After the picture to warm up, make one for every line on standard input and print its times as JSON."`

	modelFlags `embed:""`
}

// result is what bench prints.
type result struct {
	Model   string  `json:"model"`
	Width   int     `json:"width"`
	Height  int     `json:"height"`
	Steps   int     `json:"steps"`
	Batch   int     `json:"batch"` // pictures drawn together; times are a picture's share
	Adapter string  `json:"adapter"`
	Step    float64 `json:"ms_per_step"`
	StepCPU float64 `json:"cpu_ms_per_step,omitempty"`
	Picture float64 `json:"s_per_picture"`
	CPU     float64 `json:"cpu_s_per_picture,omitempty"`
	Rate    float64 `json:"gflop_per_s"`
	First   float64 `json:"s_first_step"` // text, weights brought to the device and kernels compiled where they are not there yet
	Decode  float64 `json:"s_decode"`
	Device  float64 `json:"device_mb"`        // most memory on the device at a time
	Planned float64 `json:"planned_mb"`       // the same as planned, for a first picture
	Heap    float64 `json:"heap_mb"`          // of Go, at the end
	RSS     float64 `json:"rss_mb,omitempty"` // most memory of the process, the device's too where that is a software adapter
}

// Run makes pictures and prints the quickest one's times, or those of each as it is asked for.
func (c *benchCommand) Run(ctx context.Context) error {
	if c.Runs < 0 {
		return fmt.Errorf("--runs %d: want 0 or more", c.Runs)
	}
	if c.Batch < 1 {
		return fmt.Errorf("--batch %d: want 1 or more", c.Batch)
	}
	l, err := c.load()
	if err != nil {
		return err
	}
	defer l.Close()
	if c.Service {
		return c.service(ctx, l)
	}
	r, err := c.request(l.Info().Defaults)
	if err != nil {
		return err
	}
	if c.Paced {
		return c.pace(ctx, l, r)
	}
	best, err := c.quickest(ctx, l, r)
	if err != nil {
		return err
	}
	if c.Row {
		best.row()
		return nil
	}
	return best.print(c.JSON)
}

// request is what every picture is made of, but for its prompt's number.
func (c *benchCommand) request(d sd.Request) (sd.Request, error) {
	r := sd.Request{Prompt: "a red circle on a blue background", Seed: 1, Width: d.Width, Height: d.Height, Steps: c.Steps}
	if r.Steps == 0 {
		r.Steps = d.Steps
	}
	if c.Size == "" {
		return r, nil
	}
	return r, parseSize(c.Size, &r.Width, &r.Height)
}

// quickest makes a picture to warm up and then those that count.
func (c *benchCommand) quickest(ctx context.Context, l *loaded, r sd.Request) (best result, err error) {
	for i := range c.Runs + 1 {
		got, err := c.measure(ctx, l, r, i)
		if err != nil {
			return best, err
		}
		if counts := i > 0 || c.Runs == 0; counts && (best.Picture == 0 || got.Picture < best.Picture) {
			best = got
		}
	}
	return best, nil
}

// pace makes a picture to warm up and one for every line on standard input, and prints a line for each: so that a script can
// let programs take turns without loading a model every time.
func (c *benchCommand) pace(ctx context.Context, l *loaded, r sd.Request) error {
	turns := bufio.NewScanner(os.Stdin)
	for i := 0; i == 0 || turns.Scan(); i++ {
		got, err := c.measure(ctx, l, r, i)
		if err != nil {
			return err
		}
		if err := got.print(true); err != nil {
			return err
		}
	}
	return turns.Err()
}

// measure makes the i-th batch of pictures. Each picture has another prompt, so that text is encoded anew as it is for people.
func (c *benchCommand) measure(ctx context.Context, l *loaded, r sd.Request, i int) (result, error) {
	got := result{Model: c.Model, Width: r.Width, Height: r.Height, Steps: r.Steps, Batch: c.Batch, Adapter: l.device.Adapter().Name}
	began := now()
	drawings, err := c.begin(l, r, i)
	if err != nil {
		return got, err
	}
	first, last, err := stepAll(ctx, l, drawings)
	if err != nil {
		return got, err
	}
	stepped := now()
	for _, d := range drawings {
		if _, err := l.Finish(d); err != nil {
			return got, err
		}
	}
	got.First, got.Decode = first.since(began).wall.Seconds(), now().since(stepped).wall.Seconds()
	pictures := float64(c.Batch)
	whole, steps := now().since(began), last.since(first)
	got.Picture, got.CPU = whole.wall.Seconds()/pictures, whole.cpu.Seconds()/pictures
	each := pictures * float64(max(r.Steps-1, 1)) / 1e3
	got.Step, got.StepCPU = steps.wall.Seconds()/each, steps.cpu.Seconds()/each
	plan, err := l.Plan(r, 1)
	if err != nil {
		return got, err
	}
	got.Rate = float64(plan.Flops(r.Steps)) / got.Picture / 1e9
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	got.Device, got.Heap = float64(l.device.Peak())/1e6, float64(memory.HeapInuse)/1e6
	got.Planned, got.RSS = float64(plan.Peak())/1e6, float64(peakRSS())/1e6
	return got, nil
}

// begin begins the i-th batch of pictures.
func (c *benchCommand) begin(l *loaded, r sd.Request, i int) (drawings []*sd.Drawing, err error) {
	prompt := r.Prompt
	for k := range c.Batch {
		if n := i*c.Batch + k; n > 0 {
			r.Prompt = fmt.Sprintf("%s %d", prompt, n)
		}
		d, err := l.Begin(r)
		if err != nil {
			return nil, err
		}
		drawings = append(drawings, d)
	}
	return drawings, nil
}

// stepAll does all steps of drawings that have equally many. It returns when the steps to count began and ended: all but the
// first, which also prepares the others, unless it is the only one.
func stepAll(ctx context.Context, l *loaded, drawings []*sd.Drawing) (first, last instant, err error) {
	first = now()
	for !drawings[0].Done() {
		if err := ctx.Err(); err != nil {
			return first, last, err
		}
		if err := l.Step(drawings...); err != nil {
			return first, last, err
		}
		if last = now(); drawings[0].StepsDone() == 1 && drawings[0].Total() > 1 {
			first = last
		}
	}
	return first, last, nil
}

// instant is a point in time, and in the processors' time of this process.
type instant struct {
	time time.Time
	cpu  time.Duration
}

func now() instant { return instant{time.Now(), cpuTime()} }

// span is the time between two instants.
type span struct{ wall, cpu time.Duration }

func (i instant) since(before instant) span { return span{i.time.Sub(before.time), i.cpu - before.cpu} }

// row prints what make bench-full collects.
func (r result) row() {
	fmt.Printf("| %s | %d×%d | %.1f s | %.1f s | %.1f s | %.0f MB | %.0f MB | %.0f MB |\n",
		r.Model, r.Width, r.Height, r.First, r.Step/1e3, r.Decode, r.Planned, r.Device, r.RSS)
}

func (r result) print(asJSON bool) error {
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	together := ""
	if r.Batch > 1 {
		together = fmt.Sprintf(", %d pictures together,", r.Batch)
	}
	fmt.Printf("%s %d×%d %d steps%s on %s: %.1f ms/step, %.2f s/picture, %.2f CPU s/picture, %.1f GFLOP/s, %.0f MB on the device, %.0f MB of Go heap\n",
		r.Model, r.Width, r.Height, r.Steps, together, r.Adapter, r.Step, r.Picture, r.CPU, r.Rate, r.Device, r.Heap)
	return nil
}
