package models

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"waggle/internal/weights"
)

// ESRGAN is a network that enlarges pictures (RRDBNet; Wang et al. 2018, arXiv:1809.00219; Real-ESRGAN, arXiv:2107.10833).
type ESRGAN struct {
	Features   int // channels of the trunk
	Growth     int // channels that each convolution of a dense block adds
	Blocks     int // residual in residual blocks, of three dense blocks each
	Scale      int // the picture's side becomes so many times as long
	Tensors    weights.Source
	Unexpected []string // tensors that the network has not got
}

const (
	maxESRGANBlocks   = 64 // published networks have 6 and 23
	maxESRGANFeatures = 512
	denseConvolutions = 5
)

// oldESRGAN are the names of the first publication, for ×4, and those of BasicSR in their place.
var oldESRGAN = map[string]string{
	"model.0": "conv_first", "model.3": "conv_up1", "model.6": "conv_up2", "model.8": "conv_hr", "model.10": "conv_last",
}

var (
	oldDense = regexp.MustCompile(`^model\.1\.sub\.(\d+)\.RDB([123])\.conv([1-5])\.0$`)
	oldTrunk = regexp.MustCompile(`^model\.1\.sub\.\d+$`)
)

// ReadESRGAN finds the shape of an upscaler and holds every tensor to it. The error names the first that is missing, of
// another shape, no floating-point numbers, or not finite.
func ReadESRGAN(src weights.Source) (ESRGAN, error) {
	tensors, err := weights.Rename(src, func(name string) (string, bool) { return basicSR(name), true })
	if err != nil {
		return ESRGAN{}, err
	}
	n := ESRGAN{Tensors: tensors, Features: extent(tensors, "conv_first.weight", 0), Growth: extent(tensors, "body.0.rdb1.conv1.weight", 0)}
	for n.Blocks <= maxESRGANBlocks && extent(tensors, fmt.Sprintf("body.%d.rdb1.conv1.weight", n.Blocks), 0) > 0 {
		n.Blocks++
	}
	if n.Blocks == 0 || n.Blocks > maxESRGANBlocks || n.Features == 0 || n.Features > maxESRGANFeatures || n.Growth > maxESRGANFeatures {
		return ESRGAN{}, fmt.Errorf("%d blocks of %d and %d channels: not an ESRGAN of a known size", n.Blocks, n.Features, n.Growth)
	}
	channels := extent(tensors, "conv_first.weight", 1)
	switch channels { // what makes less of it looks at squares of pixels, 2×2 or 4×4, as one
	case 3:
		n.Scale = 4
	case 12:
		n.Scale = 2
	case 48:
		n.Scale = 1
	default:
		return ESRGAN{}, fmt.Errorf("tensor conv_first.weight reads %d channels: want 3, 12 or 48", channels)
	}
	return n, n.check(channels)
}

// basicSR is a tensor's name as BasicSR writes it.
func basicSR(name string) string {
	at := strings.LastIndexByte(name, '.')
	if at < 0 {
		return name
	}
	module, leaf := name[:at], name[at:]
	if m := oldDense.FindStringSubmatch(module); m != nil {
		return fmt.Sprintf("body.%s.rdb%s.conv%s%s", m[1], m[2], m[3], leaf)
	}
	if oldTrunk.MatchString(module) {
		return "conv_body" + leaf
	}
	if known, ok := oldESRGAN[module]; ok {
		return known + leaf
	}
	return name
}

// check holds every tensor to the network's shape, and notes those that it has not got.
func (n *ESRGAN) check(channels int) error {
	expected := map[string]bool{}
	convolution := func(name string, out, in int) error {
		for leaf, shape := range map[string][]int{".weight": {out, in, 3, 3}, ".bias": {out}} {
			expected[name+leaf] = true
			t, ok := n.Tensors.Tensor(name + leaf)
			switch {
			case !ok:
				return fmt.Errorf("tensor %s%s is missing", name, leaf)
			case !slices.Equal(t.Shape, shape):
				return fmt.Errorf("tensor %s%s has shape %v, want %v", name, leaf, t.Shape, shape)
			case !t.DType.Float():
				return fmt.Errorf("tensor %s%s is of type %s: want floating-point numbers", name, leaf, t.DType)
			}
		}
		return nil
	}
	for _, c := range n.convolutions(channels) {
		if err := convolution(c.name, c.out, c.in); err != nil {
			return err
		}
	}
	for _, name := range n.Tensors.Names() {
		if !expected[name] {
			n.Unexpected = append(n.Unexpected, name)
		}
	}
	return weights.CheckFinite(n.Tensors)
}

type esrganConvolution struct {
	name    string
	out, in int
}

// convolutions of the network, in the order of use.
func (n *ESRGAN) convolutions(channels int) []esrganConvolution {
	all := []esrganConvolution{{"conv_first", n.Features, channels}}
	for block := range n.Blocks {
		for dense := 1; dense <= 3; dense++ {
			for k := 1; k <= denseConvolutions; k++ {
				out := n.Growth
				if k == denseConvolutions {
					out = n.Features
				}
				all = append(all, esrganConvolution{fmt.Sprintf("body.%d.rdb%d.conv%d", block, dense, k), out, n.Features + (k-1)*n.Growth})
			}
		}
	}
	for _, name := range []string{"conv_body", "conv_up1", "conv_up2", "conv_hr"} {
		all = append(all, esrganConvolution{name, n.Features, n.Features})
	}
	return append(all, esrganConvolution{"conv_last", 3, n.Features})
}
