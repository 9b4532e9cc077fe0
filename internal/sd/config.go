package sd

import (
	"errors"
	"fmt"
	"slices"

	"waggle/internal/nn"
	"waggle/internal/weights"
)

// TextConfig shapes a CLIP text encoder and says what the UNet takes from it.
type TextConfig struct {
	Hidden, Intermediate, Layers, Heads int
	Vocabulary, Positions               int
	Activation                          nn.Activation
	Eps                                 float64
	Projection                          int // width of the pooled summary that the UNet takes, 0 for none

	ContextSkip int  // layers at the end that the context leaves out
	ContextNorm bool // the context passes the final layer norm
}

// UNetConfig shapes the denoising network.
type UNetConfig struct {
	In, Out   int     // channels read and predicted: 4, 8 (with a source picture) or 9 (with mask and picture) → 4
	Widths    []int   // channels of each level, fine to coarse
	Down      [][]int // [level][block] depth of the transformer after a residual block, 0 for none; fine to coarse
	Mid       int     // depth of the middle's transformer; 0: one residual block alone (SSD-1B); NoMiddle (BK-SDM)
	Up        [][]int // as Down, coarse to fine
	Heads     []int   // attention heads of each level
	Context   int     // width of the text states
	TextTwice []bool  // [level] both attentions of its transformers read the text, fine to coarse (SDXS); nil: nowhere
	Groups    int     // of the group norms
	Eps       float64 // of the residual blocks' group norms
	TimeWidth int     // of the timestep's embedding
	TimeFlip  bool    // sinusoids have cosines first
	TimeShift float64 // taken from the number of frequencies

	Guidance   int // width of the guidance's sinusoids, 0 where the network is not told of guidance (LCM is)
	Added      int // width of the added vector, 0 for none: pooled text, then sinusoids of six sizes
	AddedTime  int // width of the sinusoids of each size
	SampleSize int // latent side the model was trained on, 0 where unknown
}

// NoMiddle is the depth of a middle that is not there: what comes down goes up at once.
const NoMiddle = -1

// VAEConfig shapes the autoencoder: diffusers' AutoencoderKL, or its AutoencoderTiny.
type VAEConfig struct {
	Picture, Latent int     // channels
	Widths          []int   // channels of each level, fine to coarse
	Layers          int     // residual blocks of an encoder level; a decoder level has one more
	Groups          int     // of the group norms
	MidAttention    bool    // the middle has an attention
	Scale           float64 // a latent is Scale times what the encoder gives
	// Tiny has blocks where this is a TAESD; then Layers, Groups and MidAttention say nothing.
	Tiny TinyConfig
}

// Factor is the side in pixels of one latent cell.
func (c VAEConfig) Factor() int { return 1 << (len(c.Widths) - 1) }

// Limits that no published model comes near; they keep a hostile configuration from making a huge graph.
const (
	maxWidth  = 1 << 14
	maxLayers = 64
	maxLevels = 8
	maxBlocks = 512 // residual blocks and transformer blocks of a UNet; SDXL has 88
	maxTokens = 1 << 20
)

// limits collects the first field that is out of range.
type limits struct{ err error }

func (l *limits) between(field string, v, low, high int) {
	if l.err == nil && (v < low || v > high) {
		l.err = fmt.Errorf("%s is %d, want %d…%d", field, v, low, high)
	}
}

func (l *limits) levels(field string, widths []int, groups int) {
	l.between("number of "+field, len(widths), 1, maxLevels)
	l.between("norm_num_groups", groups, 1, maxWidth)
	for _, width := range widths {
		l.between(field, width, 1, maxWidth)
		if l.err == nil && width%groups != 0 {
			l.err = fmt.Errorf("%s: %d channels do not divide into %d groups (norm_num_groups)", field, width, groups)
		}
	}
}

func (c TextConfig) check() error {
	var l limits
	l.between("hidden_size", c.Hidden, 1, maxWidth)
	l.between("intermediate_size", c.Intermediate, 1, 4*maxWidth)
	l.between("num_hidden_layers", c.Layers, 1, maxLayers)
	l.between("num_attention_heads", c.Heads, 1, c.Hidden)
	l.between("vocab_size", c.Vocabulary, 1, maxTokens)
	l.between("max_position_embeddings", c.Positions, 1, maxWidth)
	l.between("projection_dim", c.Projection, 0, maxWidth)
	l.between("layers left out of the context", c.ContextSkip, 0, c.Layers-1)
	if l.err == nil && c.Hidden%c.Heads != 0 {
		return fmt.Errorf("hidden_size %d does not divide into %d heads (num_attention_heads)", c.Hidden, c.Heads)
	}
	return l.err
}

func (c UNetConfig) check() error {
	var l limits
	l.between("in_channels", c.In, 1, 64)
	l.between("out_channels", c.Out, 1, min(64, c.In))
	l.levels("block_out_channels", c.Widths, c.Groups)
	l.between("cross_attention_dim", c.Context, 1, maxWidth)
	l.between("sample_size", c.SampleSize, 0, maxSide)
	l.between("depth of the middle's transformer", c.Mid, NoMiddle, maxLayers)
	l.between("time_cond_proj_dim", c.Guidance, 0, maxWidth)
	l.between("width of the added embedding", c.Added, 0, 4*maxWidth)
	if l.err != nil {
		return l.err
	}
	if len(c.Down) != len(c.Widths) || len(c.Up) != len(c.Widths) || len(c.Heads) != len(c.Widths) {
		return fmt.Errorf("levels disagree: %d block_out_channels, %d down, %d up, %d attention_head_dim",
			len(c.Widths), len(c.Down), len(c.Up), len(c.Heads))
	}
	if c.Added > 0 && (c.AddedTime <= 0 || c.Added <= sizeCount*c.AddedTime) {
		return fmt.Errorf("addition_time_embed_dim %d leaves no room for pooled text in %d channels", c.AddedTime, c.Added)
	}
	blocks := max(c.Mid, 0)
	for level := range c.Widths {
		c.checkLevel(&l, level)
		for _, depth := range append(slices.Clone(c.Down[level]), c.Up[level]...) {
			blocks += 1 + depth
		}
	}
	l.between("number of blocks", blocks, 1, maxBlocks)
	return l.err
}

// textTwice says whether the tokens of a level's picture attend to the text in place of one another.
func (c UNetConfig) textTwice(level int) bool { return level < len(c.TextTwice) && c.TextTwice[level] }

func (c UNetConfig) checkLevel(l *limits, level int) {
	up := c.Up[len(c.Up)-1-level]
	l.between("layers_per_block", len(c.Down[level]), 1, maxLayers)
	l.between("layers_per_block + 1", len(up), len(c.Down[level])+1, len(c.Down[level])+1)
	for _, depth := range append(slices.Clone(c.Down[level]), up...) {
		l.between("transformer_layers_per_block", depth, 0, maxLayers)
	}
	l.between("attention_head_dim", c.Heads[level], 1, c.Widths[level])
	if l.err == nil && c.Widths[level]%c.Heads[level] != 0 {
		l.err = fmt.Errorf("block_out_channels %d do not divide into %d heads (attention_head_dim)", c.Widths[level], c.Heads[level])
	}
}

func (c VAEConfig) check() error {
	var l limits
	if c.tiny() {
		if err := c.Tiny.check(); err != nil {
			return err
		}
		c.Groups, c.Layers = 1, 1
	}
	l.between("in_channels", c.Picture, 3, 3)
	l.between("latent_channels", c.Latent, 1, 64)
	l.levels("block_out_channels", c.Widths, c.Groups)
	l.between("layers_per_block", c.Layers, 1, maxLayers)
	if l.err == nil && !(c.Scale > 1e-6 && c.Scale < 1e6) {
		return fmt.Errorf("scaling_factor is %v, want a positive number", c.Scale)
	}
	return l.err
}

// network is one part of a model: its shape and its weights.
type network[C any] struct {
	config  C
	tensors weights.Source
}

// Networks are the parts of a latent diffusion model.
type Networks struct {
	text []network[TextConfig]
	unet network[UNetConfig]
	vae  network[VAEConfig]
}

// check finds contradictions within and between the parts.
func (n Networks) check() error {
	context, pooled := 0, 0
	for i, t := range n.text {
		if err := t.config.check(); err != nil {
			return fmt.Errorf("text encoder %d: %w", i+1, err)
		}
		context += t.config.Hidden
		pooled += t.config.Projection
		if t.config.Positions != n.text[0].config.Positions {
			return errors.New("text encoders differ in max_position_embeddings")
		}
	}
	if err := n.unet.config.check(); err != nil {
		return fmt.Errorf("unet: %w", err)
	}
	if err := n.vae.config.check(); err != nil {
		return fmt.Errorf("vae: %w", err)
	}
	return n.checkJoints(context, pooled)
}

func (n Networks) checkJoints(context, pooled int) error {
	u := n.unet.config
	if context != u.Context {
		return fmt.Errorf("the text encoders give %d channels, the unet wants %d (cross_attention_dim)", context, u.Context)
	}
	if u.Added > 0 && pooled+sizeCount*u.AddedTime != u.Added {
		return fmt.Errorf("pooled text of %d and %d sizes of %d channels are not the unet's %d (projection_class_embeddings_input_dim)",
			pooled, sizeCount, u.AddedTime, u.Added)
	}
	if u.Out != n.vae.config.Latent {
		return fmt.Errorf("the unet predicts %d channels, the vae decodes %d (latent_channels)", u.Out, n.vae.config.Latent)
	}
	return nil
}

// sizeCount is the number of size numbers an SDXL UNet takes: original height and width, crop top and left, target height
// and width.
const sizeCount = 6
