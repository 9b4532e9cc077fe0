package nn

// Linear is y = x·Wᵀ + b over the last axis: x [...,in] → [...,out]. W [out,in] or [out,in,1,1], b [out].
// A 1×1 convolution is the same thing.
func (g *Graph) Linear(name string, x Tensor, out int) Tensor {
	full := g.full(name)
	g.checkWeight(full+".weight", out, x.Channels())
	g.checkWeight(full+".bias", out)
	return g.add(Node{Op: OpLinear, In: []int{x.id}, Shape: replaced(x.Shape(), out), Name: full, Joined: []string{full}, Bias: true})
}

// LinearNoBias is Linear without b.
func (g *Graph) LinearNoBias(name string, x Tensor, out int) Tensor {
	full := g.full(name)
	g.checkWeight(full+".weight", out, x.Channels())
	return g.add(Node{Op: OpLinear, In: []int{x.id}, Shape: replaced(x.Shape(), out), Name: full, Joined: []string{full}})
}

// JoinedLinear is several linears of the same input and width as one product: x [...,in] → [...,len(names)·out], the
// results side by side in the order of names. Take them apart with Columns.
func (g *Graph) JoinedLinear(x Tensor, out int, bias bool, names ...string) Tensor {
	n := Node{Op: OpLinear, In: []int{x.id}, Shape: replaced(x.Shape(), out*len(names)), Bias: bias}
	for _, name := range names {
		full := g.full(name)
		g.checkWeight(full+".weight", out, x.Channels())
		if bias {
			g.checkWeight(full+".bias", out)
		}
		n.Joined = append(n.Joined, full)
	}
	n.Name = n.Joined[0]
	return g.add(n)
}

// Columns is a view of channels [from, from+count) of x.
func (g *Graph) Columns(x Tensor, from, count int) Tensor {
	if from < 0 || count <= 0 || from+count > x.Channels() {
		g.Fail("columns %d…%d of a tensor with %d channels", from, from+count, x.Channels())
	}
	return g.add(Node{Op: OpColumns, In: []int{x.id}, Shape: replaced(x.Shape(), count), From: from})
}

// Reshape gives x another shape with the same channels and rows, such as [N,H,W,C] ↔ [N,H·W,C].
func (g *Graph) Reshape(x Tensor, shape ...int) Tensor {
	if Shape(shape).Elements() != x.Shape().Elements() || Shape(shape).Channels() != x.Channels() {
		g.Fail("reshape of %v to %v", x.Shape(), shape)
	}
	return g.add(Node{Op: OpReshape, In: []int{x.id}, Shape: shape})
}

// Conv3x3 is a 3×3 convolution, stride 1, zero padding 1: x [N,H,W,C] → [N,H,W,out]. W [out,C,3,3], b [out].
func (g *Graph) Conv3x3(name string, x Tensor, out int) Tensor {
	return g.conv(name, x, out, Node{Stride: 1})
}

// DownConv3x3 halves the picture: stride 2, zero padding 1 all round: [N,H,W,C] → [N,⌈H/2⌉,⌈W/2⌉,out].
func (g *Graph) DownConv3x3(name string, x Tensor, out int) Tensor {
	return g.conv(name, x, out, Node{Stride: 2})
}

// DownConv3x3PadEnd halves the picture with zero padding at the bottom and right only, as the VAE's encoder does:
// [N,H,W,C] → [N,⌊H/2⌋,⌊W/2⌋,out].
func (g *Graph) DownConv3x3PadEnd(name string, x Tensor, out int) Tensor {
	return g.conv(name, x, out, Node{Stride: 2, PadEnd: true})
}

// UpConv3x3 doubles the picture by nearest neighbour and convolves the result as Conv3x3 does: [N,H,W,C] → [N,2H,2W,out].
func (g *Graph) UpConv3x3(name string, x Tensor, out int) Tensor {
	return g.conv(name, x, out, Node{Stride: 1, Upsample: true})
}

// UpConv3x3To is UpConv3x3 with the doubled picture cut to h × w before the convolution, where a network's halving had
// rounded an odd size up: h is 2H or 2H-1, w is 2W or 2W-1. The zero padding lies round h × w.
func (g *Graph) UpConv3x3To(name string, x Tensor, h, w, out int) Tensor {
	y := g.UpConv3x3(name, x, out)
	if g.err != nil {
		return y
	}
	s := g.nodes[y.id].Shape
	if h != s[1] && h != s[1]-1 || w != s[2] && w != s[2]-1 {
		g.Fail("convolution %s: %v doubled does not cover %d×%d", g.full(name), x.Shape(), h, w)
	}
	g.nodes[y.id].Shape = Shape{s[0], h, w, out}
	return y
}

func (g *Graph) conv(name string, x Tensor, out int, n Node) Tensor {
	s := x.Shape()
	if len(s) != 4 {
		g.Fail("convolution %s of a tensor of shape %v, want [N,H,W,C]", g.full(name), s)
		return Tensor{g.graphState, 0}
	}
	n.Op, n.In, n.Name, n.Bias = OpConv, []int{x.id}, g.full(name), !g.plain
	n.Joined = []string{n.Name}
	h, w := s[1], s[2]
	switch {
	case n.Upsample:
		h, w = 2*h, 2*w
	case n.Stride == 2 && n.PadEnd:
		h, w = h/2, w/2
	case n.Stride == 2:
		h, w = (h+1)/2, (w+1)/2
	}
	n.Shape = Shape{s[0], h, w, out}
	g.checkWeight(n.Name+".weight", out, s[3], 3, 3)
	if n.Bias {
		g.checkWeight(n.Name+".bias", out)
	}
	return g.add(n)
}

// GroupNorm normalises each group of C/groups channels over the whole picture and applies weight and bias per channel:
// [N,H,W,C] → [N,H,W,C]. Wu and He 2018.
func (g *Graph) GroupNorm(name string, x Tensor, groups int, eps float64) Tensor {
	c := x.Channels()
	if groups <= 0 || c%groups != 0 {
		g.Fail("group norm %s: %d channels do not divide into %d groups", g.full(name), c, groups)
	}
	full := g.full(name)
	g.checkWeight(full+".weight", c)
	g.checkWeight(full+".bias", c)
	return g.add(Node{Op: OpGroupNorm, In: []int{x.id}, Shape: x.Shape(), Name: full, Groups: groups, Eps: float32(eps)})
}

// LayerNorm normalises each row over its channels and applies weight and bias per channel. Ba et al. 2016.
func (g *Graph) LayerNorm(name string, x Tensor, eps float64) Tensor {
	full := g.full(name)
	g.checkWeight(full+".weight", x.Channels())
	g.checkWeight(full+".bias", x.Channels())
	return g.add(Node{Op: OpLayerNorm, In: []int{x.id}, Shape: x.Shape(), Name: full, Eps: float32(eps)})
}

// Activate applies f to every element.
func (g *Graph) Activate(x Tensor, f Activation) Tensor {
	return g.add(Node{Op: OpActivation, In: []int{x.id}, Shape: x.Shape(), Activation: f})
}

// SiLU is Activate with x·sigmoid(x).
func (g *Graph) SiLU(x Tensor) Tensor { return g.Activate(x, SiLU) }

// ReLU is Activate with max(x, 0).
func (g *Graph) ReLU(x Tensor) Tensor { return g.Activate(x, ReLU) }

// MeanPool halves a picture by the mean of every two by two places, of those that are there at an odd edge:
// [N,H,W,C] → [N,⌈H/2⌉,⌈W/2⌉,C].
func (g *Graph) MeanPool(x Tensor) Tensor {
	s := x.Shape()
	if len(s) != 4 {
		g.Fail("pool of a tensor of shape %v, want [N,H,W,C]", s)
		return Tensor{g.graphState, 0}
	}
	return g.add(Node{Op: OpPool, In: []int{x.id}, Shape: Shape{s[0], (s[1] + 1) / 2, (s[2] + 1) / 2, s[3]}})
}

// GEGLU gates the first half of the channels by GELU of the second: x [...,2C] → x[:C]·GELU(x[C:]). Shazeer 2020.
func (g *Graph) GEGLU(x Tensor) Tensor {
	if x.Channels()%2 != 0 {
		g.Fail("geglu of an odd number of channels, %d", x.Channels())
	}
	return g.add(Node{Op: OpGEGLU, In: []int{x.id}, Shape: replaced(x.Shape(), x.Channels()/2)})
}

// Add is a + b, same shapes.
func (g *Graph) Add(a, b Tensor) Tensor {
	if g.err == nil && a.Shape().Elements() != b.Shape().Elements() {
		g.Fail("add of shapes %v and %v", a.Shape(), b.Shape())
	}
	return g.add(Node{Op: OpAdd, In: []int{a.id, b.id}, Shape: a.Shape()})
}

// AddPerChannel adds v [N,C] to every place of x [N,H,W,C] (or [N,T,C]).
func (g *Graph) AddPerChannel(x, v Tensor) Tensor {
	if g.err == nil && (len(v.Shape()) != 2 || v.Shape()[0] != x.Shape()[0] || v.Channels() != x.Channels()) {
		g.Fail("add per channel of shapes %v and %v", x.Shape(), v.Shape())
	}
	return g.add(Node{Op: OpAddPerChannel, In: []int{x.id, v.id}, Shape: x.Shape()})
}

// Concat puts the channels of b after those of a: [...,A], [...,B] → [...,A+B].
func (g *Graph) Concat(a, b Tensor) Tensor {
	if g.err == nil && a.Shape().Rows() != b.Shape().Rows() {
		g.Fail("concat of shapes %v and %v", a.Shape(), b.Shape())
	}
	return g.add(Node{Op: OpConcat, In: []int{a.id, b.id}, Shape: replaced(a.Shape(), a.Channels()+b.Channels())})
}

// Attention is softmax(q·kᵀ/√d)·v per head with d = C/heads: q [N,T,C], k and v [N,S,C] → [N,T,C]. With causal, query i
// sees keys 0…i only. Vaswani et al. 2017.
func (g *Graph) Attention(q, k, v Tensor, heads int, causal bool) Tensor {
	qs, ks, vs := q.Shape(), k.Shape(), v.Shape()
	if g.err == nil {
		ok := len(qs) == 3 && len(ks) == 3 && len(vs) == 3 && qs[0] == ks[0] && ks[0] == vs[0] && ks[1] == vs[1]
		if !ok || qs[2] != ks[2] || ks[2] != vs[2] || heads <= 0 || qs[2]%heads != 0 {
			g.Fail("attention of shapes %v, %v, %v with %d heads", qs, ks, vs, heads)
		}
	}
	return g.add(Node{Op: OpAttention, In: []int{q.id, k.id, v.id}, Shape: qs, Heads: heads, Causal: causal})
}

// Embedding looks up a row of tokens (weight [vocabulary, width]) for each id and adds the row of positions (weight
// [places, width]) of its place: ids [N,T,1] → [N,T,width].
func (g *Graph) Embedding(tokens, positions string, ids Tensor, width int) Tensor {
	tokens, positions = g.full(tokens), g.full(positions)
	s := ids.Shape()
	if g.err == nil {
		table, ok := g.source.Tensor(tokens + ".weight")
		if !ok || len(table.Shape) != 2 || table.Shape[1] != width {
			g.Fail("tensor %s.weight is missing or not [vocabulary,%d]", tokens, width)
		}
		places, ok := g.source.Tensor(positions + ".weight")
		if !ok || len(places.Shape) != 2 || places.Shape[1] != width || len(s) != 3 || places.Shape[0] < s[1] {
			g.Fail("tensor %s.weight is missing or not [%v+ places,%d]", positions, s, width)
		}
	}
	return g.add(Node{Op: OpEmbedding, In: []int{ids.id}, Shape: replaced(s, width), Name: tokens, Joined: []string{tokens, positions}})
}
