package sd

import (
	"errors"
	"fmt"

	"waggle/internal/nn"
	"waggle/internal/weights"
)

// AdapterConfig shapes a T2I-Adapter of the full kind.
type AdapterConfig struct {
	Picture int   // channels
	Factor  int   // side in pixels of one latent cell
	Widths  []int // channels of each level, those of the UNet's
	Blocks  int   // of a level
}

func (c AdapterConfig) check() error {
	var l limits
	l.between("in_channels", c.Picture, 1, 64)
	l.between("downscale_factor", c.Factor, 1, 64)
	l.between("levels of channels", len(c.Widths), 1, maxLevels)
	for _, width := range c.Widths {
		l.between("channels", width, 1, maxWidth)
	}
	l.between("num_res_blocks", c.Blocks, 1, maxLayers)
	return l.err
}

// Adapter says what to add to each level of a UNet's way down, once for all steps: x [N,H,W,Picture·Factor²] is the picture of
// 0…1 as unshuffled gives it. Mou et al. 2023.
func Adapter(g *nn.Graph, c AdapterConfig, x nn.Tensor) (features []nn.Tensor) {
	x = g.Conv3x3("conv_in", x, c.Widths[0])
	for level, width := range c.Widths {
		if level > 0 {
			x = g.MeanPool(x)
		}
		for i := range c.Blocks {
			x = adapterBlock(g.Scope(fmt.Sprintf("body.%d", level*c.Blocks+i)), x, width)
		}
		features = append(features, x)
	}
	return features
}

// adapterBlock: 3×3 and 1×1 convolution beside x: [N,H,W,C] → [N,H,W,out].
func adapterBlock(g *nn.Graph, x nn.Tensor, out int) nn.Tensor {
	if x.Channels() != out {
		x = g.Linear("in_conv", x, out)
	}
	return g.Add(x, g.Linear("block2", g.ReLU(g.Conv3x3("block1", x, out)), out))
}

// unshuffled puts the places of every factor × factor square of a picture [H·f,W·f,C] side by side: [H,W,C·f²], channel by
// channel, row by row (Shi et al. 2016).
func unshuffled(picture []float32, height, width, channels, factor int) []float32 {
	out := make([]float32, 0, len(picture))
	for i := range height / factor * (width / factor) {
		top, left := i/(width/factor)*factor, i%(width/factor)*factor
		for k := range channels * factor * factor {
			c, y, x := k/factor/factor, k/factor%factor, k%factor
			out = append(out, picture[((top+y)*width+left+x)*channels+c])
		}
	}
	return out
}

// parseAdapter reads the configuration of a T2IAdapter.
func parseAdapter(data []byte) (AdapterConfig, error) {
	d := struct {
		Picture int    `json:"in_channels"`
		Widths  []int  `json:"channels"`
		Blocks  int    `json:"num_res_blocks"`
		Factor  int    `json:"downscale_factor"`
		Kind    string `json:"adapter_type"`
	}{3, []int{320, 640, 1280, 1280}, 2, 8, "full_adapter"}
	if err := readConfig(data, &d); err != nil {
		return AdapterConfig{}, err
	}
	if d.Kind != "full_adapter" {
		return AdapterConfig{}, fmt.Errorf("config.json: adapter_type %q is not supported, full_adapter is", d.Kind)
	}
	c := AdapterConfig{Picture: d.Picture, Factor: d.Factor, Widths: d.Widths, Blocks: d.Blocks}
	return c, c.check()
}

// What no tensor of an adapter says; all published ones have these.
const (
	adapterFactor = 8
	adapterBlocks = 2
)

// detectAdapter reads the shape of an adapter off its tensors (original names).
func detectAdapter(src weights.Source) (AdapterConfig, error) {
	p := probe{src}
	c := AdapterConfig{Factor: adapterFactor, Blocks: adapterBlocks, Picture: p.extent(1, "conv_in.weight") / (adapterFactor * adapterFactor)}
	for level := 0; level <= maxLevels; level++ {
		width := p.extent(0, "body.%d.block1.weight", level*adapterBlocks)
		if width == 0 {
			break
		}
		c.Widths = append(c.Widths, width)
	}
	if len(c.Widths) == 0 {
		return c, errors.New("tensor body.0.block1.weight is missing: the file is of another kind")
	}
	return c, c.check()
}

// readAdapter finds a T2I-Adapter in a file's tensors; config is its config.json, nil where there is none.
func readAdapter(src weights.Source, config []byte) (n network[AdapterConfig], err error) {
	if n.tensors, err = weights.CanonicalAdapter(src); err != nil {
		return n, fmt.Errorf("adapter: %w", err)
	}
	if config != nil {
		n.config, err = parseAdapter(config)
	} else {
		n.config, err = detectAdapter(n.tensors)
	}
	if err != nil {
		return n, fmt.Errorf("adapter: %w", err)
	}
	return n, nil
}

// adapterGraph: input "picture" [N,H,W,Picture·Factor²] of unshuffled, H and W in latent cells; outputs "feature.0" … for each level.
func adapterGraph(n network[AdapterConfig], batch, height, width int) *nn.Graph {
	g, c := nn.NewGraph(n.tensors), n.config
	for i, t := range Adapter(g, c, g.Input("picture", nn.PerJob, batch, height, width, c.Picture*c.Factor*c.Factor)) {
		g.Output(fmt.Sprintf("feature.%d", i), t)
	}
	return g
}
