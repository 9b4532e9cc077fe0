package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"waggle/gpu"
	"waggle/internal/events"
	"waggle/internal/job"
	"waggle/internal/picture"
	"waggle/internal/queue"
	"waggle/internal/sd"
	"waggle/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const stepTime = 100 * time.Millisecond

// scripted is a pipeline without a network: each step takes stepTime, the
// picture's first pixel is the seed. What goes wrong is written in the prompt.
type scripted struct {
	requests *[]sd.Request
	lose     *int // device losses still to come
	closed   bool
}

func (p *scripted) Info() sd.Info {
	return sd.Info{Name: "scripted", Family: "sd1", MinSide: 64, MaxSide: 4096, Multiple: 8, Factor: 8,
		Defaults: sd.Request{Width: 128, Height: 128, Steps: 20, Guidance: 5, Sampler: "ddim"}}
}

func (p *scripted) Close() { p.closed = true }

func (p *scripted) Plan(r sd.Request, _ int) (sd.Plan, error) {
	if r.Prompt == "wordy" {
		return sd.Plan{}, errors.New("Prompt too long: 1300 tokens")
	}
	part := sd.PartPlan{Name: "unet"}
	part.Weights = 5 << 20
	return sd.Plan{Parts: []sd.PartPlan{part}}, nil
}

func (p *scripted) Generate(ctx context.Context, r sd.Request, onStep func(sd.Progress)) (*image.NRGBA, error) {
	if p.closed {
		return nil, errors.New("used after Close")
	}
	*p.requests = append(*p.requests, r)
	if _, err := p.Plan(r, 1); err != nil {
		return nil, fmt.Errorf("draw: %w", err)
	}
	first := 1
	if r.From != nil {
		if r.Prompt == "other" {
			return nil, fmt.Errorf("%w: another prompt", sd.ErrOtherPicture)
		}
		first = r.From.Step + 1
	}
	for step := first; step <= r.Steps; step++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		time.Sleep(stepTime)
		if step == 2 {
			if err := p.trouble(r.Prompt); err != nil {
				return nil, err
			}
		}
		latent := sd.Latent{Channels: 1, Height: 1, Width: 1, Data: []float32{float32(step)}}
		onStep(sd.Progress{Step: step, Total: r.Steps, Latent: latent,
			Checkpoint: func() (*sd.Checkpoint, error) {
				return &sd.Checkpoint{Step: step, Total: r.Steps, Latent: latent}, nil
			}})
	}
	img := image.NewNRGBA(image.Rect(0, 0, r.Width, r.Height))
	for i := range img.Pix {
		img.Pix[i] = 255
	}
	img.Pix[0] = byte(r.Seed)
	return img, nil
}

func (p *scripted) trouble(prompt string) error {
	switch prompt {
	case "memory":
		return fmt.Errorf("decoder: %w", gpu.ErrOutOfMemory)
	case "lost":
		if *p.lose > 0 {
			*p.lose--
			return fmt.Errorf("unet: %w", gpu.ErrDeviceLost)
		}
	case "panic":
		panic("index out of range")
	case "strange":
		return errors.New("/secret/path: strange")
	case "stuck":
		time.Sleep(time.Hour)
	}
	return nil
}

// pictures is a store in memory: fake time needs one without files or servers.
type pictures map[string][]byte

func (p pictures) Put(_ context.Context, id job.ID, index int, png []byte) error {
	p[fmt.Sprint(id, "/", index)] = png
	return nil
}

func (p pictures) Get(_ context.Context, id job.ID, index int) ([]byte, error) {
	png, ok := p[fmt.Sprint(id, "/", index)]
	if !ok {
		return nil, store.ErrNotFound
	}
	return png, nil
}

func (p pictures) Remove(context.Context, job.ID) error { return nil }

func (p pictures) Close() error { return nil }

// rig is an engine with everything it needs, in fake time.
type rig struct {
	t        *testing.T
	queue    queue.Queue
	events   events.Log
	store    store.Store
	requests []sd.Request
	lose     int
	loads    int
	loadErr  error
	stop     func() error // ends the engine and returns what Run returned
}

// run calls test with a running engine.
func run(t *testing.T, test func(*testing.T, *rig), change ...func(*rig, *Config)) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, queue: queue.NewMemory(queue.Options{}), events: events.NewMemory(0), store: pictures{}}
		defer r.store.Close()
		defer r.events.Close()
		defer r.queue.Close()
		c := Config{Queue: r.queue, Events: r.events, Store: r.store, Load: r.load, Version: "1.2",
			Node: job.Node{ID: "n", ModelID: "scripted"}, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
		for _, f := range change {
			f(r, &c)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- New(c).Run(ctx) }()
		r.stop = func() error {
			cancel()
			err := <-ended
			ended <- err
			return err
		}
		defer r.stop()
		test(t, r)
	})
}

func (r *rig) load(context.Context) (Pipeline, error) {
	r.loads++
	if r.loadErr != nil {
		return nil, r.loadErr
	}
	time.Sleep(time.Second)
	return &scripted{requests: &r.requests, lose: &r.lose}, nil
}

func (r *rig) submit(prompt string, change ...func(*job.Request)) job.ID {
	r.t.Helper()
	request := job.NewRequest(job.Generation, "scripted", prompt)
	seed := uint64(7)
	request.Seed, request.Steps, request.Width, request.Height = &seed, 4, 64, 64
	for _, f := range change {
		f(&request)
	}
	record, err := r.queue.Submit(r.t.Context(), request)
	if err != nil {
		r.t.Fatal(err)
	}
	return record.ID
}

// wait follows a job to its end and returns its record and its events.
func (r *rig) wait(id job.ID) (job.Record, []job.Event) {
	r.t.Helper()
	reader, err := r.events.Read(r.t.Context(), id, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	defer reader.Close()
	var list []job.Event
	for {
		e, err := reader.Next(r.t.Context())
		if errors.Is(err, events.ErrEnd) {
			break
		}
		if err != nil {
			r.t.Fatal(err)
		}
		list = append(list, e)
	}
	return r.record(id), list
}

func (r *rig) record(id job.ID) job.Record {
	r.t.Helper()
	record, err := r.queue.Get(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return record
}

func (r *rig) node() job.Node {
	nodes, err := r.queue.Nodes(r.t.Context())
	if err != nil || len(nodes) != 1 {
		r.t.Fatalf("%d node records, %v", len(nodes), err)
	}
	return nodes[0]
}

func stepsOf(list []job.Event) (steps []int) {
	for _, e := range list {
		if e.Step > 0 {
			steps = append(steps, e.Step)
		}
	}
	return steps
}

func TestPicture(t *testing.T) {
	run(t, func(t *testing.T, r *rig) {
		id := r.submit("a lighthouse", func(q *job.Request) {
			q.Sampler, q.Schedule, q.NegativePrompt, q.ClipSkip = "dpmpp_2m", "karras", "fog", 2
		})
		record, list := r.wait(id)
		if record.State != job.Complete || record.Elapsed != 4*stepTime || len(list) != 5 || !slices.Equal(stepsOf(list), []int{1, 2, 3, 4}) {
			t.Fatalf("record %+v\nevents %+v", record, list)
		}
		if p, ok := r.events.Preview(t.Context(), id, 4); !ok || p.Latent.At(0, 0, 0) != 4 {
			t.Errorf("preview of the last step: %+v, %v", p, ok)
		}
		file, err := r.store.Get(t.Context(), id, 0)
		if err != nil {
			t.Fatal(err)
		}
		if img, err := png.Decode(bytes.NewReader(file)); err != nil || img.Bounds().Dx() != 64 {
			t.Errorf("stored picture: %v", err)
		}
		got, ok, err := picture.ParametersOf(file)
		if err != nil || !ok || got.Prompt != "a lighthouse" || got.Negative != "fog" || got.Sampler != "DPM++ 2M" || got.Schedule != "Karras" || got.Seed != 7 || got.Steps != 4 || got.Model != "scripted" {
			t.Errorf("metadata: %+v, %v, %v", got, ok, err)
		}
		synctest.Wait()
		if n := r.node(); n.Status != job.Ready || n.Models[0].Defaults.Sampler != "ddim" || n.Models[0].Defaults.Schedule != "normal" || len(n.Samplers) == 0 {
			t.Errorf("node %+v", n)
		}
	})
}

func TestBatch(t *testing.T) {
	run(t, func(t *testing.T, r *rig) {
		id := r.submit("a", func(q *job.Request) { q.Batch, q.GuidanceScale = 3, 0 })
		record, list := r.wait(id)
		if steps := stepsOf(list); len(steps) != 12 || list[11].Total != 12 || list[11].Type != job.PreviewEvent || list[10].Type != job.PreviewEvent {
			t.Errorf("steps %v, last %+v", steps, list[11])
		}
		if len(record.Pictures) != 3 || record.Pictures[2].Seed != 9 || len(list[12].Images) != 3 {
			t.Errorf("pictures %+v, event %+v", record.Pictures, list[12])
		}
		for i, q := range r.requests {
			if q.Seed != 7+uint64(i) || q.Guidance == 0 || q.Guidance > 1 {
				t.Errorf("picture %d: seed %d, guidance %g: 0 must not become the model's own", i, q.Seed, q.Guidance)
			}
		}
	})
}

func TestFailures(t *testing.T) {
	for _, row := range []struct {
		prompt  string
		kind    job.Kind
		message string
		loads   int
	}{
		{"memory", job.OutOfMemory, "Out of GPU memory: a picture of 64×64 needs about 5 MiB", 1},
		{"wordy", job.InvalidInput, "Invalid input: Prompt too long: 1300", 1},
		{"lost", job.DeviceLost, "The GPU was lost", 3},
		{"panic", job.Internal, "Internal error", 2},
		{"strange", job.Internal, "Internal error", 1},
	} {
		t.Run(row.prompt, func(t *testing.T) {
			run(t, func(t *testing.T, r *rig) {
				r.lose = 2
				record, list := r.wait(r.submit(row.prompt))
				last := list[len(list)-1]
				if record.State != job.Failed || record.Kind != row.kind || !strings.HasPrefix(last.Message, row.message) || last.Type != job.ErrorEvent {
					t.Errorf("record %+v, last event %+v", record.Outcome, last)
				}
				if next, _ := r.wait(r.submit("fine")); next.State != job.Complete {
					t.Errorf("the next job: %+v", next.Outcome)
				}
				if r.loads != row.loads {
					t.Errorf("loaded %d times, want %d", r.loads, row.loads)
				}
			})
		})
	}
}

func TestDeviceLostOnce(t *testing.T) {
	run(t, func(t *testing.T, r *rig) {
		r.lose = 1
		record, list := r.wait(r.submit("lost"))
		if record.State != job.Complete || record.Attempt != 1 || !slices.Equal(stepsOf(list), []int{1, 2, 3, 4}) || r.loads != 2 {
			t.Errorf("record %+v, steps %v, %d loads", record, stepsOf(list), r.loads)
		}
	})
}

func TestCancelWhileRunning(t *testing.T) {
	run(t, func(t *testing.T, r *rig) {
		id := r.submit("a", func(q *job.Request) { q.Steps = 50 })
		time.Sleep(time.Second + 7*stepTime/2)
		if _, err := r.queue.Cancel(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		record, list := r.wait(id)
		last := list[len(list)-1]
		if record.State != job.Cancelled || len(stepsOf(list)) != 3 || job.EndMarker(last) != "[CANCELLED]" || last.Message != job.CancelMessage {
			t.Errorf("record %+v, events %+v", record, list)
		}
	})
}

func TestTooLong(t *testing.T) {
	run(t, func(t *testing.T, r *rig) {
		record, _ := r.wait(r.submit("a", func(q *job.Request) { q.Steps = 150 }))
		if record.State != job.Failed || !strings.Contains(record.Message, "took longer") {
			t.Errorf("%+v", record.Outcome)
		}
	}, func(_ *rig, c *Config) { c.JobLimit = time.Second })
}

func TestUnsupported(t *testing.T) {
	run(t, func(t *testing.T, r *rig) {
		for _, row := range []struct {
			name   string
			change func(*job.Request)
		}{
			{"image_transform", func(q *job.Request) { q.Operation = job.Transform }},
			{"loras", func(q *job.Request) { q.LoRAs = []job.LoRA{{Path: "x"}} }},
			{"hires", func(q *job.Request) { q.Hires = &job.Hires{} }},
			{"tile", func(q *job.Request) { q.Tile = "xy" }},
			{"f32", func(q *job.Request) { q.Precision = "f32" }},
		} {
			record, _ := r.wait(r.submit("a", row.change))
			if record.Kind != job.InvalidInput || !strings.Contains(record.Message, row.name) {
				t.Errorf("%s: %+v", row.name, record.Outcome)
			}
		}
		if len(r.requests) != 0 {
			t.Errorf("%d of them were drawn all the same", len(r.requests))
		}
	})
}

func TestNoModel(t *testing.T) {
	run(t, func(t *testing.T, r *rig) {
		record, _ := r.wait(r.submit("a"))
		if record.Kind != job.ModelNotFound || record.Message != `no model "x"` {
			t.Errorf("%+v", record.Outcome)
		}
		synctest.Wait()
		if n := r.node(); n.Status.Available() || n.Reason != `no model "x"` {
			t.Errorf("node %+v", n)
		}
	}, func(r *rig, _ *Config) { r.loadErr = job.Errorf(job.ModelNotFound, "no model %q", "x") })
}

func TestShutdownHandsBack(t *testing.T) {
	run(t, func(t *testing.T, r *rig) {
		id := r.submit("a", func(q *job.Request) { q.Steps = 50 })
		time.Sleep(2 * time.Second)
		if err := r.stop(); err != nil {
			t.Errorf("run: %v", err)
		}
		if record := r.record(id); record.State != job.Queued || record.Attempt != 1 {
			t.Errorf("%+v", record)
		}
		if n := r.node(); n.Status != job.Stopped {
			t.Errorf("node is %s", n.Status)
		}
		reader, _ := r.events.Read(t.Context(), id, 0)
		for { // the stream goes on, without an end
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			e, err := reader.Next(ctx)
			cancel()
			if err != nil {
				break
			}
			if e.Final() {
				t.Errorf("a job that was handed back ended with %+v", e)
			}
		}
	})
}

// TestShutdownStuck: a step that does not end keeps nobody from stopping, and
// its job is handed back all the same.
func TestShutdownStuck(t *testing.T) {
	run(t, func(t *testing.T, r *rig) {
		id := r.submit("stuck")
		time.Sleep(2 * time.Second)
		began := time.Now()
		if err := r.stop(); !errors.Is(err, ErrStepRunning) || time.Since(began) != time.Second {
			t.Errorf("run: %v after %v", err, time.Since(began))
		}
		if got := r.record(id).State; got != job.Queued {
			t.Errorf("the job is %s", got)
		}
		time.Sleep(2 * time.Hour) // the step ends and finds its lease gone
		if got := r.record(id).State; got != job.Queued {
			t.Errorf("the job is %s after its step ended", got)
		}
	})
}
