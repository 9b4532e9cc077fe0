// Package sd turns prompts into pictures with latent diffusion models: Stable Diffusion 1.x, 2.x, XL and networks of their
// kind. A model's shape is data ([UNetConfig] and its like, read from config.json or off the tensors); the networks are
// written once, as graphs of package nn; a [Pipeline] is the method: encode, noise, denoise step by step, decode.
//
// [Pipeline.Generate] is all of it for one picture. In parts it is [Pipeline.Begin], [Pipeline.Step] and [Pipeline.Finish] of
// a [Drawing]: drawings of equal [Shape] are stepped together, each at its own step.
//
// A picture can be left between any two steps and taken up again, in another process too: a [Checkpoint] holds the latent,
// the sampler's memory and the position in the noise. On the same adapter the picture is then the same to the last bit.
// What the steps have in common (text, programs) is made anew.
package sd

import (
	"context"
	"fmt"
	"image"
	"time"

	"waggle/internal/models"
	"waggle/internal/sampler"
	"waggle/internal/tokenizer"
	"waggle/internal/weights"
)

// Request says what to draw and how. Zero values stand for the model's defaults.
type Request struct {
	Prompt, Negative string
	Width, Height    int // pixels
	Steps            int
	Guidance         float64 // classifier-free guidance; up to 1 there is none, and Negative is unused
	GuidanceRescale  float64 // how far the contrast is brought back that guidance raises, 0…1
	Seed             uint64
	Sampler          string
	Schedule         string
	Sigmas           []float64 // in place of a schedule: decreasing, ending in 0
	Dialect          string    // whose noise and time steps: see package noise
	Eta              *float64  // share of fresh noise in a step; nil for the sampler's own
	ClipSkip         int       // text layer counted from the end, 1 the last
	Precision        string    // of the networks: f32
	LoRAs            []LoRA    // beside those that the prompt names
	VAE              string    // name of another decoder than the model's, on the shelf

	// From goes on after the step of a checkpoint, which must be of the same picture: all of the above as it was.
	From *Checkpoint
}

// Latent is a picture as the UNet sees it: [C,H,W], channel by channel.
type Latent struct {
	Channels, Height, Width int
	Data                    []float32
}

// Progress is told after every step.
type Progress struct {
	Step, Total int    // from 1
	Latent      Latent // the model's guess of the finished picture, without the noise that is still to go; not to be changed
	Elapsed     time.Duration
}

// Pipeline draws with one model. Its methods must not be called concurrently.
type Pipeline struct {
	name       string
	shelf      *models.Shelf
	loraFiles  map[string]string
	loras      *cache[*loraSet]
	hashes     hashes
	networks   Networks
	family     family
	tokenizers []*tokenizer.Tokenizer
	spellings  *spellings
	model      *sampler.Model
	facts      []Fact
	usual      Request // what zero values of a request mean
	weights    string  // their key, once it is asked for
	compiler   compiler
	decoders   *cache[decoder]
	budget     int64                     // bytes on the device; 0 where there is no limit
	exact      map[weights.Source]*exact // networks with weights in float32
	redone     []string                  // what they are, for people
	programs   *cache[*compiled]
	texts      *cache[conditioning]
}

// Generate draws a picture. onStep, which may be nil, is called after every step; ctx is looked at before every step.
func (p *Pipeline) Generate(ctx context.Context, r Request, onStep func(Progress)) (*image.NRGBA, error) {
	d, err := p.Begin(r)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	for !d.Done() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := p.Step(d); err != nil {
			return nil, err
		}
		if onStep != nil {
			onStep(Progress{Step: d.StepsDone(), Total: d.Total(), Latent: d.Guess(), Elapsed: time.Since(start)})
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return p.Finish(d)
}

// decode turns a latent [C,H,W] into a picture [height,width,3] of about −1…1.
func (p *Pipeline) decode(s settings, x []float32) ([]float32, error) {
	vae, err := p.decoder(s.VAE)
	if err != nil {
		return nil, err
	}
	decoder, err := p.batchProgram(fmt.Sprint("decode ", s.height, s.width, vae.key), vae.part(s.height, s.width))
	if err != nil {
		return nil, fmt.Errorf("decoder: %w", err)
	}
	z := vae.config.enter(transposed(x, 1, s.channels, s.height*s.width))
	picture, err := run(decoder, map[string][]float32{"latent": z}, "picture")
	if err != nil {
		return nil, err
	}
	return vae.config.leave(picture), nil
}

// toImage makes bytes of a picture [h,w,3] of −1…1; share is rounded or truncated.
func toImage(picture []float32, width, height int, share float32) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for i := range width * height {
		var rgb [3]float32
		for k, v := range picture[3*i:][:3] {
			rgb[k] = v/2 + 0.5
		}
		setPixel(img.Pix[4*i:], rgb, share)
	}
	return img
}

// Preview draws a latent with one pixel for every cell, by the family's linear rule.
func (p *Pipeline) Preview(l Latent) *image.NRGBA { return p.family.colours.picture(l) }

// Close gives back everything on the GPU.
func (p *Pipeline) Close() {
	p.programs.shrink(0)
	p.loras.shrink(0)
	p.decoders.shrink(0)
	p.compiler.close()
}
