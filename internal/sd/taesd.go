package sd

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"waggle/internal/nn"
	"waggle/internal/weights"
)

// TinyConfig shapes a TAESD (ollin 2023, github.com/madebyollin/taesd): an autoencoder a hundred times as fast as the real
// one, for previews and for models that come with it. Its latents are the UNet's, without a scaling factor.
type TinyConfig struct {
	Picture, Latent, Width int   // channels
	Encoder, Decoder       []int // blocks of each level in the order of use; nil where a file has only the other half
}

// Factor is the side in pixels of one latent cell.
func (c TinyConfig) Factor() int { return 1 << (max(len(c.Encoder), len(c.Decoder)) - 1) }

func (c TinyConfig) check() error {
	var l limits
	l.between("in_channels", c.Picture, 1, 64)
	l.between("latent_channels", c.Latent, 1, 64)
	l.between("block_out_channels", c.Width, 1, maxWidth)
	for name, blocks := range map[string][]int{"num_encoder_blocks": c.Encoder, "num_decoder_blocks": c.Decoder} {
		l.between("levels of "+name, len(blocks), 0, maxLevels)
		for _, n := range blocks {
			l.between(name, n, 1, maxLayers)
		}
	}
	return l.err
}

// latentReach is how far a TAESD's latents go: beyond it they are bent smoothly, so that no value is out of its reach.
const latentReach = 3

// tinyLatent bends a latent before TinyDecode, in a copy: z → 3·tanh(z/3).
func tinyLatent(z []float32) []float32 {
	out := make([]float32, len(z))
	for i, v := range z {
		out[i] = float32(latentReach * math.Tanh(float64(v)/latentReach))
	}
	return out
}

// TinyDecode turns a latent of tinyLatent into a picture of about 0…1: z [N,h,w,Latent] → [N,h·f,w·f,Picture].
func TinyDecode(g *nn.Graph, c TinyConfig, z nn.Tensor) nn.Tensor {
	g = g.Scope("decoder")
	x, at := g.ReLU(g.Conv3x3("1", z, c.Width)), 3 // 0 bends the latent, 2 is the ReLU
	for level, blocks := range c.Decoder {
		x, at = tinyBlocks(g, x, at, blocks)
		if level < len(c.Decoder)-1 {
			x, at = g.WithoutBias().UpConv3x3(fmt.Sprint(at+1), x, c.Width), at+2 // the doubling has a number too
		}
	}
	return g.Conv3x3(fmt.Sprint(at), x, c.Picture)
}

// TinyEncode turns a picture of 0…1 into a latent: x [N,H,W,Picture] → [N,H/f,W/f,Latent].
func TinyEncode(g *nn.Graph, c TinyConfig, x nn.Tensor) nn.Tensor {
	g = g.Scope("encoder")
	x, at := g.Conv3x3("0", x, c.Width), 1
	for level, blocks := range c.Encoder {
		if level > 0 {
			x, at = g.WithoutBias().DownConv3x3(fmt.Sprint(at), x, c.Width), at+1
		}
		x, at = tinyBlocks(g, x, at, blocks)
	}
	return g.Conv3x3(fmt.Sprint(at), x, c.Latent)
}

// tinyBlocks: count residual blocks of three convolutions, the first at number at; the next free number.
func tinyBlocks(g *nn.Graph, x nn.Tensor, at, count int) (nn.Tensor, int) {
	for range count {
		b := g.Scope(fmt.Sprintf("%d.conv", at))
		h := g.ReLU(b.Conv3x3("0", x, x.Channels()))
		h = g.ReLU(b.Conv3x3("2", h, x.Channels()))
		x, at = g.ReLU(g.Add(b.Conv3x3("4", h, x.Channels()), x)), at+1
	}
	return x, at
}

// readTiny finds a TAESD, or a half of one, in a file's tensors.
func readTiny(src weights.Source) (n network[TinyConfig], err error) {
	if n.tensors, err = weights.CanonicalTiny(src); err != nil {
		return n, fmt.Errorf("taesd: %w", err)
	}
	p := probe{n.tensors}
	c := TinyConfig{Picture: p.extent(1, "encoder.0.weight"), Width: p.extent(0, "encoder.0.weight")}
	var last int
	if c.Encoder, last = p.tinyLevels("encoder", 1, 0); c.Encoder != nil {
		c.Latent = p.extent(0, "encoder.%d.weight", last)
	}
	if c.Decoder, last = p.tinyLevels("decoder", 3, 1); c.Decoder != nil {
		c.Latent, c.Width, c.Picture = p.extent(1, "decoder.1.weight"), p.extent(0, "decoder.1.weight"), p.extent(0, "decoder.%d.weight", last)
	}
	if c.Encoder == nil && c.Decoder == nil {
		return n, errors.New("taesd: no blocks are found: the file is of another kind")
	}
	n.config = c
	if err := c.check(); err != nil {
		return n, fmt.Errorf("taesd: %w", err)
	}
	return n, nil
}

// tinyLevels counts the blocks of every level from number at on; between levels are one number and gap more. last is the number
// of the convolution behind them.
func (p probe) tinyLevels(half string, at, gap int) (levels []int, last int) {
	for len(levels) <= maxLevels {
		blocks := 0
		for blocks <= maxLayers && p.shape("%s.%d.conv.0.weight", half, at) != nil {
			at, blocks = at+1, blocks+1
		}
		if blocks == 0 {
			return levels, at - 1 - gap
		}
		levels, at = append(levels, blocks), at+1+gap
	}
	return levels, at
}

// tinyDecodeGraph: input "latent" [1,h,w,Latent], output "picture" [1,h·f,w·f,Picture] of 0…1.
func tinyDecodeGraph(n network[TinyConfig], batch, height, width int) *nn.Graph {
	g := nn.NewGraph(n.tensors)
	g.Output("picture", TinyDecode(g, n.config, g.Input("latent", nn.PerStep, batch, height, width, n.config.Latent)))
	return g
}

// tinyEncodeGraph: input "picture" [1,h·f,w·f,Picture] of 0…1, output "latent" [1,h,w,Latent].
func tinyEncodeGraph(n network[TinyConfig], batch, height, width int) *nn.Graph {
	g, f := nn.NewGraph(n.tensors), n.config.Factor()
	g.Output("latent", TinyEncode(g, n.config, g.Input("picture", nn.PerStep, batch, height*f, width*f, n.config.Picture)))
	return g
}

// tinyVAE is the autoencoder of a TAESD, whose latents are the UNet's times scale.
func tinyVAE(c TinyConfig, scale float64) (VAEConfig, error) {
	if len(c.Decoder) == 0 {
		return VAEConfig{}, errors.New("taesd: it has an encoder alone, and pictures need its decoder")
	}
	v := VAEConfig{Picture: c.Picture, Latent: c.Latent, Scale: scale, Tiny: c}
	for range min(len(c.Decoder), maxLevels+1) {
		v.Widths = append(v.Widths, c.Width)
	}
	return v, v.check()
}

// tiny reports whether the autoencoder is a TAESD.
func (c VAEConfig) tiny() bool { return len(c.Tiny.Decoder) > 0 }

// enter makes of latents of the UNet what the decoder reads, in place or in a copy.
func (c VAEConfig) enter(z []float32) []float32 {
	scale := float32(c.Scale)
	for i := range z {
		z[i] /= scale
	}
	if c.tiny() {
		return tinyLatent(z)
	}
	return z
}

// leave makes of what the decoder gives a picture of about −1…1, in place. A TAESD gives 0…1.
func (c VAEConfig) leave(picture []float32) []float32 {
	if c.tiny() {
		for i, v := range picture {
			picture[i] = 2*v - 1
		}
	}
	return picture
}

// isTiny reports whether tensors are a TAESD's, under the names of weights.CanonicalTiny.
func (p probe) isTiny() bool {
	return p.shape("decoder.1.weight") != nil && p.shape("decoder.3.conv.0.weight") != nil
}

// detectTinyVAE reads the shape of a TAESD off its tensors.
func detectTinyVAE(src weights.Source) (VAEConfig, error) {
	n, err := readTiny(src)
	if err != nil {
		return VAEConfig{}, err
	}
	return tinyVAE(n.config, 1)
}

// parseTinyVAE reads the configuration of an AutoencoderTiny.
func parseTinyVAE(data []byte) (VAEConfig, error) {
	var d = struct {
		Picture    int     `json:"out_channels"`
		Latent     int     `json:"latent_channels"`
		Widths     []int   `json:"decoder_block_out_channels"`
		Encoder    []int   `json:"num_encoder_blocks"`
		Decoder    []int   `json:"num_decoder_blocks"`
		Factor     int     `json:"upsampling_scaling_factor"`
		Scale      float64 `json:"scaling_factor"`
		Shift      float64 `json:"shift_factor"`
		Activation string  `json:"act_fn"`
		Upsample   string  `json:"upsample_fn"`
	}{3, 4, []int{64, 64, 64, 64}, []int{1, 3, 3, 3}, []int{3, 3, 3, 1}, 2, 1, 0, "relu", "nearest"}
	if err := readConfig(data, &d); err != nil {
		return VAEConfig{}, err
	}
	switch {
	case d.Activation != "relu" || d.Shift != 0:
		return VAEConfig{}, fmt.Errorf("config.json: act_fn %q with shift_factor %v is not supported in an AutoencoderTiny", d.Activation, d.Shift)
	case d.Factor != 2 || d.Upsample != "nearest":
		return VAEConfig{}, fmt.Errorf("config.json: upsample_fn %q by %d is not supported", d.Upsample, d.Factor)
	case len(d.Widths) == 0 || len(d.Widths) != len(d.Decoder) || slices.Min(d.Widths) != slices.Max(d.Widths):
		return VAEConfig{}, fmt.Errorf("config.json: decoder_block_out_channels of %d levels for %d in num_decoder_blocks: want one width for all levels", len(d.Widths), len(d.Decoder))
	}
	return tinyVAE(TinyConfig{Picture: d.Picture, Latent: d.Latent, Width: d.Widths[0], Encoder: d.Encoder, Decoder: d.Decoder}, d.Scale)
}
