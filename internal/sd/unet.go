package sd

import (
	"fmt"
	"math"

	"waggle/internal/nn"
)

// UNetInputs are what the denoising network reads.
type UNetInputs struct {
	Sample   nn.Tensor // [N,H,W,In] the scaled latent, with mask or source picture behind it where the model takes them
	Time     nn.Tensor // [N,Widths[0]] sinusoids of the timestep, see timeSinusoid
	Context  nn.Tensor // [N,T,Context] text states
	Added    nn.Tensor // [N,Added] pooled text and sinusoids of the picture's size; only where Config.Added > 0
	Guidance nn.Tensor // [N,Guidance] sinusoids of the guidance; only where Config.Guidance > 0
	Steering Steering  // other networks' say
}

// Steering is what other networks add to a UNet's own values.
type Steering struct {
	Control  []nn.Tensor // of ControlNets: for every kept result of the way down, then for the middle; nil for none
	Features []nn.Tensor // of T2I-Adapters: for every level of the way down; nil for none
}

// UNet predicts the noise in a latent, or its velocity: [N,H,W,Out]. Down pushes, the middle, up pops.
// Ronneberger et al. 2015, Ho et al. 2020, Rombach et al. 2022. Names are those of the original checkpoints.
func UNet(g *nn.Graph, c UNetConfig, in UNetInputs) nn.Tensor {
	u := unet{g: g, c: c, context: in.Context, emb: g.SiLU(embedding(g, c, in)), features: in.Steering.Features}
	x := g.Conv3x3("input_blocks.0.0", in.Sample, c.Widths[0])
	x, skips := u.down(x)
	if c.Mid != NoMiddle {
		x = u.middle(x)
	}
	if control := in.Steering.Control; control != nil {
		x = u.controlled(x, skips, control)
	}
	x = u.up(x, skips)
	x = g.SiLU(g.GroupNorm("out.0", x, c.Groups, c.Eps))
	return g.Conv3x3("out.2", x, c.Out)
}

// unet is the network under construction: what all blocks share.
type unet struct {
	g       *nn.Graph
	c       UNetConfig
	context nn.Tensor // [N,T,Context]
	emb     nn.Tensor // [N,4·Widths[0]] SiLU of the embedding

	features []nn.Tensor // see Steering
}

// controlled adds what ControlNets say to the kept results and to the middle, which it returns.
func (u unet) controlled(x nn.Tensor, skips, control []nn.Tensor) nn.Tensor {
	if len(control) != len(skips)+1 {
		u.g.Fail("a ControlNet for %d kept results, the UNet has %d: it is of another family", len(control)-1, len(skips))
		return x
	}
	for i := range skips {
		skips[i] = u.g.Add(skips[i], control[i])
	}
	return u.g.Add(x, control[len(skips)])
}

// embedding of the timestep and, for SDXL, of pooled text and sizes: [N,TimeWidth]. An LCM is told of guidance beside the
// time, in place of a second pass (Luo et al. 2023).
func embedding(g *nn.Graph, c UNetConfig, in UNetInputs) nn.Tensor {
	time := in.Time
	if c.Guidance > 0 {
		time = g.Add(time, g.LinearNoBias("time_embed.cond_proj", in.Guidance, c.Widths[0]))
	}
	emb := perceptron(g.Scope("time_embed"), time, c.TimeWidth)
	if c.Added > 0 {
		emb = g.Add(emb, perceptron(g.Scope("label_emb.0"), in.Added, c.TimeWidth))
	}
	return emb
}

// perceptron: linear, SiLU, linear: [N,C] → [N,out].
func perceptron(g *nn.Graph, x nn.Tensor, out int) nn.Tensor {
	return g.Linear("2", g.SiLU(g.Linear("0", x, out)), out)
}

// down halves the picture from level to level and keeps every block's result for the way up.
func (u unet) down(x nn.Tensor) (nn.Tensor, []nn.Tensor) {
	skips, block := []nn.Tensor{x}, 1
	for level, depths := range u.c.Down {
		for i, depth := range depths {
			x = u.block(fmt.Sprintf("input_blocks.%d", block), x, level, depth)
			if i == len(depths)-1 && level < len(u.features) {
				x = u.g.Add(x, u.features[level])
			}
			skips, block = append(skips, x), block+1
		}
		if level < len(u.c.Down)-1 {
			x = u.g.DownConv3x3(fmt.Sprintf("input_blocks.%d.0.op", block), x, u.c.Widths[level])
			skips, block = append(skips, x), block+1
		}
	}
	return x, skips
}

// middle: residual block, transformer, residual block on the coarsest level; or the first of them alone.
func (u unet) middle(x nn.Tensor) nn.Tensor {
	g, level := u.g.Scope("middle_block"), len(u.c.Widths)-1
	x = u.residual(g.Scope("0"), x, u.c.Widths[level])
	if u.c.Mid == 0 {
		return x
	}
	x = u.transformer(g.Scope("1"), x, level, u.c.Mid)
	return u.residual(g.Scope("2"), x, u.c.Widths[level])
}

// up takes the kept results back in reverse and doubles the picture from level to level. Where halving had rounded an
// odd size up, doubling makes the size of the kept result.
func (u unet) up(x nn.Tensor, skips []nn.Tensor) nn.Tensor {
	block := 0
	for i, depths := range u.c.Up {
		level := len(u.c.Widths) - 1 - i
		name := ""
		for _, depth := range depths {
			if len(skips) == 0 {
				u.g.Fail("the UNet goes up through more blocks than it came down")
				return x
			}
			name, block = fmt.Sprintf("output_blocks.%d", block), block+1
			x = u.g.Concat(x, skips[len(skips)-1])
			skips = skips[:len(skips)-1]
			x = u.block(name, x, level, depth)
		}
		if level > 0 && len(skips) > 0 {
			size := skips[len(skips)-1].Shape()
			x = u.double(name, x, size, min(depths[len(depths)-1], 1)+1)
		}
	}
	return x
}

// double enlarges x to the height and width of size, shaped [N,H,W,C]. The convolution is part number part of block name.
func (u unet) double(name string, x nn.Tensor, size nn.Shape, part int) nn.Tensor {
	if u.g.Err() != nil {
		return x
	}
	return u.g.UpConv3x3To(fmt.Sprintf("%s.%d.conv", name, part), x, size[1], size[2], x.Channels())
}

// block: a residual block and, where depth > 0, a transformer of that depth.
func (u unet) block(name string, x nn.Tensor, level, depth int) nn.Tensor {
	g := u.g.Scope(name)
	x = u.residual(g.Scope("0"), x, u.c.Widths[level])
	if depth > 0 {
		x = u.transformer(g.Scope("1"), x, level, depth)
	}
	return x
}

// residual: two 3×3 convolutions with the embedding added in between: x [N,H,W,C] → [N,H,W,out].
func (u unet) residual(g *nn.Graph, x nn.Tensor, out int) nn.Tensor {
	h := g.Conv3x3("in_layers.2", g.SiLU(g.GroupNorm("in_layers.0", x, u.c.Groups, u.c.Eps)), out)
	h = g.AddPerChannel(h, g.Linear("emb_layers.1", u.emb, out))
	h = g.Conv3x3("out_layers.3", g.SiLU(g.GroupNorm("out_layers.0", h, u.c.Groups, u.c.Eps)), out)
	if x.Channels() != out {
		x = g.Linear("skip_connection", x, out)
	}
	return g.Add(x, h)
}

// transformerNormEps is the group norm's epsilon before a transformer, which no configuration names.
const transformerNormEps = 1e-6

// transformer treats the picture as H·W tokens: x [N,H,W,C] → [N,H,W,C]. Its projections are 1×1 convolutions in SD 1.x
// and linears after it, the same product.
func (u unet) transformer(g *nn.Graph, x nn.Tensor, level, depth int) nn.Tensor {
	s, c := x.Shape(), x.Channels()
	h := g.GroupNorm("norm", x, u.c.Groups, transformerNormEps)
	if g.Err() != nil {
		return x
	}
	h = g.Linear("proj_in", g.Reshape(h, s[0], s[1]*s[2], c), c)
	for i := range depth {
		h = u.transformerBlock(g.Scope(fmt.Sprintf("transformer_blocks.%d", i)), h, level)
	}
	h = g.Linear("proj_out", h, c)
	return g.Add(x, g.Reshape(h, s...))
}

// layerNormEps is PyTorch's default, which no configuration names.
const layerNormEps = 1e-5

// transformerBlock: self attention, attention to the text, gated perceptron: x [N,T,C] → [N,T,C].
func (u unet) transformerBlock(g *nn.Graph, x nn.Tensor, level int) nn.Tensor {
	c, heads := x.Channels(), u.c.Heads[level]
	if u.c.textTwice(level) {
		x = u.attendText(g, "attn1", "norm1", x, heads)
	} else {
		q, k, v := thirds(g, g.Scope("attn1").JoinedLinear(g.LayerNorm("norm1", x, layerNormEps), c, false, "to_q", "to_k", "to_v"))
		x = g.Add(x, g.Linear("attn1.to_out.0", g.Attention(q, k, v, heads, false), c))
	}
	x = u.attendText(g, "attn2", "norm2", x, heads)

	h := g.GEGLU(g.Linear("ff.net.0.proj", g.LayerNorm("norm3", x, layerNormEps), 8*c))
	return g.Add(x, g.Linear("ff.net.2", h, c))
}

// attendText adds what the picture's tokens find in the text: x [N,T,C] → [N,T,C].
func (u unet) attendText(g *nn.Graph, name, norm string, x nn.Tensor, heads int) nn.Tensor {
	c := x.Channels()
	q := g.LinearNoBias(name+".to_q", g.LayerNorm(norm, x, layerNormEps), c)
	kv := g.Scope(name).JoinedLinear(u.context, c, false, "to_k", "to_v")
	a := g.Attention(q, g.Columns(kv, 0, c), g.Columns(kv, c, c), heads, false)
	return g.Add(x, g.Linear(name+".to_out.0", a, c))
}

// timePeriod is the longest period of the timestep's sinusoids. Vaswani et al. 2017.
const timePeriod = 10000

// sinusoids of t at width/2 frequencies: cosines before sines where flip is set, sines first otherwise. Rounded to
// float32 at each step as the networks were trained.
func sinusoids(t float64, width int, flip bool, shift float64) []float32 {
	half := width / 2
	v := make([]float32, width)
	for i := range half {
		exponent := float32(-math.Log(timePeriod)) * float32(i) / float32(float64(half)-shift)
		angle := float64(float32(t) * float32(math.Exp(float64(exponent))))
		sine, cosine := i, half+i
		if flip {
			sine, cosine = cosine, sine
		}
		v[sine], v[cosine] = float32(math.Sin(angle)), float32(math.Cos(angle))
	}
	return v
}

// unetGraph is the network of one or several drawings: inputs "sample" [N,H,W,In] and "time" [N,Widths[0]] per step, "context"
// [N,T,Context] and, where the model takes them, "added" [N,Added] and "guidance" [N,Guidance] per job; output "prediction" [N,H,W,Out].
func unetGraph(n network[UNetConfig], batch, height, width, tokens int) *nn.Graph {
	g := nn.NewGraph(n.tensors)
	g.Output("prediction", UNet(g, n.config, unetInputs(g, n.config, batch, height, width, tokens)))
	return g
}

// unetInputs declares what every UNet reads.
func unetInputs(g *nn.Graph, c UNetConfig, batch, height, width, tokens int) UNetInputs {
	in := UNetInputs{
		Sample:  g.Input("sample", nn.PerStep, batch, height, width, c.In),
		Time:    g.Input("time", nn.PerStep, batch, c.Widths[0]),
		Context: g.Input("context", nn.PerJob, batch, tokens, c.Context),
	}
	if c.Added > 0 {
		in.Added = g.Input("added", nn.PerJob, batch, c.Added)
	}
	if c.Guidance > 0 {
		in.Guidance = g.Input("guidance", nn.PerJob, batch, c.Guidance)
	}
	return in
}
