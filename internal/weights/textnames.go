package weights

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	textPrefix   = "text_model."
	layersPrefix = textPrefix + "encoder.layers."
)

// openCLIPParts are the parts of a residual block of OpenCLIP under
// transformers' names, attn.in_proj apart.
var openCLIPParts = map[string]string{
	"ln_1": "layer_norm1", "ln_2": "layer_norm2",
	"mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
	"attn.out_proj": "self_attn.out_proj",
}

// CanonicalText gathers the tensors of a CLIP text encoder under transformers'
// names with the prefix "text_model.". It takes transformers' names with and
// without that prefix, and OpenCLIP's, whose joint projection of query, key and
// value is cut in three and whose text_projection is transposed. What is no
// weight of the text half is left out: position_ids, logit_scale, vision_model.
func CanonicalText(src Source) (*Set, error) {
	var tensors []Tensor
	for _, name := range src.Names() {
		t, ok := src.Tensor(name)
		if !ok || notText(name) {
			continue
		}
		renamed, err := canonicalText(t)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		tensors = append(tensors, renamed...)
	}
	return NewSet(tensors)
}

// notText reports a tensor of a text encoder's file that is none of its weights.
func notText(name string) bool {
	return strings.HasSuffix(name, "position_ids") || strings.HasSuffix(name, "logit_scale") ||
		name == "attn_mask" || strings.HasPrefix(name, "vision_model.") || strings.HasPrefix(name, "visual")
}

// canonicalText translates one tensor, which may become three.
func canonicalText(t Tensor) ([]Tensor, error) {
	rest, block := strings.CutPrefix(t.Name, "transformer.resblocks.")
	switch {
	case block:
		return openCLIPBlock(t, rest)
	case t.Name == "text_projection":
		t.Name = "text_projection.weight"
		t, err := t.transposed()
		return []Tensor{t}, err
	case t.Name == "positional_embedding":
		t.Name = textPrefix + "embeddings.position_embedding.weight"
	case t.Name == "token_embedding.weight":
		t.Name = textPrefix + "embeddings.token_embedding.weight"
	case strings.HasPrefix(t.Name, "ln_final."):
		t.Name = textPrefix + "final_layer_norm." + strings.TrimPrefix(t.Name, "ln_final.")
	case hasAnyPrefix(t.Name, "embeddings.", "encoder.", "final_layer_norm."):
		t.Name = textPrefix + t.Name
	}
	return []Tensor{t}, nil
}

// openCLIPBlock translates a tensor of a residual block; rest is what follows
// "transformer.resblocks.", such as "0.attn.in_proj_weight".
func openCLIPBlock(t Tensor, rest string) ([]Tensor, error) {
	layer, inner, ok := strings.Cut(rest, ".")
	if _, err := strconv.ParseUint(layer, 10, 16); err != nil || !ok {
		return nil, fmt.Errorf("%q is not the number of a layer", layer)
	}
	prefix := layersPrefix + layer + "."
	if leaf, ok := strings.CutPrefix(inner, "attn.in_proj_"); ok {
		return t.threeWay(prefix+"self_attn.", "."+leaf)
	}
	part, leaf := cutLast(inner)
	if name, ok := openCLIPParts[part]; ok {
		t.Name = prefix + name + "." + leaf
	}
	return []Tensor{t}, nil
}

// threeWay cuts a tensor [3·d, …] into those of query, key and value, in that order.
func (t Tensor) threeWay(prefix, suffix string) ([]Tensor, error) {
	if len(t.Shape) == 0 || t.Shape[0]%3 != 0 {
		return nil, fmt.Errorf("first dimension of %v must be three times the width", clipShape(t.Shape))
	}
	third := len(t.Data) / 3
	shape := append([]int{t.Shape[0] / 3}, t.Shape[1:]...)
	var out []Tensor
	for i, name := range []string{"q_proj", "k_proj", "v_proj"} {
		data := t.Data[i*third : (i+1)*third : (i+1)*third]
		out = append(out, Tensor{Name: prefix + name + suffix, DType: t.DType, Shape: shape, Data: data, Scale: t.Scale})
	}
	return out, nil
}

// transposed copies a matrix [m, n] to [n, m].
func (t Tensor) transposed() (Tensor, error) {
	if len(t.Shape) != 2 {
		return t, fmt.Errorf("shape %v must be a matrix", clipShape(t.Shape))
	}
	rows, columns, size := t.Shape[0], t.Shape[1], t.DType.Size()
	out := make([]byte, 0, len(t.Data))
	for c := range columns {
		for r := range rows {
			at := (r*columns + c) * size
			out = append(out, t.Data[at:at+size]...)
		}
	}
	return Tensor{Name: t.Name, DType: t.DType, Shape: []int{columns, rows}, Data: out, Scale: t.Scale}, nil
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
