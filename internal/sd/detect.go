package sd

import (
	"fmt"
	"slices"

	"waggle/internal/nn"
	"waggle/internal/weights"
)

// What the tensors of a checkpoint cannot tell is fixed for all published models of their kind.
const (
	usualGroups  = 32 // group norms, UNet and VAE
	headSize     = 64 // channels a head, where projections are linears (SD 2.x, SDXL) and in every CLIP text encoder
	headsOfSD1   = 8  // heads at every level, where projections are 1×1 convolutions (SD 1.x)
	addedTimeDim = 256
)

// probe looks at the tensors of a source.
type probe struct{ weights.Source }

// shape of a tensor, nil where there is none.
func (p probe) shape(format string, args ...any) []int {
	t, ok := p.Tensor(fmt.Sprintf(format, args...))
	if !ok {
		return nil
	}
	return t.Shape
}

// extent of a tensor's axis, 0 where it has none.
func (p probe) extent(axis int, format string, args ...any) int {
	s := p.shape(format, args...)
	if axis >= len(s) {
		return 0
	}
	return s[axis]
}

// count how many of 0, 1, 2 … exist in a name with one %d.
func (p probe) count(format string, args ...any) int {
	n := 0
	for n <= maxLayers && p.shape(format, append(slices.Clone(args), n)...) != nil {
		n++
	}
	return n
}

// depth of the transformer in a block, 0 for none.
func (p probe) depth(block string) int {
	return p.count("%s.transformer_blocks.%d.norm1.weight", block)
}

// detectUNet reads the shape of a UNet off its tensors (original names).
func detectUNet(src weights.Source) (UNetConfig, error) {
	p := probe{src}
	c := UNetConfig{
		In: p.extent(1, "input_blocks.0.0.weight"), Out: p.extent(0, "out.2.weight"), Groups: usualGroups, Eps: 1e-5,
		TimeWidth: p.extent(0, "time_embed.0.weight"), TimeFlip: true, Added: p.extent(1, "label_emb.0.0.weight"),
		Mid: p.depth("middle_block.1"),
	}
	if c.Added > 0 {
		c.AddedTime = addedTimeDim
	}
	conv := p.down(&c)
	p.up(&c)
	for _, width := range c.Widths {
		heads := width / headSize
		if conv {
			heads = headsOfSD1
		}
		c.Heads = append(c.Heads, heads)
	}
	if len(c.Widths) == 0 {
		return c, fmt.Errorf("no UNet: tensor input_blocks.1.0.in_layers.2.weight is missing")
	}
	return c, c.check()
}

// down walks the input blocks; conv tells whether projections are convolutions.
func (p probe) down(c *UNetConfig) (conv bool) {
	var level []int
	for n := 1; n <= maxLayers; n++ {
		name := fmt.Sprintf("input_blocks.%d", n)
		width := p.extent(0, "%s.0.in_layers.2.weight", name)
		if width > 0 {
			if level = append(level, p.depth(name+".1")); len(level) == 1 {
				c.Widths = append(c.Widths, width)
			}
			if w := p.extent(1, "%s.1.transformer_blocks.0.attn2.to_k.weight", name); w > 0 {
				c.Context, conv = w, len(p.shape("%s.1.proj_in.weight", name)) > 2
			}
			continue
		}
		if len(level) > 0 {
			c.Down, level = append(c.Down, level), nil
		}
		if p.shape("%s.0.op.weight", name) == nil {
			return conv
		}
	}
	return conv
}

// up walks the output blocks; a level ends with a block that has a doubling convolution.
func (p probe) up(c *UNetConfig) {
	var level []int
	for n := 0; n <= maxLayers; n++ {
		name := fmt.Sprintf("output_blocks.%d", n)
		if p.shape("%s.0.in_layers.2.weight", name) == nil {
			break
		}
		level = append(level, p.depth(name+".1"))
		if p.shape("%s.1.conv.weight", name) != nil || p.shape("%s.2.conv.weight", name) != nil {
			c.Up, level = append(c.Up, level), nil
		}
	}
	c.Up = append(c.Up, level)
}

// detectText reads the shape of a text encoder off its tensors. Encoders of OpenAI (width 768) use the quick GELU, those of
// OpenCLIP the exact one; the latter pad with token 0.
func detectText(src weights.Source) (TextConfig, error) {
	p := probe{src}
	const embeddings = "text_model.embeddings."
	c := TextConfig{
		Vocabulary: p.extent(0, embeddings+"token_embedding.weight"), Hidden: p.extent(1, embeddings+"token_embedding.weight"),
		Positions:    p.extent(0, embeddings+"position_embedding.weight"),
		Intermediate: p.extent(0, "text_model.encoder.layers.0.mlp.fc1.weight"),
		Layers:       p.count("text_model.encoder.layers.%d.mlp.fc1.weight"),
		Projection:   p.extent(0, "text_projection.weight"),
		Activation:   nn.GELU, Eps: 1e-5, ContextNorm: true,
	}
	c.Heads = max(1, c.Hidden/headSize)
	if c.Hidden <= 768 {
		c.Activation, c.Pad = nn.QuickGELU, -1
	}
	if c.Hidden == 0 {
		return c, fmt.Errorf("no text encoder: tensor %stoken_embedding.weight is missing", embeddings)
	}
	return c, c.check()
}

// detectVAE reads the shape of an autoencoder off its tensors (original names).
func detectVAE(src weights.Source, scale float64) (VAEConfig, error) {
	p := probe{src}
	c := VAEConfig{Picture: p.extent(0, "decoder.conv_out.weight"), Latent: p.extent(1, "decoder.conv_in.weight"),
		Groups: usualGroups, Layers: p.count("decoder.up.0.block.%d.conv1.weight") - 1, Scale: scale,
		MidAttention: p.shape("decoder.mid.attn_1.q.weight") != nil}
	for level := 0; level <= maxLevels; level++ {
		width := p.extent(0, "decoder.up.%d.block.0.conv1.weight", level)
		if width == 0 {
			break
		}
		c.Widths = append(c.Widths, width)
	}
	if len(c.Widths) == 0 {
		return c, fmt.Errorf("no autoencoder: tensor decoder.up.0.block.0.conv1.weight is missing")
	}
	return c, c.check()
}
