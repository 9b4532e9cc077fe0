package sd

import (
	"errors"
	"fmt"
	"slices"

	"waggle/internal/nn"
	"waggle/internal/weights"
)

// addedTimeDim is the width of the sinusoids of a size in SDXL, which its tensors do not say.
const addedTimeDim = 256

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
func detectUNet(src weights.Source, f family) (UNetConfig, error) {
	p := probe{src}
	c, err := p.wayDown(f)
	if err != nil {
		return c, err
	}
	c.Out = p.extent(0, "out.2.weight")
	p.up(&c)
	return c, c.check()
}

// wayDown reads all but the way up and what leads out.
func (p probe) wayDown(f family) (UNetConfig, error) {
	c := UNetConfig{
		In: p.extent(1, "input_blocks.0.0.weight"), Groups: f.groups, Eps: 1e-5,
		TimeWidth: p.extent(0, "time_embed.0.weight"), TimeFlip: true, Added: p.extent(1, "label_emb.0.0.weight"),
		Mid: p.depth("middle_block.1"), Guidance: p.extent(1, "time_embed.cond_proj.weight"),
	}
	if c.Added > 0 {
		c.AddedTime = addedTimeDim
	}
	if p.shape("middle_block.0.in_layers.2.weight") == nil {
		c.Mid = NoMiddle
	}
	p.down(&c)
	for _, width := range c.Widths {
		heads := f.heads
		if heads == 0 {
			heads = width / headSize
		}
		c.Heads = append(c.Heads, heads)
	}
	if len(c.Widths) == 0 {
		return c, errors.New("tensor input_blocks.1.0.in_layers.2.weight is missing")
	}
	return c, nil
}

// down walks the input blocks; a level ends with a halving convolution or the last block.
func (p probe) down(c *UNetConfig) {
	var level []int
	for n := 1; n <= maxLayers; n++ {
		name := fmt.Sprintf("input_blocks.%d", n)
		if width := p.extent(0, "%s.0.in_layers.2.weight", name); width > 0 {
			if level = append(level, p.depth(name+".1")); len(level) == 1 {
				c.Widths = append(c.Widths, width)
			}
			c.Context = max(c.Context, p.extent(1, "%s.1.transformer_blocks.0.attn2.to_k.weight", name))
			if read := p.extent(1, "%s.1.transformer_blocks.0.attn1.to_k.weight", name); read != 0 && read != width {
				c.TextTwice = append(c.TextTwice, make([]bool, len(c.Widths)-len(c.TextTwice))...)
				c.TextTwice[len(c.Widths)-1] = true
			}
			continue
		}
		if len(level) > 0 {
			c.Down, level = append(c.Down, level), nil
		}
		if p.shape("%s.0.op.weight", name) == nil {
			return
		}
	}
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

// openAIWidth is the width of OpenAI's text encoder. It and narrower ones use the quick GELU; the wider ones of OpenCLIP use
// the exact one.
const openAIWidth = 768

// detectText reads the shape of a text encoder off its tensors.
func detectText(src weights.Source, f family) (TextConfig, error) {
	p := probe{src}
	const embeddings = "text_model.embeddings."
	hidden := p.extent(1, embeddings+"token_embedding.weight")
	c := TextConfig{
		Hidden: hidden, Heads: max(1, hidden/f.textHead),
		Vocabulary:   p.extent(0, embeddings+"token_embedding.weight"),
		Positions:    p.extent(0, embeddings+"position_embedding.weight"),
		Intermediate: p.extent(0, "text_model.encoder.layers.0.mlp.fc1.weight"),
		Layers:       p.count("text_model.encoder.layers.%d.mlp.fc1.weight"),
		Projection:   p.extent(0, "text_projection.weight"),
		Activation:   nn.QuickGELU, Eps: 1e-5, ContextNorm: true,
	}
	if c.Hidden > openAIWidth {
		c.Activation = nn.GELU
	}
	if f.textLayers > 0 {
		c.ContextSkip = max(0, c.Layers-f.textLayers)
	}
	if c.Hidden == 0 {
		return c, fmt.Errorf("tensor %stoken_embedding.weight is missing", embeddings)
	}
	return c, c.check()
}

// detectVAE reads the shape of an autoencoder off its tensors (original names, or a TAESD's).
func detectVAE(src weights.Source, f family) (VAEConfig, error) {
	p := probe{src}
	if p.isTiny() {
		return detectTinyVAE(src)
	}
	c := VAEConfig{Picture: p.extent(0, "decoder.conv_out.weight"), Latent: p.extent(1, "decoder.conv_in.weight"),
		Groups: f.vaeGroups, Layers: p.count("decoder.up.0.block.%d.conv1.weight") - 1, Scale: f.scale,
		MidAttention: p.shape("decoder.mid.attn_1.q.weight") != nil}
	for level := 0; level <= maxLevels; level++ {
		width := p.extent(0, "decoder.up.%d.block.0.conv1.weight", level)
		if width == 0 {
			break
		}
		c.Widths = append(c.Widths, width)
	}
	if len(c.Widths) == 0 {
		return c, errors.New("tensor decoder.up.0.block.0.conv1.weight is missing")
	}
	return c, c.check()
}
