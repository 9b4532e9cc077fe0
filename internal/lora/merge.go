package lora

import (
	"encoding/binary"
	"math"
	"runtime"
	"sync"

	"waggle/internal/weights"
)

// Use is a LoRA at a strength.
type Use struct {
	*LoRA
	Strength float64
}

// Merged is a network's weights with changes: W' = W + Σ strength·delta(W), in f32. It is a Source that computes a changed
// tensor anew whenever it is asked for it; others are the base's.
type Merged struct {
	base weights.Source
	kind Kind
	uses []Use
}

// Merge adds the changes of uses to a part's tensors. Uses of strength 0 change nothing; nil if nothing is changed at all.
func Merge(base weights.Source, k Kind, uses []Use) *Merged {
	m := &Merged{base: base, kind: k}
	for _, u := range uses {
		if u.Strength != 0 && u.Changes(k) {
			m.uses = append(m.uses, u)
		}
	}
	if len(m.uses) == 0 {
		return nil
	}
	return m
}

// Names lists the tensors.
func (m *Merged) Names() []string { return m.base.Names() }

// Base is the weights without changes.
func (m *Merged) Base() weights.Source { return m.base }

// Touches reports whether a tensor is changed.
func (m *Merged) Touches(name string) bool {
	for _, u := range m.uses {
		if u.changes[m.kind][name] != nil {
			return true
		}
	}
	return false
}

// Tensor is the base's, or a changed one in f32. One that cannot be computed is not there.
func (m *Merged) Tensor(name string) (weights.Tensor, bool) {
	t, ok := m.base.Tensor(name)
	if !ok || !m.Touches(name) {
		return t, ok
	}
	base, err := t.Float32s()
	if err != nil {
		return t, false
	}
	sum := append([]float32(nil), base...)
	for _, u := range m.uses {
		c := u.changes[m.kind][name]
		if c == nil {
			continue
		}
		delta, err := c.delta(base)
		if err != nil || len(delta) != len(sum) {
			return t, false
		}
		for i, v := range delta {
			sum[i] += float32(u.Strength) * v
		}
	}
	data := make([]byte, 4*len(sum))
	for i, v := range sum {
		binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(v))
	}
	return weights.Tensor{Name: name, DType: weights.F32, Shape: t.Shape, Data: data}, true
}

// Factors gives a changed tensor's change as one product [out,rank]·[rank,in·taps], strengths and scales included; false
// where it is of another kind and Tensor has to be taken.
func (m *Merged) Factors(name string) (rank int, up, down []float32, ok bool) {
	var all []factors
	for _, u := range m.uses {
		c := u.changes[m.kind][name]
		if c == nil {
			continue
		}
		p, ok := c.(*product)
		if !ok {
			return 0, nil, nil, false
		}
		f, err := p.factors()
		if err != nil {
			return 0, nil, nil, false
		}
		for i := range f.up {
			f.up[i] *= float32(u.Strength)
		}
		all = append(all, f)
	}
	if len(all) == 0 {
		return 0, nil, nil, false
	}
	f := joined(all)
	return f.rank, f.up, f.down, true
}

// parallel calls f for 0…n-1 on all processors.
func parallel(n int, f func(i int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	var wg sync.WaitGroup
	for k := range workers {
		wg.Go(func() {
			for i := k * n / workers; i < (k+1)*n/workers; i++ {
				f(i)
			}
		})
	}
	wg.Wait()
}
