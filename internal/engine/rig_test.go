package engine

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bytes"

	"go.uber.org/goleak"

	"waggle/gpu"
	"waggle/internal/events"
	"waggle/internal/job"
	"waggle/internal/queue"
	"waggle/internal/sd"
	"waggle/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	stepTime = 100 * time.Millisecond
	loadTime = time.Second
	mib      = 1 << 20
)

// script is what the devices of a test do, and what was done on them.
type script struct {
	mu      sync.Mutex
	openErr map[string][]error // of the openings to come, by device; nil where it works
	loadErr map[string]error
	memory  int64                     // that devices report
	need    func(model string) int64  // bytes for one drawing; another 1 MiB for each more
	trouble map[string][]func() error // by prompt: what happens at the second step, one after the other
	deeds
}

func (s *script) do(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// upset has something happen at the second steps of pictures with a prompt.
func (s *script) upset(prompt string, trouble []func() error) {
	s.do(func() { s.trouble[prompt] = trouble })
}

// refuse says how the next openings of a device go.
func (s *script) refuse(device string, errs []error) { s.do(func() { s.openErr[device] = errs }) }

// deeds are what was done on all devices.
type deeds struct {
	opened   int
	loaded   []string // names, in order
	begun    []sd.Request
	rounds   [][]string // prompts of each step
	finished []string
}

// done is what was done so far.
func (s *script) done() (d deeds) {
	s.do(func() {
		d = s.deeds
		d.loaded, d.begun, d.rounds, d.finished = slices.Clone(d.loaded), slices.Clone(d.begun), slices.Clone(d.rounds), slices.Clone(d.finished)
	})
	return d
}

// next is what a picture's second step does; nil for nothing.
func (s *script) next(prompt string) func() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.trouble[prompt]
	if len(list) == 0 {
		return nil
	}
	s.trouble[prompt] = list[1:]
	return list[0]
}

func lost() error                                { return fmt.Errorf("unet: %w", gpu.ErrDeviceLost) }
func outOfSpace() error                          { return fmt.Errorf("decoder: %w", gpu.ErrOutOfMemory) }
func strange() error                             { return errors.New("/secret/path: strange") }
func panics() error                              { panic("index out of range") }
func hangs() error                               { time.Sleep(24 * time.Hour); return nil }
func times(n int, f func() error) []func() error { return slices.Repeat([]func() error{f}, n) }

// fakeDevice is a device without hardware.
type fakeDevice struct {
	*script
	name   string
	closed bool
}

func (s *script) open(name string) (Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened++
	if list := s.openErr[name]; len(list) > 0 {
		s.openErr[name] = list[1:]
		if list[0] != nil {
			return nil, list[0]
		}
	}
	return &fakeDevice{script: s, name: name}, nil
}

func (d *fakeDevice) Name() string  { return d.name }
func (d *fakeDevice) Memory() int64 { return d.memory }
func (d *fakeDevice) Close()        { d.closed = true }

func (d *fakeDevice) Load(model string) (Pipeline, error) {
	d.do(func() { d.loaded = append(d.loaded, model) })
	if err := d.loadErr[model]; err != nil {
		return nil, err
	}
	time.Sleep(loadTime)
	return &scripted{device: d, model: model}, nil
}

// scripted is a pipeline without a network: each step takes stepTime. A latent
// is one number, which all steps and the seed leave their mark on.
type scripted struct {
	device *fakeDevice
	model  string
	closed bool
}

func (p *scripted) Info() sd.Info {
	return sd.Info{Name: p.model, Family: "sd1", MinSide: 64, MaxSide: 4096, Multiple: 8, Factor: 8,
		Defaults: sd.Request{Width: 128, Height: 128, Steps: 20, Guidance: 5, Sampler: "ddim"}}
}

func (p *scripted) Close() { p.closed = true }

func (p *scripted) usable() error {
	if p.closed || p.device.closed {
		return errors.New("used after Close")
	}
	return nil
}

func (p *scripted) Plan(r sd.Request, batch int) (sd.Plan, error) {
	if r.Prompt == "wordy" {
		return sd.Plan{}, errors.New("Prompt too long: 1300 tokens")
	}
	part := sd.PartPlan{Name: "unet"}
	part.Weights = 5*mib + int64(batch-1)*mib
	if p.device.need != nil {
		part.Weights = p.device.need(p.model) + int64(batch-1)*mib
	}
	return sd.Plan{Parts: []sd.PartPlan{part}}, nil
}

func (p *scripted) Shape(r sd.Request) (sd.Shape, error) {
	_, err := p.Plan(r, 1)
	return sd.Shape{Width: r.Width, Height: r.Height, Passes: 1, Tokens: 77}, err
}

// sketch is a drawing of scripted.
type sketch struct {
	pipeline *scripted
	sd.Request
	step  int
	value float32
}

func (p *scripted) Begin(r sd.Request) (Drawing, error) {
	p.device.do(func() { p.device.begun = append(p.device.begun, r) })
	if err := p.usable(); err != nil {
		return nil, err
	}
	s := &sketch{pipeline: p, Request: r, value: float32(r.Seed)}
	if r.From != nil {
		if r.Prompt == "other" {
			return nil, fmt.Errorf("%w: another prompt", sd.ErrOtherPicture)
		}
		s.step, s.value = r.From.Step, r.From.Latent.Data[0]
	}
	return s, nil
}

func (p *scripted) Step(ds ...Drawing) error {
	if err := p.usable(); err != nil {
		return err
	}
	var prompts []string
	for _, d := range ds {
		prompts = append(prompts, d.(*sketch).Prompt)
	}
	p.device.do(func() { p.device.rounds = append(p.device.rounds, prompts) })
	time.Sleep(stepTime)
	for _, d := range ds {
		s := d.(*sketch)
		if s.pipeline != p || s.Done() {
			return errors.New("a step of a drawing that is not to be stepped")
		}
		if s.step == 1 {
			if trouble := p.device.next(s.Prompt); trouble != nil {
				if err := trouble(); err != nil {
					return err
				}
			}
		}
		s.step++
		s.value = s.value*1.37 + float32(s.step)
	}
	return nil
}

// Finish makes a picture whose first pixel is the seed and whose second is the
// latent.
func (p *scripted) Finish(d Drawing) (*image.NRGBA, error) {
	s := d.(*sketch)
	if err := p.usable(); err != nil || !s.Done() {
		return nil, errors.Join(err, errors.New("finished before its time"))
	}
	p.device.do(func() { p.device.finished = append(p.device.finished, s.Prompt) })
	img := image.NewNRGBA(image.Rect(0, 0, s.Width, s.Height))
	img.SetNRGBA(0, 0, color.NRGBA{byte(s.Seed), 0, 0, 255})
	bits := math.Float32bits(s.value)
	img.SetNRGBA(1, 0, color.NRGBA{byte(bits), byte(bits >> 8), byte(bits >> 16), 255})
	return img, nil
}

func (s *sketch) StepsDone() int { return s.step }
func (s *sketch) Total() int     { return s.Steps }
func (s *sketch) Done() bool     { return s.step == s.Steps }
func (s *sketch) Guess() sd.Latent {
	return sd.Latent{Channels: 1, Height: 1, Width: 1, Data: []float32{float32(s.step)}}
}
func (s *sketch) Checkpoint() (*sd.Checkpoint, error) {
	return checkpoint(s.step, s.Steps, s.value), nil
}

func checkpoint(step, total int, value float32) *sd.Checkpoint {
	return &sd.Checkpoint{Step: step, Total: total, Latent: sd.Latent{Channels: 1, Height: 1, Width: 1, Data: []float32{value}}}
}

// pictures is a store in memory: fake time needs one without files or servers.
type pictures struct {
	mu    sync.Mutex
	files map[string][]byte
	fail  int // puts that fail
}

func (p *pictures) Put(_ context.Context, id job.ID, index int, png []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail > 0 {
		p.fail--
		return errors.New("no space left")
	}
	p.files[fmt.Sprint(id, "/", index)] = png
	return nil
}

func (p *pictures) Get(_ context.Context, id job.ID, index int) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	png, ok := p.files[fmt.Sprint(id, "/", index)]
	if !ok {
		return nil, store.ErrNotFound
	}
	return png, nil
}

func (p *pictures) Remove(context.Context, job.ID) error { return nil }

func (p *pictures) Close() error { return nil }

// drawer is Checkpoints in memory; saved counts. A stuck one takes an hour.
type drawer struct {
	mu    sync.Mutex
	kept  map[string][]byte
	saved int
	stuck bool
}

// counts are how many checkpoints were saved, and are there.
func (s *drawer) counts() (saved, left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saved, len(s.kept)
}

func (s *drawer) put(key string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[key] = data
}

func (s *drawer) get(key string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept[key]
}

func (s *drawer) Save(ctx context.Context, id job.ID, index int, data []byte) error {
	if s.stuck {
		<-ctx.Done()
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[fmt.Sprint(id, index)] = data
	s.saved++
	return nil
}

func (s *drawer) Load(_ context.Context, id job.ID, index int) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.kept[fmt.Sprint(id, index)]
	if !ok {
		return nil, store.ErrNotFound
	}
	return data, nil
}

func (s *drawer) Remove(_ context.Context, id job.ID, index int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, fmt.Sprint(id, index))
	return nil
}

// rig is a node with everything it needs, in fake time.
type rig struct {
	*script
	t       *testing.T
	queue   *queue.Memory
	events  events.Log
	store   *pictures
	kept    *drawer
	node    *Node
	engines int
	stop    func() error // ends the node and returns what Run returned
}

// rigged calls test with a running node of one engine.
func rigged(t *testing.T, test func(*testing.T, *rig), change ...func(*rig, *Config)) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.events.Close()
		defer r.queue.Close()
		log := slog.New(slog.NewTextHandler(t.Output(), nil))
		r.node = NewNode(r.queue, job.Node{ID: "n", ModelID: "scripted"}, "scripted", log)
		c := Config{Queue: r.queue, Events: r.events, Store: r.store, Checkpoints: r.kept, Node: r.node, Version: "1.2", Log: log}
		for _, f := range change {
			f(r, &c)
		}
		r.start(c)
		defer r.stop()
		test(t, r)
	})
}

func newRig(t *testing.T) *rig {
	return &rig{t: t, queue: queue.NewMemory(queue.Options{}), events: events.NewMemory(0), engines: 1,
		store: &pictures{files: map[string][]byte{}}, kept: &drawer{kept: map[string][]byte{}},
		script: &script{trouble: map[string][]func() error{}, loadErr: map[string]error{}, openErr: map[string][]error{}}}
}

func (r *rig) start(c Config) {
	var engines []*Engine
	for i := range r.engines {
		c.Adapter = fmt.Sprint("gpu", i)
		name := c.Adapter
		c.Open = func() (Device, error) { return r.open(name) }
		engines = append(engines, New(c))
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, r.node, engines...) }()
	r.stop = func() error {
		cancel()
		err := <-ended
		ended <- err
		return err
	}
}

// submit puts a job of 4 steps and seed 7 in line.
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

// Changes of a request.
func steps(n int) func(*job.Request)             { return func(q *job.Request) { q.Steps = n } }
func batchOf(n int) func(*job.Request)           { return func(q *job.Request) { q.Batch = n } }
func priority(p job.Priority) func(*job.Request) { return func(q *job.Request) { q.Priority = p } }
func wide(n int) func(*job.Request)              { return func(q *job.Request) { q.Width = n } }
func onModel(name string) func(*job.Request)     { return func(q *job.Request) { q.Model = name } }
func named(id job.ID) func(*job.Request)         { return func(q *job.Request) { q.ID = id } }
func stopAt(n int) func(*job.Request)            { return func(q *job.Request) { q.StopAtStep = n } }
func seeded(n uint64) func(*job.Request)         { return func(q *job.Request) { q.Seed = &n } }

// wait follows a job to its end and returns its record and its events.
func (r *rig) wait(id job.ID) (job.Record, []job.Event) {
	r.t.Helper()
	list := r.follow(id, nil)
	return r.record(id), list
}

// follow returns a job's events up to its end, or to the first that is enough.
func (r *rig) follow(id job.ID, enough func(job.Event) bool) (list []job.Event) {
	r.t.Helper()
	reader, err := r.events.Read(r.t.Context(), id, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	defer reader.Close()
	for {
		e, err := reader.Next(r.t.Context())
		if errors.Is(err, events.ErrEnd) {
			return list
		}
		if err != nil {
			r.t.Fatal(err)
		}
		list = append(list, e)
		if enough != nil && enough(e) {
			return list
		}
	}
}

// atStep waits until a job has told of a step.
func (r *rig) atStep(id job.ID, step int) {
	r.t.Helper()
	r.follow(id, func(e job.Event) bool { return e.Step == step })
	synctest.Wait()
}

// until waits until a job is in a state.
func (r *rig) until(id job.ID, s job.State) job.Record {
	r.t.Helper()
	for range 10_000 {
		if record := r.record(id); record.State == s {
			return record
		}
		time.Sleep(stepTime / 2)
	}
	r.t.Fatalf("%s is %s, want %s", id, r.record(id).State, s)
	return job.Record{}
}

func (r *rig) record(id job.ID) job.Record {
	r.t.Helper()
	record, err := r.queue.Get(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return record
}

func (r *rig) told() job.Node {
	r.t.Helper()
	synctest.Wait()
	nodes, err := r.queue.Nodes(r.t.Context())
	i := slices.IndexFunc(nodes, func(n job.Node) bool { return n.ID == "n" })
	if err != nil || i < 0 {
		r.t.Fatalf("%d node records, %v", len(nodes), err)
	}
	return nodes[i]
}

// latent is the bits of the latent that a stored picture was made of.
func (r *rig) latent(id job.ID, index int) color.Color {
	r.t.Helper()
	file, err := r.store.Get(r.t.Context(), id, index)
	if err != nil {
		r.t.Fatalf("picture %d of %s: %v", index, id, err)
	}
	img, err := png.Decode(bytes.NewReader(file))
	if err != nil {
		r.t.Fatal(err)
	}
	return color.NRGBAModel.Convert(img.At(1, 0))
}

// undisturbed is the latent of a picture that was drawn in one go.
func undisturbed(seed uint64, steps int) color.Color {
	value := float32(seed)
	for step := 1; step <= steps; step++ {
		value = value*1.37 + float32(step)
	}
	bits := math.Float32bits(value)
	return color.NRGBA{byte(bits), byte(bits >> 8), byte(bits >> 16), 255}
}

// completes checks that a job is complete with the pictures of an undisturbed
// run and one event for each step.
func (r *rig) completes(id job.ID, seed uint64, steps int) {
	r.t.Helper()
	record, list := r.wait(id)
	if record.State != job.Complete {
		r.t.Errorf("%s is %s: %s %s", id, record.State, record.Kind, record.Message)
		return
	}
	for i := range record.Request.Pictures() {
		if got, want := r.latent(id, i), undisturbed(seed+uint64(i), steps); got != want {
			r.t.Errorf("%s, picture %d: latent %v, want %v", id, i, got, want)
		}
	}
	for i, step := range stepsOf(list) {
		if step != i+1 {
			r.t.Errorf("%s: steps %v, want 1, 2, 3, …", id, stepsOf(list))
			break
		}
	}
	if n := len(stepsOf(list)); n != steps*record.Request.Pictures() {
		r.t.Errorf("%s: %d steps were told of, want %d", id, n, steps*record.Request.Pictures())
	}
}

func stepsOf(list []job.Event) (steps []int) {
	for _, e := range list {
		if e.Step > 0 {
			steps = append(steps, e.Step)
		}
	}
	return steps
}

func statesOf(list []job.Event) string {
	var states []string
	for _, e := range list {
		if e.Type == job.ChangeEvent {
			states = append(states, string(e.State))
		}
	}
	return strings.Join(states, " ")
}
