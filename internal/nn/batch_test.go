package nn

import (
	"fmt"
	"slices"
	"testing"
)

// batched is a residual block with a timestep and a transformer with a context, for n pictures: every operation of a UNet.
// With 9 pictures the products choose other tiles than with one.
func batched(m memory, n int) *Graph {
	const width, columns, h, w = 40, 1024, 8, 16
	g := NewGraph(m)
	x := g.Input("x", PerStep, n, h, w, width)
	temb := g.Linear("time", g.Input("t", PerStep, n, 12), columns)
	y := g.Conv3x3("in", g.SiLU(g.GroupNorm("norm", x, 4, 1e-5)), columns)
	y = g.AddPerChannel(y, temb)
	y = g.Conv3x3("out", g.SiLU(g.GroupNorm("norm2", y, 8, 1e-5)), width)
	y = g.UpConv3x3("up", g.DownConv3x3("down", g.Concat(g.Add(x, y), x), width), width)
	y = g.Reshape(y, n, h*w, width)
	qkv := g.JoinedLinear(g.LayerNorm("ln", y, 1e-5), width, false, "q", "k", "v")
	y = g.Add(y, g.Linear("o", g.Attention(g.Columns(qkv, 0, width), g.Columns(qkv, width, width), g.Columns(qkv, 2*width, width), 2, false), width))
	kv := g.JoinedLinear(g.Input("context", PerJob, n, 13, 20), width, false, "k2", "v2")
	y = g.Add(y, g.Attention(y, g.Columns(kv, 0, width), g.Columns(kv, width, width), 2, false))
	g.Output("y", g.Linear("ff2", g.GEGLU(g.Linear("ff1", y, 2*columns)), 5))
	return g
}

func batchedWeights() memory {
	m := memory{}
	m.linear("time", 12, 1024)
	m.conv("in", 40, 1024)
	m.conv("out", 1024, 40)
	m.conv("down", 80, 40)
	m.conv("up", 40, 40)
	for _, name := range []string{"q", "k", "v"} {
		m.half(name+".weight", 40, 40)
	}
	m.half("k2.weight", 40, 20)
	m.half("v2.weight", 40, 20)
	m.linear("o", 40, 40)
	m.linear("ff1", 40, 2*1024)
	m.linear("ff2", 1024, 5)
	m.norm("norm", 40)
	m.norm("norm2", 1024)
	m.norm("ln", 40)
	return m
}

// TestBatchesAreBitEqual: what a network makes of one picture does not depend on how many it is given at once, whatever
// kernels and bands their number chooses.
func TestBatchesAreBitEqual(t *testing.T) {
	const most = 9
	d := openDevice(t)
	m := batchedWeights()
	inputs := inputsOf(batched(m, most))
	for _, family := range Families {
		for name, o := range map[string]Options{
			"":             {},
			" image bands": {ImageLimit: 2 << 20},                        // a picture takes 0.5 MiB
			" bands":       {ImageLimit: 2 << 20, BindingLimit: 2 << 20}, // of buffers too
			" small bands": {ImageLimit: 1 << 18, BindingLimit: 1 << 18}, // of one picture too
		} {
			if family != Subgroup && (testing.Short() || o.ImageLimit != o.BindingLimit) {
				continue // slow on software adapters, and without images
			}
			t.Run(string(family)+name, func(t *testing.T) {
				o.Family = family
				r, err := NewRuntime(d, o)
				if err != nil {
					t.Skip(err)
				}
				t.Cleanup(r.Close)
				var want []float32
				for i := range most {
					want = append(want, ranBatch(t, r, m, inputs, i, 1, most)...)
				}
				for _, n := range []int{2, 5, most} {
					got := ranBatch(t, r, m, inputs, 0, n, most)
					if !slices.Equal(got, want[:len(got)]) {
						t.Errorf("%d pictures at once: %s", n, firstDifference(got, want))
					}
				}
			})
		}
	}
}

// ranBatch runs the network for pictures first…first+n-1 of inputs for most.
func ranBatch(t *testing.T, r *Runtime, m memory, inputs map[string][]float32, first, n, most int) []float32 {
	t.Helper()
	e := compileOn(t, r, batched(m, n), m)
	spoil(t, e)
	for name, values := range inputs {
		each := len(values) / most
		if err := e.SetInput(name, values[first*each:][:n*each]); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Run(); err != nil {
		t.Fatal(err)
	}
	y, err := e.Output("y")
	if err != nil {
		t.Fatal(err)
	}
	return y
}

func firstDifference(got, want []float32) string {
	for i, v := range got {
		if v != want[i] {
			return fmt.Sprintf("element %d of %d is %v, want %v", i, len(got), v, want[i])
		}
	}
	return "no difference"
}
