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

// benchJobs are made in each turn, in each of the ways.
const benchJobs = 8

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
	Pictures int     `json:"pictures"`       // in a turn
	Bare     spent   `json:"bare"`           // pictures and their PNGs, one by one
	OneByOne spent   `json:"one_by_one"`     // jobs: submitted, asked for from time to time, their pictures fetched
	Watched  spent   `json:"watched"`        // the same, followed with the previews that the server draws
	Together spent   `json:"together"`       // the same as OneByOne, all submitted at once
	Overhead float64 `json:"overhead"`       // of the service: the median of CPU seconds one by one by the bare ones of the same turn, less 1
	Watching float64 `json:"watching"`       // the same for watched jobs
	Speedup  float64 `json:"speedup"`        // the median of wall times one by one by those together
	Idle     float64 `json:"idle_cpu_per_s"` // of a service without work
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
	c.modelFlags, c.tokenFlags, c.tlsFlags, c.NATS = f, tokenFlags{}, tlsFlags{}, nil // whatever the environment says
	w, err := c.worker(ctx)
	if err != nil {
		return nil, err
	}
	server, err := client.New("http://"+w.address(), "", nil)
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

// picture has a picture made and fetches it; wait waits for the job's end.
func (s *service) picture(ctx context.Context, r job.Request, wait func(context.Context, job.ID) error) error {
	r.ID = job.NewID()
	if _, err := s.client.Submit(ctx, r); err != nil {
		return err
	}
	if err := wait(ctx, r.ID); err != nil {
		return err
	}
	_, err := s.client.Image(ctx, r.ID, 0)
	return err
}

// watch follows a job with its previews.
func (s *service) watch(ctx context.Context, id job.ID) error {
	_, err := follow(ctx, s.client, id, silent{})
	return err
}

// silent watches for nobody.
type silent struct{}

func (silent) event(job.Event)       {}
func (silent) said(client.Narration) {}

// askEvery is how often a program asks for a job that it does not watch.
const askEvery = 50 * time.Millisecond

// ask asks for a job until it has ended.
func (s *service) ask(ctx context.Context, id job.ID) error {
	for {
		r, err := s.client.Job(ctx, id)
		if err != nil || r.State == job.Complete {
			return err
		}
		if r.State.Final() {
			return fmt.Errorf("%s is %s: %s", id, r.State, r.Message)
		}
		time.Sleep(askEvery)
	}
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
	got.Model, got.Adapter, got.Steps, got.Pictures = c.Model, l.device.Adapter().Name, t.steps, benchJobs
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
	bare := func() error { return repeat(benchJobs, func() error { return t.loaded.make(ctx, t.request()) }) }
	oneByOne := func() error { return repeat(benchJobs, func() error { return t.picture(ctx, t.request(), t.ask) }) }
	watched := func() error { return repeat(benchJobs, func() error { return t.picture(ctx, t.request(), t.watch) }) }
	together := func() error { return t.together(ctx) }
	if err := errors.Join(t.loaded.make(ctx, t.request()), together()); err != nil { // to warm up
		return got, err
	}
	for range count {
		err := errors.Join(got.Bare.measure(bare), got.OneByOne.measure(oneByOne), got.Watched.measure(watched), got.Together.measure(together))
		if err != nil {
			return got, err
		}
	}
	var idle spent
	err = idle.measure(func() error { time.Sleep(2 * time.Second); return nil })
	got.Idle = idle.CPU[0] / idle.Wall[0]
	got.Overhead, got.Watching = medianRatio(got.OneByOne.CPU, got.Bare.CPU)-1, medianRatio(got.Watched.CPU, got.Bare.CPU)-1
	got.Speedup = medianRatio(got.OneByOne.Wall, got.Together.Wall)
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
	errs := make([]error, benchJobs)
	var jobs sync.WaitGroup
	for i := range errs {
		r := t.request()
		jobs.Go(func() { errs[i] = t.picture(ctx, r, t.ask) })
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
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

func (r serviceResult) print(asJSON bool) error {
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	fmt.Printf("%s, %d steps on %s, %d pictures, medians of %d turns\n", r.Model, r.Steps, r.Adapter, r.Pictures, len(r.Bare.CPU))
	for _, row := range []struct {
		what string
		spent
	}{
		{"without the service", r.Bare}, {"as jobs, one by one", r.OneByOne}, {"… watched with previews", r.Watched}, {"as jobs, together", r.Together},
	} {
		fmt.Printf("%-30s %7.3f CPU s %7.3f s\n", row.what, median(row.CPU), median(row.Wall))
	}
	fmt.Printf("service overhead %.1f %%, watched %.1f %%; together %.2f times as fast; idle %.1f ms CPU a second\n",
		100*r.Overhead, 100*r.Watching, r.Speedup, 1e3*r.Idle)
	return nil
}
