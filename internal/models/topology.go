package models

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"waggle/internal/weights"
)

// Bounds on what a configuration may claim; real networks have 4 and 2.
const (
	levelLimit = 16
	layerLimit = 64
)

// topology is what the names of a network depend on, as configured.
type topology struct {
	Channels []int           `json:"block_out_channels"`
	Layers   json.RawMessage `json:"layers_per_block"` // a number, or one for each level
	Down     []string        `json:"down_block_types"`
	Up       []string        `json:"up_block_types"`
}

// parseTopology reads a config.json of a UNet or a VAE.
func parseTopology(config []byte) (topology, []int, error) {
	var t topology
	if err := json.Unmarshal(config, &t); err != nil {
		return t, nil, fmt.Errorf("config.json: %w", err)
	}
	levels := len(t.Channels)
	if levels < 1 || levels > levelLimit {
		return t, nil, fmt.Errorf("config.json: block_out_channels has %d levels, need 1 to %d", levels, levelLimit)
	}
	layers, err := t.layers(levels)
	return t, layers, err
}

// layers is layers_per_block for each level; 2 when it is not given, as in diffusers.
func (t topology) layers(levels int) ([]int, error) {
	one, each := 2, []int(nil)
	if t.Layers == nil || json.Unmarshal(t.Layers, &one) == nil {
		each = slices.Repeat([]int{one}, levels)
	} else if json.Unmarshal(t.Layers, &each) != nil {
		return nil, errors.New("config.json: layers_per_block must be a number or a list of them")
	}
	if len(each) != levels {
		return nil, fmt.Errorf("config.json: layers_per_block has %d numbers for %d levels", len(each), levels)
	}
	for _, n := range each {
		if n < 1 || n > layerLimit {
			return nil, fmt.Errorf("config.json: layers_per_block %d, need 1 to %d", n, layerLimit)
		}
	}
	return each, nil
}

// canonicalUNet renames the tensors of a diffusers UNet.
func canonicalUNet(src weights.Source, config []byte) (*weights.Set, error) {
	names, err := unetNames(config)
	if err != nil {
		return nil, err
	}
	return weights.Canonical(src, names)
}

// unetNames are the names of a UNet with a config.json.
func unetNames(config []byte) (*weights.Names, error) {
	t, layers, err := parseTopology(config)
	if err != nil {
		return nil, err
	}
	down, err := attention("down_block_types", t.Down, "DownBlock2D", len(layers))
	if err != nil {
		return nil, err
	}
	up, err := attention("up_block_types", t.Up, "UpBlock2D", len(layers))
	if err != nil {
		return nil, err
	}
	return weights.UNetNames(weights.UNetTopology{Layers: layers, DownAttention: down, UpAttention: up}), nil
}

// attention tells for each level whether its blocks have cross-attention:
// types is a list of plain, such as "DownBlock2D", or "CrossAttn" and plain.
func attention(field string, types []string, plain string, levels int) ([]bool, error) {
	if len(types) != levels {
		return nil, fmt.Errorf("config.json: %s has %d blocks for %d levels", field, len(types), levels)
	}
	var out []bool
	for _, name := range types {
		kind, ok := strings.CutSuffix(name, plain)
		if !ok || kind != "" && kind != "CrossAttn" {
			return nil, fmt.Errorf("config.json: %s: block %q is not one we run (%s, CrossAttn%s)", field, clip(name), plain, plain)
		}
		out = append(out, kind != "")
	}
	return out, nil
}

// canonicalVAE renames the tensors of a diffusers AutoencoderKL or AutoencoderTiny.
func canonicalVAE(src weights.Source, config []byte) (*weights.Set, error) {
	if has(src, "decoder.layers.0.weight") {
		return weights.CanonicalTiny(src)
	}
	names, err := vaeNames(config)
	if err != nil {
		return nil, err
	}
	return weights.Canonical(src, names)
}

// vaeNames are the names of an autoencoder with a config.json.
func vaeNames(config []byte) (*weights.Names, error) {
	_, layers, err := parseTopology(config)
	if err != nil {
		return nil, err
	}
	for _, n := range layers {
		if n != layers[0] {
			return nil, errors.New("config.json: layers_per_block must be one number for a VAE")
		}
	}
	return weights.VAENames(len(layers), layers[0]), nil
}

func canonicalText(src weights.Source, _ []byte) (*weights.Set, error) {
	return weights.CanonicalText(src)
}
