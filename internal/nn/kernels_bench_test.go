//go:build unix

package nn

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// benchCase is a graph of one operation at a shape of SD 1.5 at 512×512 and the work of one run.
type benchCase struct {
	kernelCase
	flops float64 // GFLOP/s are reported where this is given,
	bytes float64 // else GB/s of what must be read and written
}

func benchCases() (cases []benchCase) {
	for _, s := range [][3]int{{4096, 320, 320}, {1024, 640, 5120}, {256, 1280, 1280}, {154, 768, 768}} {
		cases = append(cases, benchCase{kernelCase{OpLinear, fmt.Sprint(s[0], "x", s[1], "x", s[2]), func(m memory, g *Graph) Tensor {
			m.linear("l", s[1], s[2])
			return g.Linear("l", g.Input("x", PerStep, s[0], s[1]), s[2])
		}}, 2 * float64(s[0]*s[1]*s[2]), 0})
	}
	for _, s := range [][3]int{{64, 320, 320}, {32, 640, 640}, {16, 1280, 1280}, {8, 1280, 1280}} {
		cases = append(cases, benchCase{kernelCase{OpConv, fmt.Sprint(s[0], "x", s[0], "x", s[1], "x", s[2]), func(m memory, g *Graph) Tensor {
			m.conv("c", s[1], s[2])
			return g.Conv3x3("c", g.Input("x", PerStep, 1, s[0], s[0], s[1]), s[2])
		}}, 18 * float64(s[0]*s[0]*s[1]*s[2]), 0})
	}
	for _, s := range [][4]int{{4096, 4096, 8, 40}, {4096, 77, 8, 40}, {1024, 1024, 8, 80}, {256, 256, 8, 160}, {4096, 4096, 1, 512}} {
		name := fmt.Sprint(s[0], " queries, ", s[1], " keys, ", s[2], " heads of ", s[3])
		cases = append(cases, benchCase{kernelCase{OpAttention, name, func(_ memory, g *Graph) Tensor {
			c := s[2] * s[3]
			kv := g.Input("kv", PerStep, 1, s[1], 2*c)
			return g.Attention(g.Input("q", PerStep, 1, s[0], c), g.Columns(kv, 0, c), g.Columns(kv, c, c), s[2], false)
		}}, 4 * float64(s[0]*s[1]*s[2]*s[3]), 0})
	}
	const pixels, c = 4096, 320
	return append(cases, benchCase{kernelCase{OpGroupNorm, "64x64x320, silu", func(m memory, g *Graph) Tensor {
		m.norm("n", c)
		return g.SiLU(g.GroupNorm("n", g.Input("x", PerStep, 1, 64, 64, c), 32, 1e-5))
	}}, 0, 3 * 4 * pixels * c}, benchCase{kernelCase{OpLayerNorm, "4096x320", func(m memory, g *Graph) Tensor {
		m.norm("n", c)
		return g.LayerNorm("n", g.Input("x", PerStep, 1, pixels, c), 1e-5)
	}}, 0, 2 * 4 * pixels * c}, benchCase{kernelCase{OpGEGLU, "4096x1280", func(_ memory, g *Graph) Tensor {
		return g.GEGLU(g.Input("x", PerStep, 1, pixels, 8*c))
	}}, 0, 3 * 4 * pixels * 4 * c}, benchCase{kernelCase{OpAdd, "4096x320", func(_ memory, g *Graph) Tensor {
		return g.Add(g.Input("x", PerStep, 1, pixels, c), g.Input("z", PerStep, 1, pixels, c))
	}}, 0, 3 * 4 * pixels * c})
}

// BenchmarkKernels queues all runs and waits once. Rates are per second of the process's processor time, which on a
// software adapter is what one core does; ns/op is wall time. Choose a family with -bench Kernels/tiled.
func BenchmarkKernels(b *testing.B) {
	d := openDevice(b)
	for _, family := range Families {
		b.Run(string(family), func(b *testing.B) {
			r := openRuntime(b, d, family)
			for _, k := range benchCases() {
				b.Run(fmt.Sprint(k.op, " ", k.name), func(b *testing.B) { k.run(b, r) })
			}
		})
	}
}

func (k benchCase) run(b *testing.B, r *Runtime) {
	m := memory{}
	g := NewGraph(m)
	g.Output("y", k.build(m, g))
	inputs := inputsOf(g)
	e := compileOn(b, r, g, m)
	for name, values := range inputs {
		if err := e.SetInput(name, values); err != nil {
			b.Fatal(err)
		}
	}
	if b.N == 1 { // the first, shortest round checks the result
		k.verify(b, g, e, inputs)
	}
	if err := e.Run(); err != nil {
		b.Fatal(err)
	}
	if err := r.device.Wait(); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	start := processTime(b)
	for range b.N {
		if err := e.Run(); err != nil {
			b.Fatal(err)
		}
	}
	if err := r.device.Wait(); err != nil {
		b.Fatal(err)
	}
	seconds := (processTime(b) - start).Seconds() / float64(b.N)
	if k.flops > 0 {
		b.ReportMetric(k.flops/seconds/1e9, "GFLOP/cpu-s")
	} else {
		b.ReportMetric(k.bytes/seconds/1e9, "GB/cpu-s")
	}
}

func (k benchCase) verify(b *testing.B, g *Graph, e *Executable, inputs map[string][]float32) {
	want, err := g.Evaluate(inputs)
	if err != nil {
		b.Fatal(err)
	}
	if err := e.Run(); err != nil {
		b.Fatal(err)
	}
	got, err := e.Output("y")
	if err != nil {
		b.Fatal(err)
	}
	near(b, got, want["y"], tolerances[k.op])
}

// processTime is the processor time of all threads of this process so far.
func processTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
