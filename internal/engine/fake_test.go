package engine

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"maps"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"waggle/gpu"
	"waggle/internal/job"
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
	redone  map[string][]string       // by prompt: networks computed in float32
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

// fault adds one thing that happens at a second step.
func (s *script) fault(prompt string, f func() error) {
	s.do(func() { s.trouble[prompt] = append(s.trouble[prompt], f) })
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
	used   int64
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
func (d *fakeDevice) Used() int64   { return d.used }
func (d *fakeDevice) Close()        { d.closed = true }

func (d *fakeDevice) Load(model string, _ int64) (Pipeline, error) {
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
func (s *sketch) Redone() []string {
	return s.pipeline.device.redone[s.Prompt]
}
func (s *sketch) Done() bool { return s.step == s.Steps }
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

func (s *drawer) list() map[string][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.kept)
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
