package nn

import (
	"cmp"
	"fmt"
	"slices"

	"waggle/gpu"
)

// Saving says how a graph is compiled so that it needs less of the device. The zero value saves nothing; results are the same to
// the last bit.
type Saving struct {
	// Weights is the most bytes that weights may take. The others are uploaded whenever the graph is run, each before it is
	// used, into memory that they share. 0 keeps all.
	Weights int64
	// Band is the most bytes of a value that the device holds at a time. Larger ones are kept in the host's memory, as far as
	// their readers can work by bands of rows, and come and go band by band. 0 keeps all.
	Band int
}

// Save has the graph compiled so that it needs less.
func (g *Graph) Save(saving Saving) *Graph {
	g.saving = saving
	return g
}

// ringSlots is how many places there are for streamed weights: one is written while the other is read.
const ringSlots = 2

// streaming is how a graph's weights come to the device that do not stay there.
type streaming struct {
	streamed map[string]bool // keys of matrices
	ring     int64           // bytes that they take together
	slot     int64           // bytes of one of the places that they share
	slots    []closer
	turn     int // of the slots, while programs are recorded
}

// matrix is a packed weight, for planning.
type matrix struct {
	key   string
	bytes int64
	base  int64 // bytes of what it is made of, where that is another matrix
	rate  Rate  // PerStep if it is used in every step
}

// matrices of the graph: first those used in every step, the larger before the smaller.
func (c *compiler) matrices() []matrix {
	found := map[string]matrix{}
	for i := range c.stages {
		s := &c.stages[i]
		if s.op != OpLinear && s.op != OpConv {
			continue
		}
		key := matrixKey(s.node.Joined)
		m := matrix{key: key, bytes: c.matrixBytes(s.node), rate: max(found[key].rate, s.rate)}
		if c.weights.wide(s.node) {
			m.base = c.packedMatrixBytes(s.node, 1)
		}
		found[key] = m
	}
	var all []matrix
	for _, m := range found {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b matrix) int {
		return cmp.Or(cmp.Compare(b.rate, a.rate), cmp.Compare(b.bytes, a.bytes), cmp.Compare(a.key, b.key))
	})
	return all
}

// stream decides which weights stay: as many as there is room for beside the slots, the largest first, since slots are as
// large as the largest weight that does not stay.
func (c *compiler) stream() error {
	all, room, whole := c.matrices(), c.saving.Weights, c.packedBytes()
	if room == 0 || whole <= room {
		return nil
	}
	room -= whole - sumOf(all) // vectors and tables always stay
	kept := 0
	for n := range all {
		if sumOf(all[:n])+ring(all[n:]) <= room {
			kept = n
		}
	}
	rest := all[kept:]
	if c.ring = ring(rest); c.ring > room {
		return fmt.Errorf("weights within %d MB: %w: the least is %d MB", c.saving.Weights>>20, gpu.ErrOutOfMemory, c.leastWeights()>>20)
	}
	c.slot = largest(rest)
	room -= c.ring + sumOf(all[:kept])
	c.streamed = map[string]bool{}
	for _, m := range rest {
		if m.bytes <= room {
			room -= m.bytes
		} else {
			c.streamed[m.key] = true
		}
	}
	return nil
}

// allocateRing makes the slots.
func (c *compiler) allocateRing() error {
	for range ringSlots * boolInt(c.ring > 0) {
		s, err := c.newSlot(c.slot)
		if err != nil {
			return err
		}
		c.slots = append(c.slots, s)
	}
	return nil
}

func (c *compiler) newSlot(bytes int64) (closer, error) {
	if c.runtime.family == Subgroup {
		return c.runtime.device.NewImage("streamed weights", gpu.Uint4, int(bytes/16))
	}
	return c.runtime.device.NewBuffer("streamed weights", uint64(bytes))
}

// matrix is the packed weight of a stage: one that stays, or a slot into which the host is to bring it.
func (c *compiler) matrix(s *stage) (gpu.Memory, error) {
	if !c.streamed[matrixKey(s.node.Joined)] {
		return c.weights.matrix(s.node)
	}
	to := c.slots[c.turn%ringSlots]
	c.turn++
	c.program(s).Host(func() error { return c.weights.bring(s.node, to) })
	return to, nil
}

func largest(all []matrix) (most int64) {
	for _, m := range all {
		most = max(most, m.bytes)
	}
	return most
}

// ring is what streamed weights take: the slots, and what a changed weight is made of.
func ring(all []matrix) int64 {
	base := int64(0)
	for _, m := range all {
		base = max(base, m.base)
	}
	return ringSlots*largest(all) + base
}

func sumOf(all []matrix) (sum int64) {
	for _, m := range all {
		sum += m.bytes
	}
	return sum
}

// leastWeights is the least that Saving.Weights can be.
func (c *compiler) leastWeights() int64 {
	all, whole := c.matrices(), c.packedBytes()
	least := whole
	for n := range all {
		least = min(least, whole-sumOf(all[n:])+ring(all[n:]))
	}
	return least
}

func (c *compiler) packedBytes() (sum int64) {
	for _, bytes := range c.packed() {
		sum += bytes
	}
	return sum
}
