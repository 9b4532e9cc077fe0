// Package nn turns networks into GPU programs.
//
// Model code builds a [Graph] in the terms of the paper (Linear, Conv3x3, GroupNorm, Attention …). Shapes are checked as
// the graph is built; the first error sticks and is returned by [Graph.Err] and by every later stage, so model code stays
// free of error handling. [Graph.Evaluate] runs a graph in plain Go (the reference); [Runtime.Compile] turns it into
// recorded GPU programs over planned memory.
//
// Layout is channels-last everywhere: pictures [N,H,W,C], tokens [N,T,C], vectors [N,C]. Values are float32.
package nn

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"waggle/internal/weights"
)

// Shape holds a tensor's extents, channels last.
type Shape []int

// Channels is the last extent.
func (s Shape) Channels() int { return s[len(s)-1] }

// Rows is the product of all extents but the last: N·H·W for pictures, N·T for tokens.
func (s Shape) Rows() int {
	rows := 1
	for _, n := range s[:len(s)-1] {
		rows *= n
	}
	return rows
}

// Elements is the product of all extents.
func (s Shape) Elements() int { return s.Rows() * s.Channels() }

func (s Shape) String() string { return strings.ReplaceAll(fmt.Sprint([]int(s)), " ", ",") }

// Rate says how often a value changes. What does not depend on the step is computed once per job, whatever order the model
// code has it in.
type Rate uint8

const (
	PerJob  Rate = iota // text states, cross-attention keys and values
	PerStep             // depends on the latent or the timestep
)

// Op names what a node computes.
type Op uint8

const (
	OpInput Op = iota
	OpLinear
	OpConv
	OpGroupNorm
	OpLayerNorm
	OpActivation
	OpGEGLU
	OpAdd
	OpAddPerChannel
	OpConcat
	OpColumns
	OpReshape
	OpAttention
	OpEmbedding
	OpPool
)

var opNames = [...]string{"input", "linear", "conv", "group norm", "layer norm", "activation", "geglu", "add",
	"add per channel", "concat", "columns", "reshape", "attention", "embedding", "pool"}

func (o Op) String() string { return opNames[o] }

// Activation is an elementwise function.
type Activation uint8

const (
	Identity  Activation = iota
	SiLU                 // x·sigmoid(x)
	GELU                 // x·Φ(x), the exact form with erf
	QuickGELU            // x·sigmoid(1.702x), as in OpenAI's CLIP
	ReLU                 // max(x, 0)
)

// Node is one operation of a graph. Fields beyond Op, In and Shape are set where the operation needs them.
type Node struct {
	Op     Op
	In     []int // nodes this one reads
	Shape  Shape
	Rate   Rate
	Name   string   // input name, or the full prefix of the weights: Name+".weight", Name+".bias"
	Joined []string // OpLinear, OpConv: the full weight prefixes, outputs side by side; OpEmbedding: tokens, positions
	Bias   bool     // OpLinear, OpConv: has Name+".bias"

	Stride     int        // OpConv: 1 or 2
	Upsample   bool       // OpConv: the input is doubled by nearest neighbour before the convolution
	PadEnd     bool       // OpConv with stride 2: zero padding at the bottom and right only (VAE encoder), else all round
	Groups     int        // OpGroupNorm
	Eps        float32    // OpGroupNorm, OpLayerNorm
	Activation Activation // OpActivation; after fusion also of norms, linears and convolutions
	From       int        // OpColumns: first channel
	Heads      int        // OpAttention
	Causal     bool       // OpAttention: a query sees keys up to its own place only
}

type graphState struct {
	source  weights.Source
	nodes   []Node
	outputs map[string]int
	inputs  map[string]int
	saving  Saving
	err     error
}

// Graph is a network under construction, seen through a prefix of weight names.
type Graph struct {
	*graphState
	prefix string
	plain  bool // see WithoutBias
}

// Tensor is a value in a graph.
type Tensor struct {
	state *graphState
	id    int
}

// NewGraph starts an empty graph whose weights come from source.
func NewGraph(source weights.Source) *Graph {
	return &Graph{graphState: &graphState{source: source, outputs: map[string]int{}, inputs: map[string]int{}}}
}

// Scope is the same graph with name added to the prefix of weight names: Scope("a").Linear("b", …) reads "a.b.weight".
func (g *Graph) Scope(name string) *Graph {
	return &Graph{graphState: g.graphState, prefix: g.full(name), plain: g.plain}
}

// WithoutBias is the same graph; convolutions made through it have no bias.
func (g *Graph) WithoutBias() *Graph {
	return &Graph{graphState: g.graphState, prefix: g.prefix, plain: true}
}

func (g *Graph) full(name string) string {
	if g.prefix == "" || name == "" {
		return g.prefix + name
	}
	return g.prefix + "." + name
}

// Err is the first error met while building.
func (g *Graph) Err() error { return g.err }

// Shape of the tensor; nil once the graph has failed.
func (t Tensor) Shape() Shape {
	if t.state.err != nil {
		return Shape{1, 1}
	}
	return t.state.nodes[t.id].Shape
}

// Channels is the last extent of the tensor's shape.
func (t Tensor) Channels() int { return t.Shape().Channels() }

// Has reports whether the weights hold name+".weight" (or name itself) under the graph's prefix.
func (g *Graph) Has(name string) bool {
	full := g.full(name)
	if _, ok := g.source.Tensor(full + ".weight"); ok {
		return true
	}
	_, ok := g.source.Tensor(full)
	return ok
}

// Fail records an error of the model code itself (a checkpoint that contradicts its configuration).
func (g *Graph) Fail(format string, args ...any) {
	if g.err == nil {
		g.err = fmt.Errorf(format, args...)
	}
}

// add appends a node whose rate is the highest of its inputs' rates.
func (g *Graph) add(n Node) Tensor {
	if g.err != nil {
		return Tensor{g.graphState, 0}
	}
	for _, in := range n.In {
		n.Rate = max(n.Rate, g.nodes[in].Rate)
	}
	for _, extent := range n.Shape {
		if extent <= 0 {
			g.Fail("%s %s: empty shape %v", n.Op, n.Name, n.Shape)
		}
	}
	g.nodes = append(g.nodes, n)
	return Tensor{g.graphState, len(g.nodes) - 1}
}

// Input declares a value given from outside. Token ids are given as float32 numbers.
func (g *Graph) Input(name string, rate Rate, shape ...int) Tensor {
	t := g.add(Node{Op: OpInput, Name: name, Rate: rate, Shape: shape})
	g.inputs[name] = t.id
	return t
}

// Output names a value to be read back. Any number of values may be outputs.
func (g *Graph) Output(name string, t Tensor) {
	if g.err == nil {
		g.outputs[name] = t.id
	}
}

// Outputs are the names of the values to be read back.
func (g *Graph) Outputs() []string { return slices.Sorted(maps.Keys(g.outputs)) }

// Declarer is a source that is told the shapes its tensors must have, to make them up: for measurements without a
// checkpoint.
type Declarer interface {
	Declare(name string, shape ...int)
}

// checkWeight fails unless the weights hold name with the shape want (trailing extents of 1 are ignored).
func (g *Graph) checkWeight(name string, want ...int) {
	if g.err != nil {
		return
	}
	if d, ok := g.source.(Declarer); ok {
		d.Declare(name, want...)
	}
	t, ok := g.source.Tensor(name)
	if !ok {
		g.Fail("tensor %s is missing (want shape %v)", name, want)
		return
	}
	if !slices.Equal(trimOnes(t.Shape), trimOnes(want)) {
		g.Fail("tensor %s has shape %v, want %v", name, t.Shape, want)
	}
}

// trimOnes drops trailing extents of 1, so that a 1×1 convolution's weight reads as a matrix.
func trimOnes(shape []int) []int {
	for len(shape) > 1 && shape[len(shape)-1] == 1 {
		shape = shape[:len(shape)-1]
	}
	return shape
}

// replaced is shape with another channel count.
func replaced(shape Shape, channels int) Shape {
	s := slices.Clone(shape)
	s[len(s)-1] = channels
	return s
}
