package lora

import (
	"errors"
	"fmt"
	"slices"

	"waggle/internal/weights"
)

// target is the layer that a module changes: its shapes in the model. bias is nil where there is none.
type target struct{ weight, bias []int }

// extents of a weight [out,in,…]: taps are the places of a convolution's window, 1 for a linear.
func (t target) extents() (out, in, taps int) {
	out, in, taps = 1, 1, 1
	for i, n := range t.weight {
		switch i {
		case 0:
			out = n
		case 1:
			in = n
		default:
			taps *= n
		}
	}
	return out, in, taps
}

// productForms are the leaves of a product's factors, by who wrote the file: kohya's scripts and LyCORIS; PEFT, and with
// the adapter's name; diffusers; diffusers for text encoders; diffusers' attention processors.
var productForms = []struct{ down, up string }{
	{".lora_down.weight", ".lora_up.weight"},
	{".lora_A.weight", ".lora_B.weight"},
	{".lora_A.default.weight", ".lora_B.default.weight"},
	{".lora.down.weight", ".lora.up.weight"},
	{".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"},
	{".down.weight", ".up.weight"},
}

// take finds a tensor and marks it as belonging to a module. The zero Tensor stands for none.
func (r *reader) take(name string) weights.Tensor {
	t, ok := r.file.Tensor(name)
	if ok {
		r.used[name] = true
	}
	return t
}

// read finds the changes under a stem: of the layer's weight and of its bias. found says that there was something; the error,
// why it does not fit.
func (r *reader) read(stem string, t target) (weight, bias change, found bool, err error) {
	alpha := r.take(stem + ".alpha")
	magnitude := r.magnitude(stem)
	full, fullBias := r.difference(stem, ".diff", ".w_norm"), r.difference(stem, ".diff_b", ".b_norm")
	base, err := r.factors(stem, alpha, t)
	found = base != nil || err != nil || has(full) || has(fullBias) || has(alpha) || has(magnitude)
	if !found || err != nil {
		return nil, nil, found, err
	}
	weight = base
	if has(full) {
		if weight, err = newDifference(full, t.weight); err != nil {
			return nil, nil, true, err
		}
	}
	if has(fullBias) {
		if bias, err = newDifference(fullBias, t.bias); err != nil {
			return nil, nil, true, err
		}
	}
	if has(magnitude) && weight != nil {
		weight, err = newMagnitude(magnitude, weight, t)
	}
	if err == nil && weight == nil && bias == nil {
		err = errors.New("its matrices are missing")
	}
	return weight, bias, true, err
}

func (r *reader) magnitude(stem string) weights.Tensor {
	for _, leaf := range []string{".dora_scale", ".lora_magnitude_vector", ".lora_magnitude_vector.weight", ".lora_magnitude_vector.default.weight"} {
		if t := r.take(stem + leaf); has(t) {
			return t
		}
	}
	return weights.Tensor{}
}

func (r *reader) difference(stem string, leaves ...string) weights.Tensor {
	for _, leaf := range leaves {
		if t := r.take(stem + leaf); has(t) {
			return t
		}
	}
	return weights.Tensor{}
}

// factors reads a change that is given by matrices smaller than the weight; nil where the file has none.
func (r *reader) factors(stem string, alpha weights.Tensor, t target) (change, error) {
	for _, form := range productForms {
		down, up := r.take(stem+form.down), r.take(stem+form.up)
		if has(down) || has(up) {
			if !has(alpha) {
				alpha = r.alphas.of(stem)
			}
			return newProduct(up, r.take(stem+".lora_mid.weight"), down, alpha, t)
		}
	}
	if a := r.takeAll(stem, ".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".hada_w2_b", ".hada_t1", ".hada_t2"); a != nil {
		return newHadamard(a, alpha, t)
	}
	if a := r.takeAll(stem, ".lokr_w1", ".lokr_w1_a", ".lokr_w1_b", ".lokr_w2", ".lokr_w2_a", ".lokr_w2_b", ".lokr_t2"); a != nil {
		return newKronecker(a, alpha, t)
	}
	return nil, nil
}

// takeAll finds tensors by their leaves; nil where there is none of them.
func (r *reader) takeAll(stem string, leaves ...string) []weights.Tensor {
	all := make([]weights.Tensor, len(leaves))
	for i, leaf := range leaves {
		all[i] = r.take(stem + leaf)
	}
	if !slices.ContainsFunc(all, has) {
		return nil
	}
	return all
}

func has(t weights.Tensor) bool { return t.DType != 0 }

// matrix is a tensor seen as [rows, columns], row-major.
type matrix struct {
	weights.Tensor
	rows, columns int
}

// asMatrix views a tensor by its first axis and all the others.
func asMatrix(what string, t weights.Tensor) (matrix, error) {
	switch {
	case !has(t):
		return matrix{}, fmt.Errorf("%s is missing", what)
	case !t.DType.Float():
		return matrix{}, fmt.Errorf("%s has %s numbers, want floating-point", what, t.DType)
	case len(t.Shape) < 2 || t.Shape[0] == 0 || t.Elements() == 0:
		return matrix{}, fmt.Errorf("%s has shape %v, want a matrix", what, t.Shape[:min(len(t.Shape), 8)])
	}
	return matrix{t, t.Shape[0], t.Elements() / t.Shape[0]}, nil
}

// scale is alpha/rank; 1 without alpha.
func scale(alpha weights.Tensor, rank int) (float32, error) {
	if !has(alpha) {
		return 1, nil
	}
	if !alpha.DType.Float() || alpha.Elements() != 1 {
		return 0, fmt.Errorf("alpha is %s %v, want one floating-point number", alpha.DType, alpha.Shape[:min(len(alpha.Shape), 8)])
	}
	v, err := alpha.Float32s()
	if err != nil {
		return 0, err
	}
	if s := v[0] / float32(rank); s-s == 0 {
		return s, nil
	}
	return 0, fmt.Errorf("alpha is %v, want a finite number", v[0])
}

func checkRank(rank int) error {
	if rank < 1 || rank > maxRank {
		return fmt.Errorf("rank %d, want 1…%d", rank, maxRank)
	}
	return nil
}
