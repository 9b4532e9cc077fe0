package sd

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"waggle/internal/nn"
	"waggle/internal/weights"
)

// ControlConfig shapes a ControlNet: a copy of a UNet's way down that also reads a picture.
type ControlConfig struct {
	UNet    UNetConfig // of the UNet that it steers; Out and Up are not used
	Picture int        // channels of the picture
	Hint    []int      // channels of the levels that bring the picture down to a latent's size
}

// Factor is the side in pixels of one latent cell.
func (c ControlConfig) Factor() int { return 1 << (len(c.Hint) - 1) }

func (c ControlConfig) check() error {
	var l limits
	l.between("conditioning_channels", c.Picture, 1, 64)
	l.between("levels of conditioning_embedding_out_channels", len(c.Hint), 1, maxLevels)
	for _, width := range c.Hint {
		l.between("conditioning_embedding_out_channels", width, 1, maxWidth)
	}
	if l.err != nil {
		return l.err
	}
	return c.UNet.check()
}

// ControlNet says what to add to a UNet's kept results, and to its middle behind them, for a picture [N,H·f,W·f,Picture] of
// 0…1. Zhang et al. 2023.
func ControlNet(g *nn.Graph, c ControlConfig, in UNetInputs, picture nn.Tensor) []nn.Tensor {
	u := unet{g: g, c: c.UNet, context: in.Context, emb: g.SiLU(embedding(g, c.UNet, in))}
	x := g.Add(g.Conv3x3("input_blocks.0.0", in.Sample, c.UNet.Widths[0]), hint(g.Scope("input_hint_block"), c, picture))
	x, all := u.down(x)
	for i := range all {
		all[i] = g.Linear(fmt.Sprintf("zero_convs.%d.0", i), all[i], all[i].Channels())
	}
	if c.UNet.Mid != NoMiddle {
		x = u.middle(x)
	}
	return append(all, g.Linear("middle_block_out.0", x, x.Channels()))
}

// hint brings the picture down to the latent's size: [N,H·f,W·f,Picture] → [N,H,W,Widths[0]].
func hint(g *nn.Graph, c ControlConfig, picture nn.Tensor) nn.Tensor {
	x := g.SiLU(g.Conv3x3("0", picture, c.Hint[0]))
	for level, width := range c.Hint[:len(c.Hint)-1] {
		x = g.SiLU(g.Conv3x3(fmt.Sprint(4*level+2), x, width))
		x = g.SiLU(g.DownConv3x3(fmt.Sprint(4*level+4), x, c.Hint[level+1]))
	}
	return g.Conv3x3(fmt.Sprint(4*len(c.Hint)-2), x, c.UNet.Widths[0])
}

// controlScales are the factors of a ControlNet's n results at a strength. A guess, without a prompt to keep to, counts those of
// the fine levels less: from a tenth to all, evenly in the logarithm.
func controlScales(n int, strength float64, guess bool) []float64 {
	scales := slices.Repeat([]float64{strength}, n)
	for i := range scales {
		if guess && n > 1 {
			scales[i] *= math.Pow(10, float64(i)/float64(n-1)-1)
		}
	}
	return scales
}

// diffusersControl holds the fields of a ControlNetModel beyond those of its UNet.
type diffusersControl struct {
	Picture int    `json:"conditioning_channels"`
	Hint    []int  `json:"conditioning_embedding_out_channels"`
	Order   string `json:"controlnet_conditioning_channel_order"`
	Pool    bool   `json:"global_pool_conditions"`
}

// parseControl reads the configuration of a ControlNetModel.
func parseControl(data []byte) (ControlConfig, error) {
	d, own := newDiffusersUNet(), diffusersControl{Picture: 3, Hint: []int{16, 32, 96, 256}, Order: "rgb"}
	if err := readConfig(data, &d); err != nil {
		return ControlConfig{}, err
	}
	if err := readConfig(data, &own); err != nil {
		return ControlConfig{}, err
	}
	if own.Order != "rgb" || own.Pool {
		return ControlConfig{}, fmt.Errorf("config.json: controlnet_conditioning_channel_order %q with global_pool_conditions %v is not supported",
			own.Order, own.Pool)
	}
	d.Out, d.UpDepths, d.UpBlocks = d.In, nil, nil
	for _, kind := range slices.Backward(d.DownBlocks) {
		d.UpBlocks = append(d.UpBlocks, strings.Replace(kind, "Down", "Up", 1))
	}
	c, err := d.config()
	control := ControlConfig{c, own.Picture, own.Hint}
	if err != nil {
		return control, err
	}
	return control, control.check()
}

// detectControl reads the shape of a ControlNet off its tensors (original names).
func detectControl(src weights.Source, f family) (ControlConfig, error) {
	p := probe{src}
	u, err := p.wayDown(f)
	if err != nil {
		return ControlConfig{}, err
	}
	u.Out = u.In
	for _, depths := range slices.Backward(u.Down) {
		u.Up = append(u.Up, append(slices.Clone(depths), depths[0]))
	}
	c := ControlConfig{UNet: u, Picture: p.extent(1, "input_hint_block.0.weight"), Hint: []int{p.extent(0, "input_hint_block.0.weight")}}
	for at := 4; len(c.Hint) <= maxLevels && p.shape("input_hint_block.%d.weight", at) != nil; at += 4 {
		c.Hint = append(c.Hint, p.extent(0, "input_hint_block.%d.weight", at))
	}
	return c, c.check()
}

// readControl finds a ControlNet in a file's tensors; config is its config.json, nil where there is none.
func readControl(src weights.Source, config []byte, f family) (n network[ControlConfig], err error) {
	if n.tensors, err = weights.CanonicalControl(src); err != nil {
		return n, fmt.Errorf("controlnet: %w", err)
	}
	if (probe{n.tensors}).shape("input_hint_block.0.weight") == nil {
		return n, errors.New("controlnet: tensor input_hint_block.0.weight is missing: the file is of another kind")
	}
	if config != nil {
		n.config, err = parseControl(config)
	} else {
		n.config, err = detectControl(n.tensors, f)
	}
	if err != nil {
		return n, fmt.Errorf("controlnet: %w", err)
	}
	return n, nil
}

// controlGraph has a UNet's inputs and "picture" [N,H·f,W·f,Picture] per job; outputs "control.0", "control.1" … of ControlNet.
func controlGraph(n network[ControlConfig], batch, height, width, tokens int) *nn.Graph {
	g, c := nn.NewGraph(n.tensors), n.config
	in := unetInputs(g, c.UNet, batch, height, width, tokens)
	picture := g.Input("picture", nn.PerJob, batch, height*c.Factor(), width*c.Factor(), c.Picture)
	for i, t := range ControlNet(g, c, in, picture) {
		g.Output(fmt.Sprintf("control.%d", i), t)
	}
	return g
}

// steeredGraph is unetGraph with inputs "control.0", "control.1" … per step and "feature.0" … per job, where they are asked for.
func steeredGraph(n network[UNetConfig], batch, height, width, tokens int, control, features bool) *nn.Graph {
	g, c := nn.NewGraph(n.tensors), n.config
	in := unetInputs(g, c, batch, height, width, tokens)
	declare := func(name string, rate nn.Rate, shapes [][3]int) (all []nn.Tensor) {
		for i, s := range shapes {
			all = append(all, g.Input(fmt.Sprintf("%s.%d", name, i), rate, batch, s[0], s[1], s[2]))
		}
		return all
	}
	skips, levels := c.sizes(height, width)
	if control {
		in.Steering.Control = declare("control", nn.PerStep, append(skips, skips[len(skips)-1]))
	}
	if features {
		in.Steering.Features = declare("feature", nn.PerJob, levels)
	}
	g.Output("prediction", UNet(g, c, in))
	return g
}

// sizes are height, width and channels of every kept result of the way down, and of every level.
func (c UNetConfig) sizes(height, width int) (skips, levels [][3]int) {
	skips = append(skips, [3]int{height, width, c.Widths[0]})
	for level, depths := range c.Down {
		at := [3]int{height, width, c.Widths[level]}
		skips, levels = append(skips, slices.Repeat([][3]int{at}, len(depths))...), append(levels, at)
		if level < len(c.Down)-1 {
			height, width = (height+1)/2, (width+1)/2
			skips = append(skips, [3]int{height, width, c.Widths[level]})
		}
	}
	return skips, levels
}
