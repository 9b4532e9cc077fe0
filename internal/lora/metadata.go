package lora

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"strings"

	"waggle/internal/weights"
)

// adapterKey is the metadata in which diffusers keeps what PEFT knows of its adapters: a JSON object with names such as
// "unet.lora_alpha" (diffusers, loaders/lora_base.py). Such files have no tensors with alpha.
const adapterKey = "lora_adapter_metadata"

// maxMetadataBytes bounds it; real ones have a few KiB.
const maxMetadataBytes = 1 << 20

// alphas are alpha by the beginning of modules' names, such as "unet.", and of single modules by what their names hold.
type alphas struct {
	all     map[string]float64
	pattern map[string]map[string]float64
}

// readAlphas finds the alphas that a file's metadata tells; none where it tells nothing that can be read.
func readAlphas(file weights.Source) (a alphas) {
	a = alphas{map[string]float64{}, map[string]map[string]float64{}}
	described, ok := file.(interface{ Metadata() map[string]string })
	if !ok {
		return a
	}
	text := described.Metadata()[adapterKey]
	var members map[string]json.RawMessage
	if len(text) > maxMetadataBytes || json.Unmarshal([]byte(text), &members) != nil {
		return a
	}
	for name, value := range members {
		if prefix, ok := strings.CutSuffix(name, "lora_alpha"); ok {
			var alpha float64
			if json.Unmarshal(value, &alpha) == nil {
				a.all[prefix] = alpha
			}
		}
		if prefix, ok := strings.CutSuffix(name, "alpha_pattern"); ok {
			pattern := map[string]float64{}
			if json.Unmarshal(value, &pattern) == nil {
				a.pattern[prefix] = pattern
			}
		}
	}
	return a
}

// of is a module's alpha as a tensor; the zero Tensor where the metadata has none.
func (a alphas) of(stem string) weights.Tensor {
	for prefix, alpha := range a.all {
		module, ok := strings.CutPrefix(stem, prefix)
		if !ok || prefix == "" {
			continue
		}
		if own, ok := a.pattern[prefix][module]; ok {
			alpha = own
		}
		data := binary.LittleEndian.AppendUint64(nil, math.Float64bits(alpha))
		return weights.Tensor{DType: weights.F64, Data: data}
	}
	return weights.Tensor{}
}
