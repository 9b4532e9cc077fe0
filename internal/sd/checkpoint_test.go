package sd

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"waggle/internal/noise"
	"waggle/internal/sampler"
)

// smallCheckpoint has every field, and numbers that are easily lost.
func smallCheckpoint() *Checkpoint {
	spare := 0.1
	return &Checkpoint{
		Terms: []Term{{"model", "tiny"}, {"prompt", "#00ff"}}, Step: 2, Total: 4,
		Latent:  Latent{Channels: 1, Height: 2, Width: 1, Data: []float32{float32(math.Copysign(0, -1)), math.MaxFloat32}},
		History: [][]float32{{1e-45, 3}, {float32(math.Inf(1)), -5}},
		Noise: noise.PictureState{Initial: noise.State{Kind: noise.TorchCPU, Seed: math.MaxUint64,
			Position: noise.Position{Count: 12, Spare: &spare}}, Steps: &noise.State{Kind: noise.Philox, Seed: 1}},
	}
}

func TestCheckpointBytes(t *testing.T) {
	want := smallCheckpoint()
	got := copied(t, want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !math.Signbit(float64(got.Latent.Data[0])) {
		t.Error("−0 became 0")
	}
}

func TestCheckpointRefusesToWrite(t *testing.T) {
	for want, change := range map[string]func(c *Checkpoint){
		"latent of 2 values, want 4": func(c *Checkpoint) { c.Latent.Width = 2 },
		"latent of 1 values":         func(c *Checkpoint) { c.History[1] = c.History[1][:1] },
		"step is 9":                  func(c *Checkpoint) { c.Step = 9 },
		"history is 2":               func(c *Checkpoint) { c.Step = 0 },
		"header of":                  func(c *Checkpoint) { c.Terms[0].Value = strings.Repeat("x", maxHeaderBytes) },
	} {
		c := smallCheckpoint()
		change(c)
		if _, err := c.MarshalBinary(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", want, err)
		}
	}
}

// TestCheckpointDamage: whatever byte is changed or lost, the checkpoint is refused and nothing of it is used.
func TestCheckpointDamage(t *testing.T) {
	good, err := smallCheckpoint().MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	refused := func(data []byte, what string, at int) {
		var c Checkpoint
		err := c.UnmarshalBinary(data)
		if version := strings.Contains(what, "byte") && at == len(checkpointMagic); err == nil || errors.Is(err, ErrDamaged) == version {
			t.Errorf("%s %d: error %v", what, at, err)
		}
		if diff := cmp.Diff(Checkpoint{}, c); diff != "" {
			t.Errorf("%s %d: %s", what, at, diff)
		}
	}
	for i := range good {
		for _, flip := range []byte{1, 0x80, 0xff} {
			bad := append([]byte(nil), good...)
			bad[i] ^= flip
			refused(bad, "changed byte", i)
		}
		refused(good[:i], "cut to", i)
	}
	refused(append(good, 0), "longer than", len(good))
}

// TestCheckpointVersion: a later format is called by its name, not damaged.
func TestCheckpointVersion(t *testing.T) {
	data, err := smallCheckpoint().MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	data[len(checkpointMagic)] = 2
	var c Checkpoint
	if err := c.UnmarshalBinary(sealed(data)); err == nil || !strings.Contains(err.Error(), "format 2, this program reads 1") {
		t.Errorf("error %v", err)
	}
}

// sealed gives bytes the right checksum.
func sealed(data []byte) []byte {
	body := data[:max(0, len(data)-checksumBytes)]
	return binary.LittleEndian.AppendUint32(append([]byte(nil), body...), crc32.Checksum(body, castagnoli))
}

// FuzzCheckpoint: any bytes are refused or can be written again. Their checksum is made right, or all would be refused there.
func FuzzCheckpoint(f *testing.F) {
	good, err := smallCheckpoint().MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("wgcheck\x01\x02\x00\x00\x00{}0000"))
	f.Add([]byte("wgcheck\x01\xff\xff\xff\xff{}0000"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c, again Checkpoint
		if c.UnmarshalBinary(sealed(data)) != nil {
			return
		}
		written, err := c.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if err := again.UnmarshalBinary(written); err != nil {
			t.Fatal(err)
		}
		bits := cmp.Transformer("bits", math.Float32bits)
		if diff := cmp.Diff(c, again, bits); diff != "" {
			t.Error(diff)
		}
	})
}

// halfway is a 512×512 picture after ten steps, with a network that changes nothing.
func halfway(b *testing.B, p *Pipeline, name sampler.Name) *Drawing {
	b.Helper()
	s, err := p.settle(Request{Prompt: quick.Prompt, Negative: "blurred", Width: 512, Height: 512, Sampler: string(name), Dialect: "a1111-cpu"})
	if err != nil {
		b.Fatal(err)
	}
	d, err := p.begin(s)
	if err != nil {
		b.Fatal(err)
	}
	network := func(x []float32, _ sampler.Point) (sampler.Estimate, error) {
		return sampler.Estimate{Clean: slices.Clone(x)}, nil
	}
	for ; d.step < 10; d.step++ {
		if err := d.sampler.Step(d.step, d.latent, network, d.freshNoise); err != nil {
			b.Fatal(err)
		}
	}
	return d
}

func encoded(b *testing.B, d *Drawing) []byte {
	c, err := d.Checkpoint()
	if err != nil {
		b.Fatal(err)
	}
	data, err := c.MarshalBinary()
	if err != nil {
		b.Fatal(err)
	}
	return data
}

// BenchmarkCheckpoint makes and encodes the checkpoint of a 512×512 picture: the first of a loaded model, and later ones.
func BenchmarkCheckpoint(b *testing.B) {
	p := tinyPipeline(b, plainGo{})
	for _, name := range []sampler.Name{sampler.DDIM, sampler.DPMpp2M, sampler.DPMpp3MSDE} {
		d := halfway(b, p, name)
		b.Run(string(name)+"/first", func(b *testing.B) {
			for b.Loop() {
				d.terms, p.weights = nil, ""
				encoded(b, d)
			}
		})
		b.Run(string(name)+"/later", func(b *testing.B) {
			size := 0
			for b.Loop() {
				size = len(encoded(b, d))
			}
			b.ReportMetric(float64(size)/1024, "KiB")
		})
	}
}

// BenchmarkResume reads the checkpoint of a 512×512 picture and makes ready to go on, in the dialect that takes longest.
func BenchmarkResume(b *testing.B) {
	p := tinyPipeline(b, plainGo{})
	d := halfway(b, p, sampler.DPMppSDE)
	data := encoded(b, d)
	for b.Loop() {
		s := d.settings
		s.From = new(Checkpoint)
		if err := s.From.UnmarshalBinary(data); err != nil {
			b.Fatal(err)
		}
		if _, err := p.begin(s); err != nil {
			b.Fatal(err)
		}
	}
}
