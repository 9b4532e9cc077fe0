package lora

import (
	"strings"

	"waggle/internal/weights"
)

// MadeFor guesses from names and shapes which models a file was trained for.
func MadeFor(file weights.Source) string {
	second := false
	for _, name := range file.Names() {
		for _, other := range others {
			if strings.Contains(name, other.mark) {
				return other.family
			}
		}
		if width := textWidth(file, name); width > 0 {
			if family := families[width]; family != "" {
				return family
			}
		}
		second = second || strings.HasPrefix(name, "lora_te2_") || strings.HasPrefix(name, "text_encoder_2.")
	}
	if second {
		return "SDXL"
	}
	return "another model"
}

// others are families that we do not draw with, told by their blocks.
var others = []struct{ mark, family string }{
	{"double_blocks", "Flux"}, {"single_blocks", "Flux"}, {"single_transformer_blocks", "Flux"},
	{"joint_blocks", "Stable Diffusion 3"}, {"lora_transformer_", "a diffusion transformer"},
	{"lora_prior_unet_", "Stable Cascade"}, {"transformer.transformer_blocks", "Stable Diffusion 3 or another diffusion transformer"},
	{"motion_modules", "AnimateDiff"},
}

// families by the width of the text that their UNets read.
var families = map[int]string{768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: "SDXL"}

// textWidth is the width of the text behind a cross-attention's keys, 0 for other tensors.
func textWidth(file weights.Source, name string) int {
	if !strings.Contains(name, "attn2") || !strings.Contains(name, "to_k") && !strings.Contains(name, "to_v") {
		return 0
	}
	for _, leaf := range []string{"down.weight", "lora_A.weight", "lora_A.default.weight", "w1_b"} {
		if strings.HasSuffix(name, leaf) {
			if t, ok := file.Tensor(name); ok && len(t.Shape) >= 2 {
				return t.Shape[1]
			}
		}
	}
	return 0
}
