package weights

import (
	"fmt"
	"slices"
	"strings"
)

// OpenCLIPText gives a text encoder with canonical names those of OpenCLIP: the
// reverse of CanonicalText, with query, key and value in one matrix and
// text_projection transposed.
func OpenCLIPText(src Source) ([]Tensor, error) {
	var out []Tensor
	for _, name := range src.Names() {
		t, _ := src.Tensor(name)
		if rest, ok := strings.CutPrefix(name, layersPrefix); ok {
			renamed, err := openCLIPLayer(src, t, rest)
			if err != nil {
				return nil, err
			}
			out = append(out, renamed...)
			continue
		}
		rest := strings.TrimPrefix(name, textPrefix)
		switch {
		case name == "text_projection.weight":
			t.Name = "text_projection"
			var err error
			if t, err = t.transposed(); err != nil {
				return nil, fmt.Errorf("tensor %q: %w", name, err)
			}
		case rest == "embeddings.position_embedding.weight":
			t.Name = "positional_embedding"
		case rest == "embeddings.token_embedding.weight":
			t.Name = "token_embedding.weight"
		case strings.HasPrefix(rest, "final_layer_norm."):
			t.Name = "ln_final." + strings.TrimPrefix(rest, "final_layer_norm.")
		default:
			return nil, fmt.Errorf("tensor %q has no name in OpenCLIP", name)
		}
		out = append(out, t)
	}
	return out, nil
}

// openCLIPLayer renames a tensor of a layer; rest is its name from the number
// on. Query brings key and value along.
func openCLIPLayer(src Source, t Tensor, rest string) ([]Tensor, error) {
	layer, inner, _ := strings.Cut(rest, ".")
	prefix := "transformer.resblocks." + layer + "."
	part, leaf := cutLast(inner)
	switch part {
	case "self_attn.k_proj", "self_attn.v_proj":
		return nil, nil
	case "self_attn.q_proj":
		joint, err := joined(src, layersPrefix+layer+".self_attn.", "."+leaf)
		joint.Name = prefix + "attn.in_proj_" + leaf
		return []Tensor{joint}, err
	}
	for open, canonical := range openCLIPParts {
		if part == canonical {
			t.Name = prefix + open + "." + leaf
			return []Tensor{t}, nil
		}
	}
	return nil, fmt.Errorf("tensor %q has no name in OpenCLIP", t.Name)
}

// joined puts query, key and value under one another, which must be alike.
func joined(src Source, prefix, suffix string) (Tensor, error) {
	var all Tensor
	for i, name := range []string{"q_proj", "k_proj", "v_proj"} {
		t, ok := src.Tensor(prefix + name + suffix)
		if !ok {
			return all, fmt.Errorf("tensor %q is missing", prefix+name+suffix)
		}
		if i == 0 {
			all = Tensor{DType: t.DType, Shape: slices.Clone(t.Shape), Scale: t.Scale, Data: slices.Clone(t.Data)}
			continue
		}
		if t.DType != all.DType || t.Scale != all.Scale || len(t.Shape) != len(all.Shape) || !slices.Equal(t.Shape[1:], all.Shape[1:]) {
			return all, fmt.Errorf("tensor %q is of another type or width than q_proj, which it must be stored with", t.Name)
		}
		all.Shape[0] += t.Shape[0]
		all.Data = append(all.Data, t.Data...)
	}
	return all, nil
}
