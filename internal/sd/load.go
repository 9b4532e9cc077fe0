package sd

import (
	"errors"
	"fmt"

	"waggle/gpu"
	"waggle/internal/models"
	"waggle/internal/nn"
	"waggle/internal/weights"
)

// LoadOptions choose how a model runs.
type LoadOptions struct {
	Runtime nn.Options // kernel family and memory; zero values suit the device
	// Budget is the most bytes that the model may have on the device at a time; 0 where there is no limit. It is kept by
	// doing less at a time, which takes longer and changes no picture.
	Budget int64
	// Shelf is where other files are that requests name; nil: there are none.
	Shelf *models.Shelf
	// LoRAFiles are paths of LoRAs by the names that requests use, beside those on the shelf.
	LoRAFiles map[string]string
}

// Load prepares a model for a device. The model must stay open as long as the pipeline; the device outlives both. Weights go
// to the device when the first picture needs them. A model that cannot be run is a models.ErrInvalid.
func Load(dev *gpu.Device, m *models.Model, opts LoadOptions) (*Pipeline, error) {
	runtime, err := nn.NewRuntime(dev, opts.Runtime)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", m.Name, err)
	}
	p, err := newPipeline(onGPU{runtime: runtime, tight: opts.Budget > 0, weights: map[weights.Source]*nn.Weights{}}, m)
	if err == nil {
		p.shelf, p.loraFiles = opts.Shelf, opts.LoRAFiles
		_, err = p.tokenize("")
	}
	if err != nil {
		runtime.Close()
		return nil, &models.InvalidError{Model: m.Name, Err: err}
	}
	p.budget = opts.Budget
	return p, nil
}

// newPipeline reads a model's configuration; nothing is compiled before it is needed.
func newPipeline(c compiler, m *models.Model) (*Pipeline, error) {
	p, err := readModel(c, m)
	if err != nil {
		return nil, err
	}
	return p, p.prepare(m)
}

// readModel is a pipeline that knows what its model is.
func readModel(c compiler, m *models.Model) (*Pipeline, error) {
	networks, family, err := readNetworks(m)
	if err != nil {
		return nil, err
	}
	p := &Pipeline{
		name: m.Name, networks: networks, family: family, compiler: c,
		decoders: newCache[decoder](decoderLimit, nil),
		programs: newCache(programLimit, (*compiled).Close), texts: newCache[conditioning](textLimit, nil),
		hashes: hashes{}, exact: map[weights.Source]*exact{}, spellings: &spellings{},
	}
	p.loras = newCache(loraSetLimit, p.dropLoRAs)
	p.decoders.drop = p.dropDecoder
	return p, p.know(m)
}

// prepare reads the tokenizers and looks for what the networks need.
func (p *Pipeline) prepare(m *models.Model) error {
	for i, files := range []models.TokenizerFiles{m.Tokenizer, m.Tokenizer2}[:len(p.networks.text)] {
		t, err := newTokenizer(files, p.networks.text[i].config)
		if err != nil {
			return fmt.Errorf("tokenizer %d: %w", i+1, err)
		}
		p.tokenizers = append(p.tokenizers, t)
	}
	return p.networks.checkTensors()
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

// textLimit is how many chunks of prompts are kept encoded: a prompt has two or so.
const textLimit = 64

// compiled is a program in the cache.
type compiled struct {
	program
	pipeline    *Pipeline
	key         string
	part        part
	source      weights.Source       // of its weights, which may be more exact than the part's
	inputs      map[string][]float32 // as they were given
	activations int64                // bytes
	seats       []seat               // of a UNet: whose prompts it has been given, in this order
}

// program finds a compiled graph, or builds and compiles it.
func (p *Pipeline) program(key string, src weights.Source, build func() *nn.Graph) (*compiled, error) {
	return p.batchProgram(key, part{source: src, rows: 1, graph: func(int) *nn.Graph { return build() }})
}

// batchProgram finds the program of a network for its whole batch, or makes it.
func (p *Pipeline) batchProgram(key string, n part) (*compiled, error) {
	if found, ok := p.programs.get(key); ok && found.source == p.precise(n.source) {
		return found, nil
	}
	c, err := p.compile(key, n)
	if errors.Is(err, weights.ErrOverflow) && p.widen(n.source) {
		c, err = p.compile(key, n)
	}
	if err != nil {
		return nil, err
	}
	p.programs.put(key, c)
	return c, nil
}

// compile makes the program of a network within the budget.
func (p *Pipeline) compile(key string, n part) (*compiled, error) {
	p.programs.remove(key)
	w, err := p.fit(n)
	if err != nil {
		return nil, err
	}
	source := p.precise(n.source)
	p.makeRoom(key, source, w.need)
	made, err := p.compiler.compile(w.graph, source)
	if errors.Is(err, gpu.ErrOutOfMemory) { // what is not in use, such as a text encoder, makes room
		p.programs.shrink(0)
		p.compiler.free()
		made, err = p.compiler.compile(w.graph, source)
	}
	if err != nil {
		return nil, err
	}
	if w.runs > 1 {
		made = newSplit(made, w.runs, w.graph.Outputs())
	}
	return &compiled{program: made, pipeline: p, key: key, part: n, source: source, inputs: map[string][]float32{}, activations: w.need.Activations()}, nil
}
