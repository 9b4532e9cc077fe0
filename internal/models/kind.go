package models

import (
	"slices"
	"strings"
)

// Kind is what a file is for.
type Kind string

// The kinds of files that people have.
const (
	Checkpoint  Kind = "checkpoint" // a model: one file, or a diffusers folder
	UNet        Kind = "unet"       // the denoising network alone
	VAE         Kind = "vae"
	TextEncoder Kind = "clip" // a text encoder alone
	LoRA        Kind = "lora" // small changes to a model, of any make (LoRA, LyCORIS)
	Embedding   Kind = "embedding"
	ControlNet  Kind = "controlnet" // and T2I adapters, which people keep with them
	Upscaler    Kind = "upscaler"   // ESRGAN
	TAESD       Kind = "taesd"      // a small decoder, in place of a VAE
)

// Kinds lists all of them.
func Kinds() []Kind {
	return []Kind{Checkpoint, UNet, VAE, TextEncoder, LoRA, Embedding, ControlNet, Upscaler, TAESD}
}

// noun is what messages call one of the kind.
func (k Kind) noun() string {
	switch k {
	case Checkpoint, "":
		return "model"
	case UNet, VAE:
		return strings.ToUpper(string(k))
	case TextEncoder:
		return "text encoder"
	case LoRA:
		return "LoRA"
	case ControlNet:
		return "ControlNet"
	case TAESD:
		return "small decoder"
	}
	return string(k)
}

// trait is something that tensors' names say of a file.
type trait uint

const (
	isLoRA trait = 1 << iota
	hasUNet
	hasVAE
	hasText
	isUNet
	isVAE
	isText
	isControl
	isEmbedding
	isTAESD
	isUpscaler
)

// signs are beginnings of tensors' names, as the makers of such files write them, and what they say; the first that fits
// counts.
var signs = []struct {
	prefix string
	says   trait
}{
	{"lora_", isLoRA}, {"lycoris_", isLoRA}, {"base_model.model.", isLoRA},
	{"model.diffusion_model.", hasUNet}, {"first_stage_model.", hasVAE},
	{"cond_stage_model.", hasText}, {"conditioner.embedders.", hasText},
	{"control_model.", isControl}, {"input_hint_block.", isControl}, {"controlnet_", isControl}, {"adapter.", isControl},
	{"input_blocks.0.0.", isUNet}, {"time_embedding.", isUNet},
	{"decoder.conv_in.", isVAE}, {"quant_conv.", isVAE}, {"post_quant_conv.", isVAE},
	{"text_model.", isText}, {"transformer.resblocks.", isText}, {"text_projection", isText},
	{"emb_params", isEmbedding}, {"clip_l", isEmbedding}, {"clip_g", isEmbedding}, {"string_to_param", isEmbedding}, {"<", isEmbedding},
	{"taesd", isTAESD}, {"decoder.layers.", isTAESD}, {"encoder.layers.", isTAESD}, {"3.conv.0.", isTAESD}, {"decoder.3.conv.0.", isTAESD},
	{"conv_first.", isUpscaler}, {"model.1.sub.0.", isUpscaler}, {"params_ema.", isUpscaler}, {"body.0.rdb1.", isUpscaler},
}

// loraParts occur in the names of a LoRA's tensors, and in no others.
var loraParts = []string{".lora_", ".lora.", "_lora.", ".hada_w", ".lokr_w", ".dora_scale", ".oft_"}

// traits of a file: what all its tensors' names say.
func (t trait) with(name string) trait {
	if slices.ContainsFunc(loraParts, func(part string) bool { return strings.Contains(name, part) }) {
		return t | isLoRA
	}
	for _, s := range signs {
		if strings.HasPrefix(name, s.prefix) {
			return t | s.says
		}
	}
	return t
}

// kind is what a file with such names is; empty where they say nothing. The more telling trait comes first: a ControlNet has
// a UNet's names too.
func (t trait) kind() Kind {
	for _, rule := range []struct {
		has  trait
		kind Kind
	}{
		{isLoRA, LoRA}, {isControl, ControlNet}, {isEmbedding, Embedding}, {isTAESD, TAESD},
		{isUNet, UNet}, {isUpscaler, Upscaler},
	} {
		if t&rule.has != 0 {
			return rule.kind
		}
	}
	switch whole := t & (hasUNet | hasVAE | hasText); {
	case whole == hasUNet:
		return UNet
	case whole == hasVAE:
		return VAE
	case whole == hasText:
		return TextEncoder
	case whole != 0:
		return Checkpoint
	case t&isVAE != 0:
		return VAE
	case t&isText != 0:
		return TextEncoder
	}
	return ""
}
