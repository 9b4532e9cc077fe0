//go:build !js

package gpu

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

// open gives a device, or fails the test with what to install. NO_GPU=1 skips on purpose.
func open(t testing.TB) *Device {
	if os.Getenv("NO_GPU") == "1" {
		t.Skip("NO_GPU=1: tests that need an adapter are skipped")
	}
	d, err := Open(os.Getenv("WAGGLE_GPU"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func floats(data []byte) []float32 {
	out := make([]float32, len(data)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return out
}

func bytesOf(values []float32) []byte {
	var out []byte
	for _, v := range values {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	}
	return out
}

const addSource = `
@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var b: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> p: vec4<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x < p.x) { y[id.x] = a[id.x] + textureLoad(b, vec2<u32>(id.x % 2048u, id.x / 2048u)); }
}`

func TestProgramWithBufferAndImage(t *testing.T) {
	d := open(t)
	const n = 5000 // texels: two lines of an image and a part of a third
	values := make([]float32, 4*n)
	for i := range values {
		values[i] = float32(i)
	}
	a, _ := d.NewBuffer("a", 16*n)
	y, _ := d.NewBuffer("y", 16*n)
	im, err := d.NewImage("b", Float4, n)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Write(a, 0, bytesOf(values)); err != nil {
		t.Fatal(err)
	}
	k, err := d.NewKernel("add", addSource)
	if err != nil {
		t.Fatal(err)
	}
	p := d.NewProgram("test")
	p.CopyToImage(im, a, 0, n)
	p.Dispatch(k, []uint32{n}, [3]int{(n + 63) / 64, 1, 1}, Read(a), Read(im), Write(y))
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	got, err := d.Read(y, 0, 16*n)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range floats(got) {
		if v != 2*values[i] {
			t.Fatalf("element %d is %v, want %v", i, v, 2*values[i])
		}
	}
	before := d.Used()
	p.Close()
	a.Close()
	a.Close()
	if d.Used() >= before {
		t.Errorf("closing freed nothing: %d bytes before, %d after", before, d.Used())
	}
}

func TestCopy(t *testing.T) {
	d := open(t)
	src, _ := d.NewBuffer("src", 32)
	dst, _ := d.NewBuffer("dst", 16)
	d.Write(src, 0, bytesOf([]float32{0, 1, 2, 3, 4, 5, 6, 7}))
	d.Write(dst, 0, bytesOf([]float32{8, 8, 8, 8}))
	p := d.NewProgram("test")
	p.Copy(dst, 4, src, 20, 8)
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	got, err := d.Read(dst, 0, 16)
	if want := []float32{8, 5, 6, 8}; err != nil || !slices.Equal(floats(got), want) {
		t.Errorf("got %v, %v, want %v", floats(got), err, want)
	}
}

// Each of these would end the process if it reached wgpu.
func TestMistakesAreErrors(t *testing.T) {
	d := open(t)
	k, err := d.NewKernel("add", addSource)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := d.NewBuffer("b", 1024)
	c, _ := d.NewBuffer("c", 1024)
	im, _ := d.NewImage("im", Float4, 64)
	one := [3]int{1, 1, 1}
	for name, record := range map[string]func(p *Program){
		"too many workgroups":    func(p *Program) { p.Dispatch(k, []uint32{1}, [3]int{70000, 1, 1}, Read(b), Read(im), Write(c)) },
		"no workgroups":          func(p *Program) { p.Dispatch(k, []uint32{1}, [3]int{0, 1, 1}, Read(b), Read(im), Write(c)) },
		"missing binding":        func(p *Program) { p.Dispatch(k, []uint32{1}, one, Read(b), Write(c)) },
		"missing parameters":     func(p *Program) { p.Dispatch(k, nil, one, Read(b), Read(im), Write(c)) },
		"buffer for image":       func(p *Program) { p.Dispatch(k, []uint32{1}, one, Read(b), Read(b), Write(c)) },
		"read for write":         func(p *Program) { p.Dispatch(k, []uint32{1}, one, Read(b), Read(im), Read(c)) },
		"same memory":            func(p *Program) { p.Dispatch(k, []uint32{1}, one, Read(b), Read(im), Write(b)) },
		"range past the end":     func(p *Program) { p.Dispatch(k, []uint32{1}, one, Read(Range{b, 512, 1024}), Read(im), Write(c)) },
		"crooked offset":         func(p *Program) { p.Dispatch(k, []uint32{1}, one, Read(Range{b, 4, 16}), Read(im), Write(c)) },
		"copy past the end":      func(p *Program) { p.Copy(c, 1020, b, 0, 8) },
		"copy onto itself":       func(p *Program) { p.Copy(b, 0, b, 512, 8) },
		"image copy too long":    func(p *Program) { p.CopyToImage(im, b, 0, 65) },
		"copy from past the end": func(p *Program) { p.Copy(c, 0, b, 1020, 8) },
	} {
		p := d.NewProgram("test")
		record(p)
		if err := p.Run(); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
	p := d.NewProgram("closed")
	p.Dispatch(k, []uint32{1}, one, Read(b), Read(im), Write(c))
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := p.Run(); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("a closed buffer: got %v", err)
	}
	if _, err := d.Read(b, 1020, 8); err == nil {
		t.Error("read past the end: want an error")
	}
	if err := d.Write(b, 2, []byte{1, 2, 3, 4}); err == nil {
		t.Error("write at a crooked offset: want an error")
	}
}

func TestBadShaderNamesItsLine(t *testing.T) {
	d := open(t)
	_, err := d.NewKernel("bad", "@compute @workgroup_size(1)\nfn main() { let x = nothing; }")
	if err == nil || !strings.Contains(err.Error(), "2:") {
		t.Errorf("got %v, want an error that names line 2", err)
	}
}

func TestOutOfMemory(t *testing.T) {
	d := open(t)
	if _, err := d.NewBuffer("huge", 1<<50); !errors.Is(err, ErrOutOfMemory) {
		t.Errorf("buffer: got %v, want ErrOutOfMemory", err)
	}
	if _, err := d.NewImage("huge", Float4, 1<<40); !errors.Is(err, ErrOutOfMemory) {
		t.Errorf("image: got %v, want ErrOutOfMemory", err)
	}
}

func TestChoose(t *testing.T) {
	list := []Adapter{{Index: 0, Name: "llvmpipe", Kind: Software}, {Index: 1, Name: "Big GPU", Kind: Discrete}}
	for selector, want := range map[string]int{"": 1, "0": 0, "LLVM": 0, "big": 1} {
		if got, err := choose(list, selector); err != nil || got != want {
			t.Errorf("choose(%q) = %d, %v, want %d", selector, got, err, want)
		}
	}
	if _, err := choose(list, "voodoo"); err == nil || !strings.Contains(err.Error(), "llvmpipe") {
		t.Errorf("unknown adapter: got %v, want an error that lists the adapters", err)
	}
	if _, err := choose(nil, ""); !errors.Is(err, ErrNoAdapter) {
		t.Errorf("no adapters: got %v", err)
	}
}

func TestSubgroupSizeIsMeasured(t *testing.T) {
	d := open(t)
	if d.Adapter().Features.Subgroups && d.SubgroupSize() < 4 {
		t.Errorf("subgroup size %d", d.SubgroupSize())
	}
	t.Logf("%s: subgroups of %d, used %d bytes", d.Adapter().Name, d.SubgroupSize(), d.Used())
}
