package weights

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// controlPrefix is that of a ControlNet in its original files.
const controlPrefix = "control_model."

// mostLevels and mostLayers bound the walks over the names of a network that steers another; real ones have 4 and 3.
const (
	mostLevels = 16
	mostLayers = 64
)

// CanonicalControl gathers the tensors of a ControlNet under its original names, without their prefix. It takes those and
// diffusers', whose topology it reads off the names.
func CanonicalControl(src Source) (*Set, error) {
	if own := Under(src, controlPrefix); len(own.Names()) > 0 {
		return own, nil
	}
	has := func(format string, args ...any) bool {
		_, ok := src.Tensor(fmt.Sprintf(format, args...) + ".weight")
		return ok
	}
	var t UNetTopology
	for level := 0; level < mostLevels && has("down_blocks.%d.resnets.0.conv1", level); level++ {
		layers := count(func(i int) bool { return has("down_blocks.%d.resnets.%d.conv1", level, i) })
		t.Layers = append(t.Layers, layers)
		t.DownAttention = append(t.DownAttention, has("down_blocks.%d.attentions.0.norm", level))
	}
	t.UpAttention = slices.Clone(t.DownAttention)
	slices.Reverse(t.UpAttention)
	hints := count(func(i int) bool { return has("controlnet_cond_embedding.blocks.%d", i) })
	return Canonical(src, controlNames(t, hints))
}

func count(has func(i int) bool) int {
	n := 0
	for n < mostLayers && has(n) {
		n++
	}
	return n
}

// controlNames are those of the UNet's way down, of so many convolutions that read the picture, and of those that lead out.
func controlNames(t UNetTopology, hints int) *Names {
	n := UNetNames(t)
	n.add("input_hint_block.0", "controlnet_cond_embedding.conv_in", nil)
	for i := range hints {
		n.add(fmt.Sprintf("input_hint_block.%d", 2*(i+1)), fmt.Sprintf("controlnet_cond_embedding.blocks.%d", i), nil)
	}
	n.add(fmt.Sprintf("input_hint_block.%d", 2*(hints+1)), "controlnet_cond_embedding.conv_out", nil)
	outs := len(t.Layers) // the first convolution, every layer, every halving
	for _, layers := range t.Layers {
		outs += layers
	}
	for i := range outs {
		n.add(fmt.Sprintf("zero_convs.%d.0", i), fmt.Sprintf("controlnet_down_blocks.%d", i), nil)
	}
	n.add("middle_block_out.0", "controlnet_mid_block", nil)
	return n
}

// CanonicalAdapter gathers the tensors of a T2I-Adapter under its original names, in which the blocks of all levels are
// numbered through. It takes those and diffusers'.
func CanonicalAdapter(src Source) (*Set, error) {
	src = orUnder(src, "adapter.")
	each := count(func(i int) bool {
		_, ok := src.Tensor(fmt.Sprintf("body.0.resnets.%d.block1.weight", i))
		return ok
	})
	return Rename(src, func(name string) (string, bool) {
		parts := strings.Split(name, ".")
		if each == 0 || len(parts) < 4 || parts[0] != "body" {
			return name, true
		}
		level, err := strconv.Atoi(parts[1])
		if err != nil {
			return name, true
		}
		block, rest := 0, parts[2:]
		if parts[2] == "resnets" {
			if block, err = strconv.Atoi(parts[3]); err != nil {
				return name, true
			}
			rest = parts[4:]
		}
		return fmt.Sprintf("body.%d.%s", level*each+block, strings.Join(rest, ".")), true
	})
}

// CanonicalTiny gathers the tensors of a TAESD under the names encoder.N and decoder.N, numbered as in its original files, in
// which encoder and decoder are apart and have no prefix. It takes those, and diffusers' AutoencoderTiny, which leaves out the
// decoder's first module, a clamp without weights.
func CanonicalTiny(src Source) (*Set, error) {
	half := "decoder."
	if _, ok := src.Tensor("0.weight"); ok {
		half = "encoder."
	}
	return Rename(src, func(name string) (string, bool) {
		if name != "" && name[0] >= '0' && name[0] <= '9' {
			return half + name, true
		}
		if rest, ok := strings.CutPrefix(name, "encoder.layers."); ok {
			return "encoder." + rest, true
		}
		if rest, ok := strings.CutPrefix(name, "decoder.layers."); ok {
			number, leaf, _ := strings.Cut(rest, ".")
			if n, err := strconv.Atoi(number); err == nil {
				return fmt.Sprintf("decoder.%d.%s", n+1, leaf), true
			}
		}
		return name, true
	})
}

// orUnder is src without a prefix, if its names have it.
func orUnder(src Source, prefix string) Source {
	if own := Under(src, prefix); len(own.Names()) > 0 {
		return own
	}
	return src
}
