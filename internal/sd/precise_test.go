package sd

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"testing"

	"waggle/internal/models"
	"waggle/internal/nn"
	"waggle/internal/weights"
)

// scaled is a source some of whose tensors are multiplied, in float32.
type scaled struct {
	weights.Source
	by map[string]float32
}

func (s *scaled) Tensor(name string) (weights.Tensor, bool) {
	t, ok := s.Source.Tensor(name)
	factor, is := s.by[name]
	if !ok || !is {
		return t, ok
	}
	values, err := t.Float32s()
	if err != nil {
		return t, false
	}
	t.DType, t.Data = weights.F32, nil
	for _, v := range values {
		t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(v*factor))
	}
	return t, true
}

// scaledShapes is the built-in model with some tensors of its networks multiplied.
func scaledShapes(t *testing.T, c compiler, unet, vae, text map[string]float32) *Pipeline {
	t.Helper()
	m, err := models.Open("tiny-shapes")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	m.UNet.Tensors, m.VAE.Tensors, m.Text.Tensors = &scaled{m.UNet.Tensors, unet}, &scaled{m.VAE.Tensors, vae}, &scaled{m.Text.Tensors, text}
	p, err := newPipeline(c, m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// Weights that a group norm follows may be multiplied as one likes: but for rounding the network is the same.
var (
	largeUNet = map[string]float32{"middle_block.0.in_layers.2.weight": 1 << 24, "middle_block.0.in_layers.2.bias": 1 << 24,
		"middle_block.0.emb_layers.1.weight": 1 << 24, "middle_block.0.emb_layers.1.bias": 1 << 24}
	largeVAE = map[string]float32{"decoder.mid.block_1.conv1.weight": 1 << 24, "decoder.mid.block_1.conv1.bias": 1 << 24}
)

// TestBeyondFloat16: a model whose weights do not fit float16 draws the picture that it should, and says which networks were
// computed in float32; within little memory too.
func TestBeyondFloat16(t *testing.T) {
	r := Request{Prompt: "a red circle on a blue background", Width: 64, Height: 64, Steps: 2, Seed: 3}
	plain := tinyPipeline(t, testGPU(t, testDevice(t), nn.Options{}))
	want := generate(t, plain, r)
	if got := plain.Redone(); len(got) > 0 {
		t.Errorf("%q were done again in a model without need", got)
	}
	for _, test := range []struct {
		name      string
		unet, vae map[string]float32
		budget    int64
		redone    []string
	}{
		{"unet", largeUNet, nil, 0, []string{"unet"}},
		{"decoder", nil, largeVAE, 0, []string{"decoder"}},
		{"both in little memory", largeUNet, largeVAE, 9e6, []string{"unet", "decoder"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := testDevice(t)
			before := d.Used()
			p := scaledShapes(t, testGPU(t, d, nn.Options{}), test.unet, test.vae, nil)
			p.budget = test.budget
			got := generate(t, p, r)
			if worst := farthest(got, want); worst > 2 {
				t.Errorf("the picture is off by %d levels of 255", worst)
			}
			if redone := p.Redone(); !slices.Equal(redone, test.redone) {
				t.Errorf("%q were done again, want %q", redone, test.redone)
			}
			if again := generate(t, p, r); !slices.Equal(again, got) {
				t.Error("the second picture is another")
			}
			plan, err := p.Plan(r, 1)
			if err != nil {
				t.Fatal(err)
			}
			if used := d.Used() - before; test.budget == 0 {
				within(t, "everything", used, plan.Phases[len(plan.Phases)-1].Bytes)
			}
		})
	}
}

func farthest(a, b []uint8) (worst int) {
	for i := range a {
		worst = max(worst, int(a[i])-int(b[i]), int(b[i])-int(a[i]))
	}
	return worst
}

// TestNotFinite: where float32 does not help either, the picture fails and says at which stage.
func TestNotFinite(t *testing.T) {
	c := testGPU(t, testDevice(t), nn.Options{})
	nan := float32(math.NaN())
	for stage, p := range map[string]*Pipeline{
		"text encoder 1": scaledShapes(t, c, nil, nil, map[string]float32{"text_model.final_layer_norm.bias": nan}),
		"unet":           scaledShapes(t, c, map[string]float32{"out.2.bias": nan}, nil, nil),
		"decoder":        scaledShapes(t, c, nil, map[string]float32{"decoder.conv_out.bias": float32(math.Inf(1))}, nil),
	} {
		_, err := p.Generate(context.Background(), quick, nil)
		var failed *NotFiniteError
		if !errors.As(err, &failed) || failed.Stage != stage {
			t.Errorf("%s: error %v", stage, err)
		}
	}
}

// narrow gives NaN for every result of a network whose weights are not in float32.
type narrow struct{ plainGo }

type nanProgram struct{ program }

func (n narrow) compile(g *nn.Graph, src weights.Source) (program, error) {
	p, err := n.plainGo.compile(g, src)
	if _, ok := src.(*exact); ok || err != nil {
		return p, err
	}
	return nanProgram{p}, nil
}

func (p nanProgram) Output(name string) ([]float32, error) {
	out, err := p.program.Output(name)
	for i := range out {
		out[i] = float32(math.NaN())
	}
	return out, err
}

// TestRedone: a result that is not finite is computed again, and that is the picture.
func TestRedone(t *testing.T) {
	want := generate(t, tinyPipeline(t, plainGo{}), quick)
	p := tinyPipeline(t, narrow{})
	if got := generate(t, p, quick); !slices.Equal(got, want) {
		t.Error("the picture is another")
	}
	if got := p.Redone(); !slices.Equal(got, []string{"text encoder 1", "unet", "decoder"}) {
		t.Errorf("%q were done again", got)
	}
}

// TestDrawingRedone: a drawing tells what its own networks took, whatever was widened for others.
func TestDrawingRedone(t *testing.T) {
	p := tinyPipeline(t, plainGo{})
	d, err := p.Begin(quick)
	if err != nil {
		t.Fatal(err)
	}
	p.widen(&scaled{p.networks.unet.tensors, nil}) // another's, as of a LoRA
	if got := d.Redone(); len(got) > 0 {
		t.Errorf("%q, want none", got)
	}
	for _, source := range []weights.Source{p.networks.vae.tensors, p.networks.unet.tensors, p.networks.text[0].tensors} {
		p.widen(source)
	}
	if got := d.Redone(); !slices.Equal(got, []string{"text encoder 1", "unet", "decoder"}) {
		t.Errorf("%q are told", got)
	}
}
