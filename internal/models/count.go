package models

import "waggle/internal/weights"

// PartSummary counts one network.
type PartSummary struct {
	Name       string         `json:"name"` // unet, vae, text_encoder or text_encoder_2
	Tensors    int            `json:"tensors"`
	Parameters int64          `json:"parameters"`
	Bytes      int64          `json:"bytes"`
	DTypes     map[string]int `json:"dtypes"` // tensors of each type, such as {"F16": 686}
}

// Count counts the networks of an open model, as far as it has them.
func Count(m *Model) (all []PartSummary) {
	for _, p := range m.parts() {
		all = append(all, count(p))
	}
	return all
}

func count(p namedPart) PartSummary {
	s := PartSummary{Name: p.name, DTypes: map[string]int{}}
	for _, name := range p.Tensors.Names() {
		t, ok := p.Tensors.Tensor(name)
		if !ok {
			continue
		}
		s.Tensors++
		s.Parameters += int64(t.Elements())
		s.Bytes += int64(len(t.Data))
		s.DTypes[t.DType.String()]++
	}
	return s
}

// extent is the size of one axis of a tensor, 0 if it has none.
func extent(src weights.Source, name string, axis int) int {
	t, ok := src.Tensor(name)
	if !ok || axis >= len(t.Shape) {
		return 0
	}
	return t.Shape[axis]
}
