package nn

import (
	"fmt"
	"slices"
	"strings"

	"waggle/gpu"
	"waggle/internal/weights"
	"waggle/shaders"
)

// Changed is a Source some of whose tensors are another's with something added, such as a LoRA: W' = W + ΔW. Its Tensor
// computes W' on the CPU, in f32.
type Changed interface {
	weights.Source
	// Base is the weights without the changes.
	Base() weights.Source
	// Touches reports whether a tensor is changed.
	Touches(name string) bool
	// Factors gives a change of low rank: up [out,rank]·down [rank,in·taps], to be added to a tensor of the base; false for a
	// change of another kind, or none.
	Factors(name string) (rank int, up, down []float32, ok bool)
}

// With is the weights with changes. What is not changed is shared with w, which must be closed after them. A changed matrix
// is kept in f32 ("wide"), in the order of the packed ones: rounded to f16 it would be off by as much as f16 activations
// are. Low-rank changes are computed and added on the device, others on the CPU. Where move is set, a matrix leaves w when it
// has been changed, to save memory: graphs compiled with w, or with other changes of w, must be closed before.
func (w *Weights) With(c Changed, move bool) *Weights {
	changed := w.runtime.NewWeights(c)
	changed.base, changed.changes, changed.moves = w, c, move
	return changed
}

// original is the source of the weights' shapes, and of their numbers where nothing is changed.
func (w *Weights) original() weights.Source {
	if w.base != nil {
		return w.base.source
	}
	return w.source
}

// touches reports whether tensor suffix of any of the names is changed.
func (w *Weights) touches(names []string, suffix string) bool {
	return w.changes != nil && slices.ContainsFunc(names, func(name string) bool { return w.changes.Touches(name + suffix) })
}

// touchesKey reports whether what Weights keeps under a key is changed.
func (w *Weights) touchesKey(key string) bool {
	suffix := ".weight"
	for _, end := range []string{".weight", ".bias"} {
		if names, ok := strings.CutSuffix(key, end); ok {
			key, suffix = names, end
		}
	}
	return w.touches(strings.Split(key, "+"), suffix)
}

// missing is how much more memory is taken when the weight under a key, of so many bytes, is on the device.
func (w *Weights) missing(key string, bytes int64) int64 {
	switch {
	case w.has(key):
		return 0
	case w.moves && w.touchesKey(key) && w.base.has(key):
		return bytes - bytes/2 // its f16 leave
	}
	return bytes
}

// drop gives the memory of a matrix back.
func (w *Weights) drop(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if im := w.images[key]; im != nil {
		im.Close()
	}
	if b := w.buffers[key]; b != nil {
		b.Close()
	}
	delete(w.images, key)
	delete(w.buffers, key)
}

// wide reports whether the matrix of a node is in f32.
func (w *Weights) wide(n *Node) bool { return w.touches(n.Joined, ".weight") }

// changed makes a wide matrix. Called with the lock held.
func (w *Weights) changed(n *Node, key string) (gpu.Memory, error) {
	s := w.shapeOf(n)
	parts, ok := w.lowRank(n, s)
	wide, err := w.newWide(key, s)
	if err != nil {
		return nil, err
	}
	if ok {
		var base gpu.Memory
		if base, err = w.base.matrix(n); err == nil {
			err = w.merge(base, s, parts, wide)
		}
	} else {
		err = w.uploadWide(n, s, wide)
	}
	if err != nil {
		wide.Close()
		return nil, err
	}
	if w.moves {
		w.base.drop(key)
	}
	return w.keep(key, wide), nil
}

// closer is an image or a buffer.
type closer interface {
	gpu.Memory
	Close()
}

func (w *Weights) keep(key string, m closer) gpu.Memory {
	switch m := m.(type) {
	case *gpu.Image:
		w.images[key] = m
	case *gpu.Buffer:
		w.buffers[key] = m
	}
	return m
}

// newWide makes room for a matrix in f32.
func (w *Weights) newWide(key string, s matrixShape) (closer, error) {
	if w.runtime.family == Subgroup {
		return w.runtime.device.NewImage(key, gpu.Uint4, 2*panels{s, w.runtime.lanes}.texels())
	}
	bytes := uint64(4 * tiles(s) * panelColumns)
	if limit := w.runtime.limits.Binding; bytes > limit {
		return nil, fmt.Errorf("weights of %s in f32 have %d bytes: %w: the adapter binds at most %d", key, bytes, gpu.ErrOutOfMemory, limit)
	}
	return w.runtime.device.NewBuffer(key, bytes)
}

// tiles is the number of rows of 64 outputs in the order of packTiles.
func tiles(s matrixShape) int {
	return ceil(s.out, panelColumns) * s.taps * ceil(s.in, blockInputs) * blockInputs
}

// lowRankPart is the change of one of a node's joined matrices.
type lowRankPart struct {
	first, count int // outputs
	rank         int // 0: it is only widened
	up, down     []float32
}

// lowRank gives the changes of a node as products; false where one is of another kind, or too large for a binding.
func (w *Weights) lowRank(n *Node, s matrixShape) ([]lowRankPart, bool) {
	each := s.out / len(n.Joined)
	if len(n.Joined) > 1 && each%4 != 0 {
		return nil, false
	}
	var parts []lowRankPart
	for i, name := range n.Joined {
		p := lowRankPart{first: i * each, count: each}
		if w.changes.Touches(name + ".weight") {
			var ok bool
			p.rank, p.up, p.down, ok = w.changes.Factors(name + ".weight")
			most := 4 * p.rank * max(4*quads(each), s.taps*ceil(s.in, blockInputs)*blockInputs)
			if !ok || uint64(most) > w.runtime.limits.Binding {
				return nil, false
			}
		}
		parts = append(parts, p)
	}
	return parts, true
}

// bringChanged makes a wide matrix in memory that it shares with others; the base's is there for as long as that takes.
// Called with the lock held.
func (w *Weights) bringChanged(n *Node, to closer) error {
	s := w.shapeOf(n)
	parts, ok := w.lowRank(n, s)
	if !ok {
		return w.uploadWide(n, s, to)
	}
	if key := matrixKey(n.Joined); !w.base.has(key) {
		w.base.mu.Lock()
		base, err := w.base.pack(n, key)
		w.base.mu.Unlock()
		if err != nil {
			return err
		}
		defer base.Close()
		return w.merge(base, s, parts, to)
	}
	base, err := w.base.matrix(n)
	if err != nil {
		return err
	}
	return w.merge(base, s, parts, to)
}

// merge adds low-rank changes to the base's matrix on the device.
func (w *Weights) merge(base gpu.Memory, s matrixShape, parts []lowRankPart, wide closer) error {
	device := w.runtime.device
	for _, part := range parts {
		name, constants, params, inputs := w.mergeKernel(s, part)
		key := kernelKey(name, constants)
		if err := w.runtime.prepare(map[string]kernelUse{key: {name, constants}}); err != nil {
			return err
		}
		up, down := gpu.None(), gpu.None()
		if part.rank > 0 {
			memory, err := w.uploadFactors(s, part, inputs)
			defer func() { // after the wait below
				for _, b := range memory {
					b.Close()
				}
			}()
			if err != nil {
				return err
			}
			up, down = gpu.Read(memory[0]), gpu.Read(memory[1])
		}
		p := device.NewProgram("merge")
		defer p.Close()
		p.Dispatch(w.runtime.kernels[key], params, mergeCounts(params), gpu.Read(base), up, down, gpu.Write(wide))
		if err := p.Run(); err != nil {
			return err
		}
	}
	return device.Flush()
}

// mergeWidth is the workgroups along x of a merge, below every adapter's limit.
const mergeWidth = 1 << 15

func mergeCounts(params []uint32) [3]int {
	return [3]int{int(params[1]), ceil(ceil(int(params[0]), 64), int(params[1])), 1}
}

// mergeKernel is the kernel and its parameters; inputs is the padded number of inputs of a tap.
func (w *Weights) mergeKernel(s matrixShape, part lowRankPart) (name string, c shaders.Constants, params []uint32, inputs int) {
	of := panels{s, w.runtime.lanes}
	places, steps := of.texels()/4, of.octets()
	name, c, inputs = "merge_subgroup", shaders.Constants{"LANES": u32(w.runtime.lanes)}, 8*steps
	if w.runtime.family != Subgroup {
		name, c, inputs = "merge_tiled", nil, ceil(s.in, blockInputs)*blockInputs
		places, steps = tiles(s)*panelColumns/8, inputs/2
	}
	for _, n := range []int{places, min(ceil(places, 64), mergeWidth), s.taps, steps, part.first / 4, quads(part.count), part.rank} {
		params = append(params, uint32(n))
	}
	return name, c, params, inputs
}

// uploadFactors brings a change's factors in: up [rank,outputs] padded to vec4s, down [rank,taps,inputs].
func (w *Weights) uploadFactors(s matrixShape, part lowRankPart, inputs int) (memory []*gpu.Buffer, err error) {
	pitch := 4 * quads(part.count)
	up, down := make([]float32, part.rank*pitch), make([]float32, part.rank*s.taps*inputs)
	for r := range part.rank {
		for o := range part.count {
			up[r*pitch+o] = part.up[o*part.rank+r]
		}
		for i := range s.in {
			for tap := range s.taps {
				down[(r*s.taps+tap)*inputs+i] = part.down[(r*s.in+i)*s.taps+tap]
			}
		}
	}
	for _, values := range [][]float32{up, down} {
		b, err := w.newBuffer("factors", floatsToBytes(values))
		if err != nil {
			return memory, err
		}
		memory = append(memory, b)
	}
	return memory, nil
}

// uploadWide computes a changed matrix on the CPU and brings it in.
func (w *Weights) uploadWide(n *Node, s matrixShape, wide closer) error {
	values := make([]float32, 0, s.out*s.in*s.taps)
	for _, name := range n.Joined {
		t, ok := w.source.Tensor(name + ".weight")
		if !ok {
			return fmt.Errorf("tensor %s.weight is missing or cannot be changed", name)
		}
		part, err := t.Float32s()
		if err != nil {
			return err
		}
		values = append(values, part...)
	}
	switch m := wide.(type) {
	case *gpu.Image:
		data := make([]byte, m.Texels()*16)
		copy(data, floatsToBytes(panels{s, w.runtime.lanes}.wide(values)))
		if err := w.runtime.device.WriteImage(m, 0, data); err != nil {
			return err
		}
		return w.sent(len(data))
	case *gpu.Buffer:
		data := floatsToBytes(wideTiles(values, s))
		if err := w.runtime.device.Write(m, 0, data); err != nil {
			return err
		}
		return w.sent(len(data))
	}
	return nil
}

// wide orders weights [out,in,taps] for conv_subgroup's wide texels: [panels,taps,octets,2,4,lanes] of 4 inputs each.
func (p panels) wide(values []float32) []float32 {
	all := make([]float32, 8*p.texels())
	width := 4 * p.lanes
	parallel(p.out, func(o int) {
		panel, column := o/width, o%width
		for i := range p.in {
			for tap := range p.taps {
				row := ((panel*p.taps+tap)*p.octets()+i/8)*2 + i%8/4
				all[(row*width+column%4*p.lanes+column/4)*4+i%4] = values[(o*p.in+i)*p.taps+tap]
			}
		}
	})
	return all
}

// wideTiles orders weights [out,in,taps] for conv_tiled and conv_plain in f32: [panels,taps,pairs,16,2] of 4 outputs each.
func wideTiles(values []float32, s matrixShape) []float32 {
	all, pairs := make([]float32, tiles(s)*panelColumns), ceil(s.in, blockInputs)*blockInputs/2
	parallel(s.out, func(o int) {
		panel, column := o/panelColumns, o%panelColumns
		for i := range s.in {
			for tap := range s.taps {
				at := ((panel*s.taps+tap)*pairs+i/2)*16 + column/4
				all[(at*2+i%2)*4+column%4] = values[(o*s.in+i)*s.taps+tap]
			}
		}
	})
	return all
}
