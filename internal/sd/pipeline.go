// Package sd turns prompts into pictures with latent diffusion models: Stable Diffusion 1.x, 2.x, XL and networks of their
// kind. A model's shape is data ([UNetConfig] and its like, read from config.json or off the tensors); the networks are
// written once, as graphs of package nn; a [Pipeline] is the method: encode, noise, denoise step by step, decode.
package sd

import (
	"context"
	"image"
	"time"

	"waggle/internal/nn"
	"waggle/internal/tokenizer"
	"waggle/internal/weights"
)

// Request says what to draw and how. Zero values stand for the model's defaults.
type Request struct {
	Prompt, Negative string
	Width, Height    int // pixels
	Steps            int
	Guidance         float64 // classifier-free guidance; up to 1 there is none, and Negative is unused
	Seed             uint64
	Sampler          string
	Schedule         string
	Sigmas           []float64 // in place of a schedule: decreasing, ending in 0
	Dialect          string    // whose noise: see package noise
	Eta              float64   // share of fresh noise in ancestral steps
	ClipSkip         int       // text layer counted from the end, 1 the last
}

// Latent is a picture as the UNet sees it: [C,H,W], channel by channel.
type Latent struct {
	Channels, Height, Width int
	Data                    []float32
}

// Progress is told after every step.
type Progress struct {
	Step, Total int    // from 1
	Latent      Latent // the model's guess of the finished picture, without the noise that is still to go
	Elapsed     time.Duration
}

// Pipeline draws with one model. Its methods must not be called concurrently.
type Pipeline struct {
	name       string
	networks   Networks
	family     family
	tokenizers []*tokenizer.Tokenizer
	compiler   compiler
	programs   *cache[program]
	texts      *cache[conditioning]
}

// Limits of the caches: a picture takes a UNet, a decoder and up to two text encoders; a prompt two chunks or so.
const (
	programLimit = 6
	textLimit    = 64
)

// program finds a compiled graph or compiles it.
func (p *Pipeline) program(key string, src weights.Source, build func() *nn.Graph) (program, error) {
	if found, ok := p.programs.get(key); ok {
		return found, nil
	}
	p.programs.shrink(programLimit - 1) // what will be dropped shall not be in memory beside the new one
	made, err := p.compiler.compile(build(), src)
	if err != nil {
		return nil, err
	}
	p.programs.put(key, made)
	return made, nil
}

var (
	_ context.Context
	_ image.Image
)
