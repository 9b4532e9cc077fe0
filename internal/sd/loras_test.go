package sd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"waggle/internal/models"
	"waggle/internal/nn"
	"waggle/internal/weights"
)

// writeLoRA makes a LoRA of rank 4 of random numbers for the attention of the built-in model's UNet and its text encoder.
func writeLoRA(t testing.TB, p *Pipeline, dir, name string, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	random := func(name string, shape ...int) weights.Tensor {
		tensor := weights.Tensor{Name: name, DType: weights.F32, Shape: shape}
		for range tensor.Elements() {
			tensor.Data = binary.LittleEndian.AppendUint32(tensor.Data, math.Float32bits(0.15*float32(r.NormFloat64())))
		}
		return tensor
	}
	var all []weights.Tensor
	for _, part := range p.networks.loraParts() {
		prefix := map[bool]string{true: "lora_unet_", false: "lora_te_"}[part.Names != nil]
		for _, name := range part.Tensors.Names() {
			tensor, _ := part.Tensors.Tensor(name)
			module, weight := strings.CutSuffix(name, ".weight")
			if !weight || len(tensor.Shape) < 2 || !strings.Contains(name, "attn") {
				continue
			}
			stem := prefix + strings.ReplaceAll(module, ".", "_")
			all = append(all, random(stem+".lora_down.weight", 4, tensor.Shape[1]), random(stem+".lora_up.weight", tensor.Shape[0], 4))
		}
	}
	f, err := os.Create(filepath.Join(dir, name+".safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := weights.Write(f, all, nil); err != nil {
		t.Fatal(err)
	}
}

// loraPipeline is the built-in model beside a folder with LoRAs of these names.
func loraPipeline(t testing.TB, with compiler, names ...string) *Pipeline {
	t.Helper()
	p := tinyPipeline(t, with)
	dir := filepath.Join(t.TempDir(), "loras")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		writeLoRA(t, p, dir, name, uint64(i))
	}
	p.shelf = models.NewShelf(filepath.Dir(dir))
	return p
}

// with is a quick request with LoRAs.
func with(loras ...LoRA) Request {
	r := quick
	r.LoRAs = loras
	return r
}

// both is a LoRA at one strength for all networks.
func both(name string, strength float64) LoRA { return LoRA{name, strength, strength} }

// TestLoRAs: a LoRA changes the picture, and nothing after it; strength 0 is none; what the prompt names is as what the
// request names, and adds to it; order does not matter.
func TestLoRAs(t *testing.T) {
	p := loraPipeline(t, testGPU(t, testDevice(t), nn.Options{}), "one", "two")
	none := generate(t, p, quick)
	one := generate(t, p, with(both("one", 0.8)))
	for name, test := range map[string]struct {
		r    Request
		want []uint8
		same bool
	}{
		"one changes the picture":        {with(both("one", 0.8)), none, false},
		"the unet's part alone":          {with(LoRA{"one", 0.8, 0}), one, false},
		"the text's part alone":          {with(LoRA{"one", 0, 0.8}), one, false},
		"another one":                    {with(both("two", 0.8)), one, false},
		"the same again":                 {with(both("one", 0.8)), one, true},
		"strength 0":                     {with(both("one", 0)), none, true},
		"one and its opposite":           {with(both("one", 0.8), both("one", -0.8)), none, true},
		"in the prompt":                  {prompted("<lora:one:0.8>"), one, true},
		"in the prompt, by parts":        {prompted("<lora:one:te=0.8:unet=0.8>"), one, true},
		"half in the prompt":             {func() Request { r := prompted("<lora:one:0.5>"); r.LoRAs = []LoRA{both("one", 0.3)}; return r }(), one, true},
		"none after it, to the bit":      {quick, none, true},
		"two, in one order":              {with(both("one", 0.5), both("two", 0.5)), generate(t, p, with(both("two", 0.5), both("one", 0.5))), true},
		"by the file's name in a prompt": {prompted("<lora:one.safetensors:0.8>"), one, true},
	} {
		if same := slices.Equal(generate(t, p, test.r), test.want); same != test.same {
			t.Errorf("%s: the picture is the same: %v", name, same)
		}
	}
	reports, err := p.LoRAs(with(both("two", 0.5), both("one", 0.8), both("two", 0)))
	if err != nil || len(reports) != 2 || reports[0].Name != "one" || reports[0].UNet != 0.8 || reports[0].Matched == 0 ||
		reports[0].Unmatched+reports[0].Misshapen != 0 || len(reports[0].Hash) != 12 || reports[0].Hash == reports[1].Hash {
		t.Errorf("reports %+v, error %v", reports, err)
	}
}

func prompted(tag string) Request {
	r := quick
	r.Prompt += tag
	return r
}

// TestLoRAsOfABatch: pictures with the same LoRAs are stepped together and are those drawn alone; others are refused.
func TestLoRAsOfABatch(t *testing.T) {
	p := loraPipeline(t, testGPU(t, testDevice(t), nn.Options{}), "one", "two")
	var drawings []*Drawing
	var alone [][]uint8
	for seed := range uint64(3) {
		r := with(both("one", 0.8))
		r.Seed = seed
		alone = append(alone, generate(t, p, r))
		drawings = append(drawings, begin(t, p, r))
	}
	other := begin(t, p, with(both("two", 0.8)))
	if err := p.Step(drawings[0], other); err == nil || other.Shape() == drawings[0].Shape() {
		t.Errorf("pictures with different LoRAs were stepped together: error %v", err)
	}
	for range quick.Steps {
		step(t, p, drawings...)
	}
	for i, d := range drawings {
		if !slices.Equal(finish(t, p, d), alone[i]) {
			t.Errorf("picture %d of a batch is not the one drawn alone", i)
		}
	}
}

// TestLoRAsResume: a picture goes on from a checkpoint with its LoRAs, in another pipeline, and not with other ones.
func TestLoRAsResume(t *testing.T) {
	c := testGPU(t, testDevice(t), nn.Options{})
	p := loraPipeline(t, c, "one")
	r := with(both("one", 0.8))
	want := generate(t, p, r)
	d := begin(t, p, r)
	step(t, p, d)
	checkpoint, err := d.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	again := loraPipeline(t, testGPU(t, testDevice(t), nn.Options{}), "one")
	r.From = checkpoint
	d = begin(t, again, r)
	step(t, again, d)
	if !slices.Equal(finish(t, again, d), want) {
		t.Error("a picture that went on from its checkpoint is another")
	}
	for name, loras := range map[string][]LoRA{"none": nil, "another strength": {both("one", 0.7)}} {
		r.LoRAs = loras
		if _, err := again.Begin(r); !errors.Is(err, ErrOtherPicture) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// TestManyLoRAs: more sets than are kept come and go while a picture is drawn, and it is the same; so it is within a budget
// that has no room for the model beside its changes.
func TestManyLoRAs(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e", "f"}
	free := loraPipeline(t, testGPU(t, testDevice(t), nn.Options{}), names...)
	r := with(both("a", 0.8))
	want, none := generate(t, free, r), generate(t, free, quick)
	plan, err := free.Plan(r, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, budget := range []int64{0, plan.Parts[1].Total() + 1<<18} {
		t.Run(fmt.Sprint("budget ", budget), func(t *testing.T) {
			d := testDevice(t)
			before := d.Used()
			c := testGPU(t, d, nn.Options{})
			c.tight = budget > 0
			p := loraPipeline(t, c, names...)
			p.budget = budget
			drawing := begin(t, p, r)
			step(t, p, drawing)
			for _, name := range names {
				generate(t, p, with(both(name, 0.5)))
			}
			step(t, p, drawing)
			if !slices.Equal(finish(t, p, drawing), want) {
				t.Error("the picture is another")
			}
			if !slices.Equal(generate(t, p, quick), none) {
				t.Error("the picture without LoRAs is another")
			}
			if n := len(p.loras.values); n > loraSetLimit {
				t.Errorf("%d sets are kept", n)
			}
			const parameters = 1 << 18 // of kernels, which no plan counts
			if peak := d.Peak() - before; budget > 0 && peak > budget+parameters {
				t.Errorf("%d bytes were taken of a budget of %d", peak, budget)
			}
		})
	}
}

// TestPlanOfLoRAs: a plan counts the changed weights.
func TestPlanOfLoRAs(t *testing.T) {
	p := loraPipeline(t, testGPU(t, testDevice(t), nn.Options{}), "one")
	none, err := p.Plan(quick, 1)
	if err != nil {
		t.Fatal(err)
	}
	one, err := p.Plan(with(LoRA{"one", 1, 0}), 1)
	if err != nil {
		t.Fatal(err)
	}
	if one.Parts[0].Weights != none.Parts[0].Weights || one.Parts[1].Weights <= none.Parts[1].Weights {
		t.Errorf("text %d, was %d; unet %d, was %d bytes", one.Parts[0].Weights, none.Parts[0].Weights, one.Parts[1].Weights, none.Parts[1].Weights)
	}
}

// TestWrongLoRAs: what cannot be mixed in is refused with what is wrong.
func TestWrongLoRAs(t *testing.T) {
	p := loraPipeline(t, plainGo{}, "style", "detail")
	for want, r := range map[string]Request{
		`no LoRA "stile"; known: style, detail`: with(both("stile", 1)),
		"no LoRA":                               with(both("../style", 1)),
		"want −10…10":                           with(both("style", 10.5)),
		"−10…10":                                with(both("style", math.NaN())),
		"is not a number":                       prompted("<lora:style:much>"),
		"only lora":                             prompted("<hypernet:style:1>"),
		"want at most 64":                       with(slices.Repeat([]LoRA{both("style", 0.1)}, 65)...),
	} {
		if _, err := p.Begin(r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}
