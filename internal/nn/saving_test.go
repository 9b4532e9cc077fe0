package nn

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"waggle/gpu"
)

// decoder is what an autoencoder makes pictures with: residual blocks, one with a shortcut, attention, doubling, an end.
func decoder(m memory) *Graph {
	g := NewGraph(m)
	block := func(name string, x Tensor, out int) Tensor {
		g := g.Scope(name)
		h := g.Conv3x3("conv1", g.SiLU(g.GroupNorm("norm1", x, 4, 1e-6)), out)
		h = g.Conv3x3("conv2", g.SiLU(g.GroupNorm("norm2", h, 4, 1e-6)), out)
		if x.Channels() != out {
			x = g.Linear("short", x, out)
		}
		return g.Add(x, h)
	}
	x := block("low", g.Conv3x3("in", g.Input("x", PerStep, 2, 20, 24, 4), 32), 32)
	flat := g.Reshape(g.GroupNorm("norm", x, 4, 1e-6), 2, 20*24, 32)
	a := g.Attention(flat, flat, flat, 1, false)
	x = g.Add(x, g.Reshape(g.Linear("proj", a, 32), 2, 20, 24, 32))
	x = block("high", block("middle", g.UpConv3x3("up", x, 32), 16), 16)
	g.Output("y", g.Conv3x3("out", g.SiLU(g.GroupNorm("end", x, 4, 1e-6)), 3))
	return g
}

func decoderWeights() memory {
	m := memory{}
	for name, width := range map[string][2]int{"low": {32, 32}, "middle": {32, 16}, "high": {16, 16}} {
		m.norm(name+".norm1", width[0])
		m.norm(name+".norm2", width[1])
		m.conv(name+".conv1", width[0], width[1])
		m.conv(name+".conv2", width[1], width[1])
	}
	m.linear("middle.short", 32, 16)
	m.linear("proj", 32, 32)
	m.conv("in", 4, 32)
	m.conv("up", 32, 32)
	m.conv("out", 16, 3)
	m.norm("norm", 32)
	m.norm("end", 16)
	return m
}

// TestSaving: whatever is saved, results are the same to the last bit, again and again, and what is planned is what is taken.
func TestSaving(t *testing.T) {
	d := openDevice(t)
	for _, test := range []struct {
		name    string
		graph   func() *Graph
		weights memory
		bands   []int
	}{
		{"decoder", func() *Graph { return decoder(decoderWeights()) }, decoderWeights(), []int{0, 200 << 10, 64 << 10}},
		{"unet", func() *Graph { return batched(batchedWeights(), 2) }, batchedWeights(), []int{0, 64 << 10}},
	} {
		for _, family := range Families {
			if family != Subgroup && (testing.Short() || test.name == "unet") {
				continue // slow on software adapters
			}
			r, err := NewRuntime(d, Options{Family: family})
			if err != nil {
				t.Log(err)
				continue
			}
			t.Cleanup(r.Close)
			want := savedRun(t, r, test.graph(), test.weights, Saving{})
			least := planOf(t, r, test.graph(), test.weights, Saving{}).LeastWeights
			bands := test.bands
			if family != Subgroup {
				bands = bands[len(bands)-1:]
			}
			for _, band := range bands {
				for _, saving := range []Saving{{Band: band}, {Band: band, Weights: least + int64(band)}} {
					t.Run(fmt.Sprintf("%s/%s/%+v", test.name, family, saving), func(t *testing.T) {
						if got := savedRun(t, r, test.graph(), test.weights, saving); !slices.Equal(got, want) {
							t.Error(firstDifference(got, want))
						}
					})
				}
			}
			if plan := planOf(t, r, test.graph(), test.weights, Saving{Band: bands[len(bands)-1]}); test.name == "decoder" && plan.Host == 0 {
				t.Errorf("%s: no value lies in the host's memory", family)
			}
			tight := planOf(t, r, test.graph(), test.weights, Saving{Weights: least, Band: test.bands[len(test.bands)-1]})
			if free := planOf(t, r, test.graph(), test.weights, Saving{}); tight.Total() >= free.Total() || tight.Streamed == 0 {
				t.Errorf("%s: all measures leave %d of %d bytes, %d of them streamed", family, tight.Total(), free.Total(), tight.Streamed)
			}
			if _, err := r.Plan(test.graph().Save(Saving{Weights: least - 1}), r.NewWeights(test.weights)); !errors.Is(err, gpu.ErrOutOfMemory) {
				t.Errorf("less than the least: error %v", err)
			}
		}
	}
}

// TestSavingChanged: changed weights that are streamed are those that stay.
func TestSavingChanged(t *testing.T) {
	r := openRuntime(t, openDevice(t), "")
	base := r.NewWeights(changedMemory())
	t.Cleanup(base.Close)
	for _, dense := range []bool{false, true} {
		c := rankTwo{changedMemory(), []string{"conv.weight", "q.weight", "v.weight", "gate.weight", "gate.bias", "norm.weight"}, dense}
		run := func(saving Saving, w *Weights) []float32 {
			e, err := r.Compile(changedNetwork(c).Save(saving), w)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			for name, v := range inputsOf(changedNetwork(c)) {
				if err := e.SetInput(name, v); err != nil {
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
		kept := base.With(c, false)
		want := run(Saving{}, kept)
		kept.Close()
		streamed := base.With(c, false)
		plan, err := r.Plan(changedNetwork(c), streamed)
		if err != nil {
			t.Fatal(err)
		}
		if got := run(Saving{Weights: plan.LeastWeights}, streamed); !slices.Equal(got, want) {
			t.Errorf("dense %v: %s", dense, firstDifference(got, want))
		}
		streamed.Close()
		absent := r.NewWeights(changedMemory())
		streamed = absent.With(c, true)
		if got := run(Saving{Weights: plan.LeastWeights}, streamed); !slices.Equal(got, want) {
			t.Errorf("dense %v, without the base: %s", dense, firstDifference(got, want))
		}
		streamed.Close()
		absent.Close()
	}
}

func planOf(t *testing.T, r *Runtime, g *Graph, m memory, saving Saving) MemoryPlan {
	t.Helper()
	p, err := r.Plan(g.Save(saving), r.NewWeights(m))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// savedRun runs a graph twice and returns its result.
func savedRun(t *testing.T, r *Runtime, g *Graph, m memory, saving Saving) []float32 {
	t.Helper()
	plan := planOf(t, r, g, m, saving)
	w, before := r.NewWeights(m), r.Device().Used()
	defer w.Close()
	e, err := r.Compile(g.Save(saving), w)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	spoil(t, e)
	for name, v := range inputsOf(g) {
		if err := e.SetInput(name, v); err != nil {
			t.Fatal(err)
		}
	}
	var results [2][]float32
	for i := range results {
		if err := e.Run(); err != nil {
			t.Fatal(err)
		}
		if results[i], err = e.Output("y"); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(results[0], results[1]) {
		t.Errorf("the second run: %s", firstDifference(results[1], results[0]))
	}
	if took := r.Device().Used() - before; took != plan.Total() {
		t.Errorf("%d bytes were taken, planned %d", took, plan.Total())
	}
	if saving.Weights > 0 && w.Bytes() != plan.Weights {
		t.Errorf("weights take %d bytes, planned %d", w.Bytes(), plan.Weights)
	}
	return results[0]
}
