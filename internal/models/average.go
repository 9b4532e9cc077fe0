package models

import (
	"strings"

	"waggle/internal/weights"
)

// flatPrefix is where the original training program keeps the average of the UNet's weights, under names without dots.
const flatPrefix = "model_ema.diffusion_model"

// flatWords are the components of a UNet's names, a word before those it begins with.
var flatWords = []string{
	"input_blocks", "output_blocks", "middle_block", "time_embed", "label_emb", "in_layers", "out_layers", "emb_layers",
	"skip_connection", "transformer_blocks", "attn1", "attn2", "norm1", "norm2", "norm3", "norm", "to_out", "to_q", "to_k", "to_v",
	"proj_in", "proj_out", "proj", "ff", "net", "conv", "op", "out", "weight", "bias",
}

// flatAverage restores the UNet of a file that has its average alone.
func flatAverage(src weights.Source) (weights.Source, bool) {
	found := false
	set, err := weights.Rename(src, func(name string) (string, bool) {
		flat, ok := strings.CutPrefix(name, flatPrefix)
		if !ok || strings.HasPrefix(flat, ".") {
			return name, true
		}
		dotted, ok := withDots(flat)
		if !ok {
			return name, true
		}
		found = true
		return "model.diffusion_model." + dotted, true
	})
	return set, found && err == nil
}

// withDots takes a name without dots apart: input_blocks41transformer_blocks0attn1to_qweight is
// input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight. The blocks' numbers end with one digit of their own for the piece.
func withDots(flat string) (string, bool) {
	var parts []string
	for flat != "" {
		if digits := len(flat) - len(strings.TrimLeft(flat, "0123456789")); digits > 0 {
			number, pair := flat[:digits], len(parts) > 0 && (strings.HasSuffix(parts[len(parts)-1], "put_blocks") || parts[len(parts)-1] == "label_emb")
			if pair && digits > 1 {
				parts = append(parts, number[:digits-1], number[digits-1:])
			} else {
				parts = append(parts, number)
			}
			flat = flat[digits:]
			continue
		}
		word := firstOf(flat)
		if word == "" {
			return "", false
		}
		parts, flat = append(parts, word), flat[len(word):]
	}
	return strings.Join(parts, "."), len(parts) > 1
}

func firstOf(flat string) string {
	for _, word := range flatWords {
		if strings.HasPrefix(flat, word) {
			return word
		}
	}
	return ""
}
