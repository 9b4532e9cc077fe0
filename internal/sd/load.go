package sd

import (
	"errors"
	"fmt"

	"waggle/gpu"
	"waggle/internal/models"
	"waggle/internal/nn"
	"waggle/internal/sampler"
	"waggle/internal/weights"
)

// LoadOptions choose how a model runs.
type LoadOptions struct {
	Runtime nn.Options // kernel family and memory; zero values suit the device
}

// Load prepares a model for a device. The model must stay open as long as the pipeline; the device outlives both. Weights go
// to the device when the first picture needs them. A model that cannot be run is a models.ErrInvalid.
func Load(dev *gpu.Device, m *models.Model, opts LoadOptions) (*Pipeline, error) {
	runtime, err := nn.NewRuntime(dev, opts.Runtime)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", m.Name, err)
	}
	p, err := newPipeline(onGPU{runtime, map[weights.Source]*nn.Weights{}}, m)
	if err == nil {
		_, err = p.tokenize("")
	}
	if err != nil {
		runtime.Close()
		return nil, &models.InvalidError{Model: m.Name, Err: err}
	}
	return p, nil
}

// newPipeline reads a model's configuration; nothing is compiled before it is needed.
func newPipeline(c compiler, m *models.Model) (*Pipeline, error) {
	networks, family, err := readNetworks(m)
	if err != nil {
		return nil, err
	}
	p := &Pipeline{
		name: m.Name, networks: networks, family: family, compiler: c,
		programs: newCache(programLimit, (*compiled).Close), texts: newCache[conditioning](textLimit, nil),
	}
	for i, files := range []models.TokenizerFiles{m.Tokenizer, m.Tokenizer2}[:len(networks.text)] {
		t, err := newTokenizer(files, networks.text[i].config)
		if err != nil {
			return nil, fmt.Errorf("tokenizer %d: %w", i+1, err)
		}
		p.tokenizers = append(p.tokenizers, t)
	}
	if err := networks.checkTensors(); err != nil {
		return nil, err
	}
	if p.model, err = noiseModel(m.Scheduler, networks.unet, family); err != nil {
		return nil, err
	}
	return p, nil
}

// checkTensors builds every network's graph, so that weights missing or of another shape are found at once and not by the
// first picture.
func (n Networks) checkTensors() error {
	const side = 8 // of the latent; weights do not depend on it
	for i, text := range n.text {
		if err := textGraph(text, text.config.skip(0)).Err(); err != nil {
			return fmt.Errorf("text encoder %d: %w", i+1, err)
		}
	}
	if err := unetGraph(n.unet, 1, side, side, n.text[0].config.Positions).Err(); err != nil {
		return fmt.Errorf("unet: %w", err)
	}
	if err := decodeGraph(n.vae, side, side).Err(); err != nil {
		return fmt.Errorf("vae: %w", err)
	}
	return nil
}

// noiseModel is what scheduler_config.json says, else what is usual for the family.
func noiseModel(config []byte, unet network[UNetConfig], f family) (*sampler.Model, error) {
	if config != nil {
		c, err := sampler.ParseConfig(config)
		if err != nil {
			return nil, err
		}
		return sampler.NewModel(c)
	}
	prediction := sampler.Epsilon
	if f.mayPredictV && (probe{unet.tensors}).looksLikeV() {
		prediction = sampler.V
	}
	return sampler.NewModel(sampler.StableDiffusion(prediction))
}

// Limits of the caches: pictures take a decoder, up to two text encoders and a UNet for each size of batch that comes by; a
// prompt two chunks or so.
const (
	programLimit = 16
	// activationLimit is the most memory in bytes that the activations of all compiled graphs may keep: beyond it, those
	// used longest ago are given back before a new one is compiled.
	activationLimit = 256 << 20
	textLimit       = 64
)

// compiled is a program in the cache.
type compiled struct {
	program
	seats []*Drawing // of a UNet: whose prompts it has been given, in this order
}

// program finds a compiled graph, or builds and compiles it.
func (p *Pipeline) program(key string, src weights.Source, build func() *nn.Graph) (*compiled, error) {
	if found, ok := p.programs.get(key); ok {
		return found, nil
	}
	g := build()
	if err := p.makeRoom(g); err != nil {
		return nil, err
	}
	made, err := p.compiler.compile(g, src)
	if errors.Is(err, gpu.ErrOutOfMemory) { // what is not in use, such as a text encoder, makes room
		p.programs.shrink(0)
		p.compiler.free()
		made, err = p.compiler.compile(g, src)
	}
	if err != nil {
		return nil, err
	}
	c := &compiled{program: made}
	p.programs.put(key, c)
	return c, nil
}

// makeRoom drops compiled graphs until g has room beside the others.
func (p *Pipeline) makeRoom(g *nn.Graph) error {
	plan, err := p.compiler.plan(g)
	if err != nil {
		return err
	}
	p.programs.shrink(programLimit - 1)
	kept := int64(0)
	for _, c := range p.programs.values {
		kept += activations(c.program)
	}
	for len(p.programs.order) > 0 && kept+plan.Activations() > activationLimit {
		kept -= activations(p.programs.values[p.programs.order[0]].program)
		p.programs.shrink(len(p.programs.order) - 1)
	}
	return nil
}

// activations is the memory of a compiled graph that is not weights, in bytes.
func activations(c program) int64 {
	if planned, ok := c.(interface{ Plan() nn.MemoryPlan }); ok {
		return planned.Plan().Activations()
	}
	return 0
}
