package models

import "waggle/internal/weights"

// PartSummary counts one network.
type PartSummary struct {
	Name string `json:"name"` // unet, vae, text_encoder or text_encoder_2
	Counts
}

// Counts are of tensors.
type Counts struct {
	Tensors    int            `json:"tensors"`
	Parameters int64          `json:"parameters"`
	Bytes      int64          `json:"bytes"`
	DTypes     map[string]int `json:"dtypes"` // tensors of each type, such as {"F16": 686}
}

// Count counts the networks of an open model, as far as it has them.
func Count(m *Model) (all []PartSummary) {
	for _, p := range m.parts() {
		all = append(all, PartSummary{p.name, CountTensors(p.Tensors)})
	}
	return all
}

// CountTensors counts the tensors of a source.
func CountTensors(src weights.Source) Counts {
	c := Counts{DTypes: map[string]int{}}
	for _, name := range src.Names() {
		t, ok := src.Tensor(name)
		if !ok {
			continue
		}
		c.Tensors++
		c.Parameters += int64(t.Elements())
		c.Bytes += int64(len(t.Data))
		c.DTypes[t.DType.String()]++
	}
	return c
}

// extent is the size of one axis of a tensor, 0 if it has none.
func extent(src weights.Source, name string, axis int) int {
	t, ok := src.Tensor(name)
	if !ok || axis >= len(t.Shape) {
		return 0
	}
	return t.Shape[axis]
}
