package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/alecthomas/kong"

	"waggle/internal/client"
	"waggle/internal/engine"
	"waggle/internal/job"
	"waggle/internal/picture"
)

// concurrentJobs are submitted at the same time, and then again one after the other.
const concurrentJobs = 8

// spent is what something took, each of several times.
type spent struct {
	Wall []float64 `json:"wall_s"`
	CPU  []float64 `json:"cpu_s"`
}

// serviceResult is what bench --service prints.
type serviceResult struct {
	Model    string  `json:"model"`
	Steps    int     `json:"steps"`
	Adapter  string  `json:"adapter"`
	Bare     spent   `json:"bare"`           // a picture and its PNG
	Service  spent   `json:"service"`        // a job: submitted, followed with previews, its picture fetched
	Overhead float64 `json:"overhead"`       // of the service: the median of its CPU seconds by the bare ones' of the same turn, less 1
	Idle     float64 `json:"idle_cpu_per_s"` // of a service without work

	Jobs       int     `json:"jobs"`
	OneByOne   spent   `json:"one_by_one"`
	Together   spent   `json:"together"`
	Throughput float64 `json:"throughput"` // median of wall times one by one by those together
}

// service is a whole server in this process, and a client of it.
type service struct {
	worker *worker
	client *client.Client
	stop   func() error
}

// startService starts a server in a folder, with the model and adapter of the bench.
func startService(ctx context.Context, f modelFlags, dir string) (*service, error) {
	var c serveCommand
	parser, err := kong.New(&c)
	if err != nil {
		return nil, err
	}
	if _, err := parser.Parse([]string{"--port=0", "--data=" + dir, "--log-level=warn"}); err != nil {
		return nil, err
	}
	c.modelFlags, c.tokenFlags, c.NATS = f, tokenFlags{}, nil // whatever the environment says
	w, err := c.worker(ctx)
	if err != nil {
		return nil, err
	}
	server, err := client.New("http://"+w.address(), "")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.run(ctx) }()
	return &service{w, server, func() error {
		cancel()
		err := <-ended
		server.Close()
		w.close()
		return err
	}}, nil
}

// picture has a picture made, followed and fetched.
func (s *service) picture(ctx context.Context, r job.Request) error {
	r.ID = job.NewID()
	if _, err := s.client.Submit(ctx, r); err != nil {
		return err
	}
	if err := follow(ctx, s.client, r.ID, func(job.Event) {}); err != nil {
		return err
	}
	_, err := s.client.Image(ctx, r.ID, 0)
	return err
}

// service measures the service around the pipeline.
func (c *benchCommand) service(ctx context.Context, l *loaded) (err error) {
	dir, err := os.MkdirTemp("", "waggle-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s, err := startService(ctx, c.modelFlags, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	t := trial{loaded: l, service: s, steps: c.Steps}
	got, err := t.turns(ctx, max(c.Runs, 1))
	if err != nil {
		return err
	}
	got.Model, got.Adapter, got.Steps, got.Jobs = c.Model, l.device.Adapter().Name, t.steps, concurrentJobs
	return got.print(c.JSON)
}

// trial sets a service against the bare pipeline.
type trial struct {
	*loaded
	*service
	steps   int // 0: the model's own
	prompts int // used so far
}

// turns lets all ways of making pictures take turns, so that other load falls on all.
func (t *trial) turns(ctx context.Context, count int) (got serviceResult, err error) {
	bare := func() error { return t.loaded.make(ctx, t.request()) }
	served := func() error { return t.picture(ctx, t.request()) }
	oneByOne := func() error { return repeat(concurrentJobs, served) }
	together := func() error { return t.together(ctx) }
	if err := errors.Join(bare(), served(), together()); err != nil { // to warm up
		return got, err
	}
	for range count {
		err := errors.Join(got.Bare.measure(bare), got.Service.measure(served), got.OneByOne.measure(oneByOne), got.Together.measure(together))
		if err != nil {
			return got, err
		}
	}
	var idle spent
	err = idle.measure(func() error { time.Sleep(2 * time.Second); return nil })
	got.Idle = idle.CPU[0] / idle.Wall[0]
	got.Overhead = medianRatio(got.Service.CPU, got.Bare.CPU) - 1
	got.Throughput = medianRatio(got.OneByOne.Wall, got.Together.Wall)
	return got, err
}

// request is for a picture of the model's own size. Each has another prompt, so that text is encoded anew as it is for people.
func (t *trial) request() job.Request {
	d := t.Info().Defaults
	if t.steps == 0 {
		t.steps = d.Steps
	}
	t.prompts++
	seed := uint64(t.prompts)
	r := job.NewRequest(job.Generation, t.Info().Name, fmt.Sprint("a red circle on a blue background ", t.prompts))
	r.Width, r.Height, r.Steps, r.GuidanceScale, r.Sampler, r.Seed = d.Width, d.Height, t.steps, d.Guidance, d.Sampler, &seed
	return r
}

// together has jobs made that are submitted at the same time.
func (t *trial) together(ctx context.Context) error {
	errs := make([]error, concurrentJobs)
	var jobs sync.WaitGroup
	for i := range errs {
		r := t.request()
		jobs.Go(func() { errs[i] = t.picture(ctx, r) })
	}
	jobs.Wait()
	return errors.Join(errs...)
}

// make draws a picture and encodes it, as generate does.
func (l *loaded) make(ctx context.Context, r job.Request) error {
	img, err := l.Generate(ctx, engine.Request(r, *r.Seed), nil)
	if err != nil {
		return err
	}
	_, err = picture.EncodePNG(img, picture.Text{Keyword: picture.ParametersKeyword, Value: engine.Parameters(r, *r.Seed, r.Model, version).String()})
	return err
}

func repeat(n int, f func() error) error {
	for range n {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// measure adds what f takes.
func (s *spent) measure(f func() error) error {
	began, cpu := time.Now(), cpuTime()
	err := f()
	s.Wall, s.CPU = append(s.Wall, time.Since(began).Seconds()), append(s.CPU, (cpuTime()-cpu).Seconds())
	return err
}

func medianRatio(a, b []float64) float64 {
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = a[i] / b[i]
	}
	return median(ratios)
}

func median(list []float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}

func (r serviceResult) print(asJSON bool) error {
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	fmt.Printf("%s, %d steps on %s, medians of %d turns\n", r.Model, r.Steps, r.Adapter, len(r.Bare.CPU))
	for _, row := range []struct {
		what string
		spent
	}{
		{"a picture without the service", r.Bare}, {"a picture as a job", r.Service},
		{fmt.Sprintf("%d jobs one by one", r.Jobs), r.OneByOne}, {fmt.Sprintf("%d jobs together", r.Jobs), r.Together},
	} {
		fmt.Printf("%-30s %7.3f CPU s %7.3f s\n", row.what, median(row.CPU), median(row.Wall))
	}
	fmt.Printf("service overhead %.1f %%, together %.2f times as fast, idle %.1f ms CPU a second\n", 100*r.Overhead, r.Throughput, 1e3*r.Idle)
	return nil
}
