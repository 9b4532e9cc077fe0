package weights

import (
	"fmt"
	"strings"
)

// Names translates the tensor names of one network between the canonical (LDM)
// names and those of a diffusers folder. It is made by walking the network's
// topology, module by module.
type Names struct {
	canonical map[string]module // by canonical prefix, without the last dot
	diffusers map[string]module // by diffusers prefix
}

// module is a building block: its two prefixes, and what its parts are called.
type module struct {
	canonical, diffusers string
	parts                []part
}

// part is a named piece of a module. Its first spelling is that of the current
// diffusers, the others are older or come from mixed files. A piece that is in
// no list has the same name everywhere.
type part struct {
	canonical string
	spellings []string
}

var resBlockParts = []part{
	{"in_layers.0", []string{"norm1"}},
	{"in_layers.2", []string{"conv1"}},
	{"emb_layers.1", []string{"time_emb_proj"}},
	{"out_layers.0", []string{"norm2"}},
	{"out_layers.3", []string{"conv2"}},
	{"skip_connection", []string{"conv_shortcut"}},
}

var vaeBlockParts = []part{
	{"nin_shortcut", []string{"conv_shortcut"}},
}

// vaeAttentionParts: a linear layer in newer files, a 1×1 convolution in older
// ones, with the same numbers in the same order.
var vaeAttentionParts = []part{
	{"norm", []string{"group_norm"}},
	{"q", []string{"to_q", "query"}},
	{"k", []string{"to_k", "key"}},
	{"v", []string{"to_v", "value"}},
	{"proj_out", []string{"to_out.0", "proj_attn"}},
}

// UNetTopology is what the names of a UNet2DConditionModel depend on; one
// element a level, down in the order of the config, up likewise.
type UNetTopology struct {
	Layers        []int  // layers_per_block
	DownAttention []bool // down_block_types: a cross-attention block?
	UpAttention   []bool // up_block_types, deepest level first
}

// UNetNames walks a UNet: the input blocks down, the middle, the output blocks up.
func UNetNames(t UNetTopology) *Names {
	n := newNames()
	n.add("time_embed.0", "time_embedding.linear_1", nil)
	n.add("time_embed.2", "time_embedding.linear_2", nil)
	n.add("time_embed.cond_proj", "time_embedding.cond_proj", nil)
	n.add("label_emb.0.0", "add_embedding.linear_1", nil)
	n.add("label_emb.0.2", "add_embedding.linear_2", nil)
	n.add("input_blocks.0.0", "conv_in", nil)
	n.add("out.0", "conv_norm_out", nil)
	n.add("out.2", "conv_out", nil)
	n.addDown(t)
	n.add("middle_block.0", "mid_block.resnets.0", resBlockParts)
	n.add("middle_block.1", "mid_block.attentions.0", nil)
	n.add("middle_block.2", "mid_block.resnets.1", resBlockParts)
	n.addUp(t)
	return n
}

// addDown numbers the input blocks through: every layer and every downsampler
// is one. Block 0 is the first convolution.
func (n *Names) addDown(t UNetTopology) {
	block := 1
	for level, layers := range t.Layers {
		for layer := range layers {
			input := fmt.Sprintf("input_blocks.%d", block)
			n.add(input+".0", fmt.Sprintf("down_blocks.%d.resnets.%d", level, layer), resBlockParts)
			if t.DownAttention[level] {
				n.add(input+".1", fmt.Sprintf("down_blocks.%d.attentions.%d", level, layer), nil)
			}
			block++
		}
		if level < len(t.Layers)-1 {
			n.add(fmt.Sprintf("input_blocks.%d.0.op", block), fmt.Sprintf("down_blocks.%d.downsamplers.0.conv", level), nil)
			block++
		}
	}
}

// addUp numbers the output blocks through. Each level has one layer more than
// on the way down; an upsampler is the last piece of its level's last block.
func (n *Names) addUp(t UNetTopology) {
	block, levels := 0, len(t.Layers)
	for level := range levels {
		last := t.Layers[levels-1-level]
		for layer := range last + 1 {
			output, piece := fmt.Sprintf("output_blocks.%d", block), 1
			n.add(output+".0", fmt.Sprintf("up_blocks.%d.resnets.%d", level, layer), resBlockParts)
			if t.UpAttention[level] {
				n.add(output+".1", fmt.Sprintf("up_blocks.%d.attentions.%d", level, layer), nil)
				piece = 2
			}
			if layer == last && level < levels-1 {
				n.add(fmt.Sprintf("%s.%d.conv", output, piece), fmt.Sprintf("up_blocks.%d.upsamplers.0.conv", level), nil)
			}
			block++
		}
	}
}

// VAENames walks an AutoencoderKL of so many levels with so many layers a block
// (the decoder has one more). LDM counts the decoder's levels from the finest,
// diffusers from the deepest.
func VAENames(levels, layers int) *Names {
	n := newNames()
	for _, name := range []string{"quant_conv", "post_quant_conv"} {
		n.add(name, name, nil)
	}
	for _, half := range []string{"encoder", "decoder"} {
		n.add(half+".conv_in", half+".conv_in", nil)
		n.add(half+".mid.block_1", half+".mid_block.resnets.0", vaeBlockParts)
		n.add(half+".mid.attn_1", half+".mid_block.attentions.0", vaeAttentionParts)
		n.add(half+".mid.block_2", half+".mid_block.resnets.1", vaeBlockParts)
		n.add(half+".norm_out", half+".conv_norm_out", nil)
		n.add(half+".conv_out", half+".conv_out", nil)
	}
	for level := range levels {
		down, up := fmt.Sprintf("encoder.down.%d", level), fmt.Sprintf("decoder.up.%d", levels-1-level)
		downBlocks, upBlocks := fmt.Sprintf("encoder.down_blocks.%d", level), fmt.Sprintf("decoder.up_blocks.%d", level)
		for layer := range layers {
			n.add(fmt.Sprintf("%s.block.%d", down, layer), fmt.Sprintf("%s.resnets.%d", downBlocks, layer), vaeBlockParts)
		}
		for layer := range layers + 1 {
			n.add(fmt.Sprintf("%s.block.%d", up, layer), fmt.Sprintf("%s.resnets.%d", upBlocks, layer), vaeBlockParts)
		}
		n.add(down+".downsample.conv", downBlocks+".downsamplers.0.conv", nil)
		n.add(up+".upsample.conv", upBlocks+".upsamplers.0.conv", nil)
	}
	return n
}

func newNames() *Names {
	return &Names{canonical: map[string]module{}, diffusers: map[string]module{}}
}

func (n *Names) add(canonical, diffusers string, parts []part) {
	m := module{canonical, diffusers, parts}
	n.canonical[canonical], n.diffusers[diffusers] = m, m
}

// Canonical translates a name of either style, whatever the spelling of the
// part, and reports whether the topology has such a module.
func (n *Names) Canonical(name string) (string, bool) {
	m, rest, ok := find(n.diffusers, name)
	if !ok {
		if m, rest, ok = find(n.canonical, name); !ok {
			return "", false
		}
	}
	inner, leaf := cutLast(rest)
	for _, p := range m.parts {
		for _, spelling := range p.spellings {
			if inner == spelling {
				return join(m.canonical, p.canonical, leaf), true
			}
		}
	}
	return join(m.canonical, rest), true
}

// Diffusers lists every spelling that a canonical name may have in a diffusers
// folder, the current one first; none when the topology has no such module.
func (n *Names) Diffusers(canonical string) []string {
	m, rest, ok := find(n.canonical, canonical)
	if !ok {
		return nil
	}
	inner, leaf := cutLast(rest)
	for _, p := range m.parts {
		if inner != p.canonical {
			continue
		}
		var all []string
		for _, spelling := range p.spellings {
			all = append(all, join(m.diffusers, spelling, leaf))
		}
		return all
	}
	return []string{join(m.diffusers, rest)}
}

// Canonical gathers the tensors of a network under canonical names. A tensor
// that the topology does not know keeps its name, so that it can be reported.
func Canonical(src Source, n *Names) (*Set, error) {
	return Rename(src, func(name string) (string, bool) {
		if canonical, ok := n.Canonical(name); ok {
			return canonical, true
		}
		return name, true
	})
}

// find cuts name after the longest prefix that is a module.
func find(modules map[string]module, name string) (m module, rest string, ok bool) {
	for prefix := name; ; {
		dot := strings.LastIndexByte(prefix, '.')
		if dot < 0 {
			return module{}, "", false
		}
		prefix = name[:dot]
		if m, ok = modules[prefix]; ok {
			return m, name[dot+1:], true
		}
	}
}

// cutLast splits off the last component: "to_out.0.weight" is "to_out.0", "weight".
func cutLast(name string) (inner, leaf string) {
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return "", name
	}
	return name[:dot], name[dot+1:]
}

func join(names ...string) string { return strings.Join(names, ".") }
