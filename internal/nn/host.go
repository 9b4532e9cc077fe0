package nn

import "waggle/gpu"

// Values that are too large for the device to hold, as Saving says, lie in the host's memory. The stages that make and read
// them work by bands of rows anyway; a band is brought into a buffer before it is read, and fetched after it is written. The
// kernels and what they compute are the same.

// isLarge reports whether a value is larger than the device is to hold.
func (c *compiler) isLarge(v valueInfo) bool {
	return c.saving.Band > 0 && 16*v.texels() > c.saving.Band && len(c.rowBands(v)) > 1
}

// goesToHost reports whether value v lies in the host's memory: it is large, and all who touch it work by bands.
func (c *compiler) goesToHost(v int) bool {
	value := c.values[v]
	producer, made := c.producer[v]
	if !made || !c.isLarge(value) || value.output || !c.stages[producer].isMatrix() || c.stages[producer].gated {
		return false
	}
	for i := range c.stages {
		s := &c.stages[i]
		for k, o := range s.operands() {
			if o.value != v {
				continue
			}
			byBands := s.isMatrix() && !s.gated && (k == 0 || s.residual.is() && k == len(s.operands())-1)
			if !byBands && (s.op != OpGroupNorm || c.virtualReader(s.out) < 0) {
				return false
			}
		}
	}
	return true
}

func (s *stage) isMatrix() bool { return s.op == OpLinear || s.op == OpConv }

// placeNormBands asks for memory for the bands of a norm's operand.
func (c *compiler) placeNormBands(s *stage, own *scratch, here span) {
	x := s.in[0].value
	if c.homes[x].host == nil {
		return
	}
	own.source = c.request("source", bufferMemory, 16*c.values[x].quads()*mostRows(c.normBands(s)), here)
}

// placeMatrixBands asks for memory for the bands of what a product reads and makes.
func (c *compiler) placeMatrixBands(s *stage, own *scratch, here span) {
	x, y := s.in[0].value, c.values[s.out]
	bands := c.matrixBands(s)
	if v := c.homes[x].virtual; v >= 0 {
		if c.runtime.family != Subgroup {
			own.band = c.request("band", bufferMemory, 16*c.largestBand(s), here)
		}
		x = c.stages[v].in[0].value
	}
	if c.homes[x].host != nil {
		own.source = c.request("source", bufferMemory, 16*c.largestBand(s), here)
	}
	if s.residual.is() && c.homes[s.residual.value].host != nil {
		own.rest = c.request("residual", bufferMemory, 16*y.quads()*mostRows(bands), here)
	}
	if c.homes[s.out].host != nil {
		own.result = c.request("result", bufferMemory, 16*y.quads()*mostRows(bands), here)
	}
}

func mostRows(bands []band) (most int) {
	for _, b := range bands {
		most = max(most, b.rows)
	}
	return most
}

// bring gives a stage rows of a value: where they are, or in the buffer into which the host is to bring them.
func (c *compiler) bring(s *stage, into *request, value, first, count int) gpu.Memory {
	h, row := c.homes[value], 16*c.values[value].quads()
	if h.host == nil {
		return c.rows(value, first, count)
	}
	to, from := c.buffer(into), c.hosts[h.host.block][first*row:][:count*row]
	c.program(s).Host(func() error { return c.runtime.sendTo(to, from) })
	return gpu.Range{Buffer: to, Size: uint64(count * row)}
}

// place gives a stage the memory for rows of its result, and what is to be recorded once they are there.
func (c *compiler) place(i int, s *stage, b band) (to gpu.Memory, done func()) {
	h, row := c.homes[s.out], 16*c.values[s.out].quads()
	if h.host == nil {
		return c.rows(s.out, b.first, b.rows), func() {}
	}
	from, into := c.buffer(c.placement.scratch[i].result), c.hosts[h.host.block][b.first*row:][:b.rows*row]
	return gpu.Range{Buffer: from, Size: uint64(len(into))}, func() {
		c.program(s).Host(func() error {
			data, err := c.runtime.device.Read(from, 0, uint64(len(into)))
			copy(into, data)
			return err
		})
	}
}

// sendTo writes data into a buffer, and waits: there are many bands, and the driver keeps a copy of what is on its way.
func (r *Runtime) sendTo(to *gpu.Buffer, data []byte) error {
	if err := r.device.Write(to, 0, data); err != nil {
		return err
	}
	return r.device.Flush()
}
