package models

import (
	"fmt"
	"slices"
	"strings"

	"waggle/internal/weights"
)

// form is how the tensors of one kind of network are named. A network is wherever its landmarks are, whatever prefix a file
// gives it: model.diffusion_model., first_stage_model., cond_stage_model.transformer., conditioner.embedders.1.model., unet.,
// or none.
type form struct {
	part      string   // unetFolder, vaeFolder, textFolder
	landmarks []string // tensors that every network of the form has
	not       string   // a tensor that another kind of network with these landmarks has; ControlNets are built like UNets
	canonical func(weights.Source) (*weights.Set, error)
	openCLIP  bool
}

var forms = []form{
	{part: unetFolder, landmarks: []string{"input_blocks.0.0.weight", "time_embed.0.weight"}, not: "zero_convs.0.0.weight", canonical: asIs},
	{part: unetFolder, landmarks: []string{"time_embedding.linear_1.weight", "conv_in.weight"},
		not: "controlnet_cond_embedding.conv_in.weight", canonical: bareUNet},
	{part: vaeFolder, landmarks: []string{"decoder.conv_in.weight", "decoder.conv_out.weight"}, canonical: bareVAE},
	{part: vaeFolder, landmarks: []string{"decoder.layers.2.conv.0.weight", "decoder.layers.0.weight"}, canonical: weights.CanonicalTiny},
	{part: vaeFolder, landmarks: []string{"3.conv.0.weight", "1.weight"}, canonical: weights.CanonicalTiny}, // a TAESD's decoder
	{part: textFolder, landmarks: []string{"text_model.embeddings.token_embedding.weight"}, canonical: weights.CanonicalText},
	{part: textFolder, landmarks: []string{"embeddings.token_embedding.weight", "final_layer_norm.weight"}, canonical: weights.CanonicalText},
	{part: textFolder, landmarks: []string{"token_embedding.weight", "ln_final.weight"},
		canonical: weights.CanonicalText, openCLIP: true},
}

func asIs(src weights.Source) (*weights.Set, error) {
	return weights.Rename(src, func(name string) (string, bool) { return name, true })
}

// bareUNet renames a UNet with the names of diffusers by the blocks that its names tell of.
func bareUNet(src weights.Source) (*weights.Set, error) {
	var t weights.UNetTopology
	for level := 0; level < levelLimit && has(src, "down_blocks.%d.resnets.0.conv1.weight", level); level++ {
		layers := 1
		for layers < layerLimit && has(src, "down_blocks.%d.resnets.%d.conv1.weight", level, layers) {
			layers++
		}
		t.Layers = append(t.Layers, layers)
		t.DownAttention = append(t.DownAttention, has(src, "down_blocks.%d.attentions.0.norm.weight", level))
		t.UpAttention = append(t.UpAttention, has(src, "up_blocks.%d.attentions.0.norm.weight", level))
	}
	return weights.Canonical(src, weights.UNetNames(t))
}

// bareVAE renames an autoencoder with any names. Levels matter to diffusers' only; attention's old spellings occur in all.
func bareVAE(src weights.Source) (*weights.Set, error) {
	levels, layers := 0, 0
	for levels < levelLimit && has(src, "decoder.up_blocks.%d.resnets.0.conv1.weight", levels) {
		levels++
	}
	for layers < layerLimit && has(src, "decoder.up_blocks.0.resnets.%d.conv1.weight", layers+1) {
		layers++
	}
	return weights.Canonical(src, weights.VAENames(levels, layers))
}

func has(src weights.Source, format string, args ...any) bool {
	_, ok := src.Tensor(fmt.Sprintf(format, args...))
	return ok
}

// place is where a file holds a network.
type place struct {
	form
	prefix string
}

// average reports an averaged copy (EMA) of a network, which is used only where the network itself is missing.
func (p place) average() bool {
	return slices.ContainsFunc(strings.Split(p.prefix, "."), func(s string) bool {
		return s == "model_ema" || s == "ema" || s == "ema_model" || s == "unet_ema"
	})
}

// places finds the networks in a file: averages only of kinds that it does not have otherwise.
func places(src weights.Source) []place {
	var found []place
	for _, name := range src.Names() {
		for _, f := range forms {
			prefix, ok := strings.CutSuffix(name, f.landmarks[0])
			if !ok || prefix != "" && !strings.HasSuffix(prefix, ".") || !f.at(src, prefix) {
				continue
			}
			found = append(found, place{f, prefix})
			break
		}
	}
	return slices.DeleteFunc(slices.Clone(found), func(p place) bool {
		return p.average() && slices.ContainsFunc(found, func(o place) bool { return o.part == p.part && !o.average() })
	})
}

// at reports whether a network of the form is under a prefix.
func (f form) at(src weights.Source, prefix string) bool {
	if f.not != "" && has(src, "%s", prefix+f.not) {
		return false
	}
	return !slices.ContainsFunc(f.landmarks, func(l string) bool { return !has(src, "%s", prefix+l) })
}
