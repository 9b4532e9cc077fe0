package weights

import (
	"fmt"
	"math"
	"slices"
)

// Companions of 8-bit weights that were divided by a factor so as to use their
// few exponents well, as ComfyUI names them: NAME.weight has its factor in
// NAME.scale_weight (or NAME.weight_scale), one for the whole matrix. What is
// for the inputs of a layer, and the marks that say that a file is of this
// kind, are needed by those alone who multiply in 8 bits.
var (
	scaleNames   = []string{"scale_weight", "weight_scale"}
	scaleIgnored = []string{"scale_input", "input_scale", "scaled_fp8", "comfy_quant"}
)

// scale gives 8-bit weights the factor that lies beside them, and takes the
// companions out of the file's tensors.
func (f *File) scale() error {
	var gone []string
	for _, name := range f.names {
		module, leaf := cutLast(name)
		weight := join(module, "weight")
		if t, ok := f.tensors[weight]; !ok || t.DType != F8E4M3 && t.DType != F8E5M2 {
			if leaf == "scaled_fp8" {
				gone = append(gone, name)
			}
			continue
		}
		switch {
		case slices.Contains(scaleNames, leaf):
			factor, err := f.factor(name)
			if err != nil {
				return &FormatError{File: f.name, Tensor: name, Reason: err.Error()}
			}
			t := f.tensors[weight]
			t.Scale = factor
			f.tensors[weight] = t
		case !slices.Contains(scaleIgnored, leaf):
			continue
		}
		gone = append(gone, name)
	}
	f.forget(gone)
	return nil
}

// factor reads the one number of a companion.
func (f *File) factor(name string) (float32, error) {
	t, _ := f.Tensor(name)
	if t.Elements() != 1 {
		return 0, fmt.Errorf("has shape %v; one factor for a matrix is read", clipShape(t.Shape))
	}
	numbers, err := t.Float32s()
	if err != nil {
		return 0, err
	}
	factor := numbers[0]
	if !(factor > 0) || math.IsInf(float64(factor), 0) {
		return 0, fmt.Errorf("is %g, a factor must be positive", factor)
	}
	return factor, nil
}

// forget takes tensors out.
func (f *File) forget(names []string) {
	if len(names) == 0 {
		return
	}
	for _, name := range names {
		delete(f.tensors, name)
	}
	kept := f.names[:0]
	for _, name := range f.names {
		if _, ok := f.tensors[name]; ok {
			kept = append(kept, name)
		}
	}
	f.names = kept
}
