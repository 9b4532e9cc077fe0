package lora

import "strings"

// stems lists every name under which a module of the part may be found in a file, without the leaf.
func (p Part) stems(module string) []string {
	if p.Kind != UNet {
		return textStems(p.Kind, module)
	}
	original := []string{module}
	var all []string
	for _, name := range p.diffusers(module) {
		if name == module {
			original = nil
		}
		all = append(all, "lora_unet_"+flat(name), "lycoris_"+flat(name), "unet."+name, "base_model.model."+name,
			"base_model.model.unet."+name, name)
		if processor := attentionProcessor(name); processor != "" {
			all = append(all, "unet."+processor, processor)
		}
	}
	for _, name := range original {
		all = append(all, "lora_unet_"+flat(name), "diffusion_model."+name, "model.diffusion_model."+name)
	}
	return all
}

// diffusers lists the names that a module of the UNet has there.
func (p Part) diffusers(module string) []string {
	if p.Names == nil {
		return nil
	}
	var names []string
	for _, name := range p.Names.Diffusers(module + ".weight") {
		names = append(names, strings.TrimSuffix(name, ".weight"))
	}
	return names
}

// textStems are those of a text encoder, whose modules have transformers' names everywhere.
func textStems(k Kind, module string) []string {
	if k == Text2 {
		return []string{"lora_te2_" + flat(module), "text_encoder_2." + module, "base_model.model.text_encoder_2." + module}
	}
	return []string{"lora_te_" + flat(module), "lora_te1_" + flat(module), "text_encoder." + module,
		"base_model.model.text_encoder." + module, "base_model.model." + module}
}

// flat is a name as kohya's scripts write it.
func flat(name string) string { return strings.ReplaceAll(name, ".", "_") }

// attentionProcessor is the name that diffusers gave a projection of an attention before version 0.19: its processor held
// the product. Empty for other modules.
func attentionProcessor(name string) string {
	for _, projection := range []string{"to_q", "to_k", "to_v", "to_out.0"} {
		if attention, ok := strings.CutSuffix(name, "."+projection); ok {
			return attention + ".processor." + strings.TrimSuffix(projection, ".0") + "_lora"
		}
	}
	return ""
}

// leaves are the ends of tensor names that follow a stem, longer ones first.
var leaves = []string{
	".lora_magnitude_vector.default.weight", ".lora_magnitude_vector.weight", ".lora_magnitude_vector",
	".lora_A.default.weight", ".lora_B.default.weight", ".lora_A.weight", ".lora_B.weight",
	".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight", ".lora.down.weight", ".lora.up.weight",
	".lora_down.weight", ".lora_up.weight", ".lora_mid.weight", ".down.weight", ".up.weight",
	".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".hada_w2_b", ".hada_t1", ".hada_t2",
	".lokr_w1_a", ".lokr_w1_b", ".lokr_w2_a", ".lokr_w2_b", ".lokr_t2", ".lokr_w1", ".lokr_w2",
	".alpha", ".dora_scale", ".diff_b", ".diff", ".w_norm", ".b_norm",
}

// stemOf is a tensor's name without what follows the name of its module.
func stemOf(name string) string {
	for _, leaf := range leaves {
		if stem, ok := strings.CutSuffix(name, leaf); ok {
			return stem
		}
	}
	return name
}
