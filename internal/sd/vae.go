package sd

import (
	"fmt"

	"waggle/internal/nn"
)

// vaeNormEps is the group norms' epsilon in the autoencoder, which no configuration names.
const vaeNormEps = 1e-6

// Decode turns a latent, already divided by the scaling factor, into a picture of about −1…1: z [N,h,w,latent] →
// [N,h·f,w·f,3], f the factor of the autoencoder. Kingma and Welling 2013, Esser et al. 2021, Rombach et al. 2022.
func Decode(g *nn.Graph, c VAEConfig, z nn.Tensor) nn.Tensor {
	if g.Has("post_quant_conv") {
		z = g.Linear("post_quant_conv", z, c.Latent)
	}
	g = g.Scope("decoder")
	top := len(c.Widths) - 1
	x := vaeMiddle(g.Scope("mid"), c, g.Conv3x3("conv_in", z, c.Widths[top]))
	for level := top; level >= 0; level-- {
		x = vaeBlocks(g.Scope(fmt.Sprintf("up.%d", level)), c, x, c.Widths[level], c.Layers+1)
		if level > 0 {
			x = g.UpConv3x3(fmt.Sprintf("up.%d.upsample.conv", level), x, c.Widths[level])
		}
	}
	return g.Conv3x3("conv_out", g.SiLU(g.GroupNorm("norm_out", x, c.Groups, vaeNormEps)), c.Picture)
}

// Encode turns a picture of −1…1 into the distribution of its latent, not yet multiplied by the scaling factor:
// x [N,H,W,3] → mean and log variance, both [N,H/f,W/f,latent].
func Encode(g *nn.Graph, c VAEConfig, x nn.Tensor) (mean, logvar nn.Tensor) {
	e := g.Scope("encoder")
	h := e.Conv3x3("conv_in", x, c.Widths[0])
	for level, width := range c.Widths {
		h = vaeBlocks(e.Scope(fmt.Sprintf("down.%d", level)), c, h, width, c.Layers)
		if level < len(c.Widths)-1 {
			h = e.DownConv3x3PadEnd(fmt.Sprintf("down.%d.downsample.conv", level), h, width)
		}
	}
	h = vaeMiddle(e.Scope("mid"), c, h)
	h = e.Conv3x3("conv_out", e.SiLU(e.GroupNorm("norm_out", h, c.Groups, vaeNormEps)), 2*c.Latent)
	if g.Has("quant_conv") {
		h = g.Linear("quant_conv", h, 2*c.Latent)
	}
	return g.Columns(h, 0, c.Latent), g.Columns(h, c.Latent, c.Latent)
}

// vaeBlocks: count residual blocks of one level: x [N,H,W,C] → [N,H,W,width].
func vaeBlocks(g *nn.Graph, c VAEConfig, x nn.Tensor, width, count int) nn.Tensor {
	for i := range count {
		x = vaeResidual(g.Scope(fmt.Sprintf("block.%d", i)), c, x, width)
	}
	return x
}

// vaeMiddle: residual block, attention, residual block: x [N,H,W,C] → [N,H,W,C].
func vaeMiddle(g *nn.Graph, c VAEConfig, x nn.Tensor) nn.Tensor {
	x = vaeResidual(g.Scope("block_1"), c, x, x.Channels())
	if c.MidAttention {
		x = vaeAttention(g.Scope("attn_1"), c, x)
	}
	return vaeResidual(g.Scope("block_2"), c, x, x.Channels())
}

// vaeResidual: two 3×3 convolutions: x [N,H,W,C] → [N,H,W,out].
func vaeResidual(g *nn.Graph, c VAEConfig, x nn.Tensor, out int) nn.Tensor {
	h := g.Conv3x3("conv1", g.SiLU(g.GroupNorm("norm1", x, c.Groups, vaeNormEps)), out)
	h = g.Conv3x3("conv2", g.SiLU(g.GroupNorm("norm2", h, c.Groups, vaeNormEps)), out)
	if x.Channels() != out {
		x = g.Linear("nin_shortcut", x, out)
	}
	return g.Add(x, h)
}

// vaeAttention: every place of the picture attends to every other with one head as wide as the channels.
func vaeAttention(g *nn.Graph, c VAEConfig, x nn.Tensor) nn.Tensor {
	s, width := x.Shape(), x.Channels()
	h := g.GroupNorm("norm", x, c.Groups, vaeNormEps)
	if g.Err() != nil {
		return x
	}
	q, k, v := thirds(g, g.JoinedLinear(g.Reshape(h, s[0], s[1]*s[2], width), width, true, "q", "k", "v"))
	h = g.Linear("proj_out", g.Attention(q, k, v, 1, false), width)
	return g.Add(x, g.Reshape(h, s...))
}

// decodeGraph: input "latent" [1,h,w,latent] (divided by the scaling factor), output "picture" [1,h·f,w·f,3]. What goes in
// and comes out is that of VAEConfig.enter and leave.
func decodeGraph(n network[VAEConfig], height, width int) *nn.Graph {
	if n.config.tiny() {
		return tinyDecodeGraph(network[TinyConfig]{n.config.Tiny, n.tensors}, 1, height, width)
	}
	g := nn.NewGraph(n.tensors)
	g.Output("picture", Decode(g, n.config, g.Input("latent", nn.PerStep, 1, height, width, n.config.Latent)))
	return g
}

// encodeGraph: input "picture" [1,h·f,w·f,3], outputs "mean" and "logvar" [1,h,w,latent]; height and width in latent cells.
func encodeGraph(n network[VAEConfig], height, width int) *nn.Graph {
	g, f := nn.NewGraph(n.tensors), n.config.Factor()
	mean, logvar := Encode(g, n.config, g.Input("picture", nn.PerStep, 1, height*f, width*f, n.config.Picture))
	g.Output("mean", mean)
	g.Output("logvar", logvar)
	return g
}
