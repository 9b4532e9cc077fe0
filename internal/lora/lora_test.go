package lora

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"waggle/internal/weights"
)

// floats makes a tensor of numbers from −1 to 1.
func floats(r *rand.Rand, name string, shape ...int) weights.Tensor {
	t := weights.Tensor{Name: name, DType: weights.F32, Shape: shape}
	for range t.Elements() {
		t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(2*r.Float32()-1))
	}
	return t
}

// set gathers tensors.
func set(t testing.TB, tensors ...weights.Tensor) *weights.Set {
	t.Helper()
	s, err := weights.NewSet(tensors)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const (
	attention = "input_blocks.1.1.transformer_blocks.0.attn2.to_k"
	conv      = "input_blocks.1.0.in_layers.2"
	norm      = "input_blocks.1.0.in_layers.0"
	layer     = "text_model.encoder.layers.0.mlp.fc1"
)

// model is a few layers of a UNet and a text encoder.
func model(t testing.TB) []Part {
	r := rand.New(rand.NewPCG(1, 2))
	unet := set(t, floats(r, attention+".weight", 8, 12), floats(r, conv+".weight", 8, 6, 3, 3), floats(r, conv+".bias", 8),
		floats(r, norm+".weight", 6), floats(r, norm+".bias", 6))
	names := weights.UNetNames(weights.UNetTopology{Layers: []int{1}, DownAttention: []bool{true}, UpAttention: []bool{true}})
	text := set(t, floats(r, layer+".weight", 10, 4), floats(r, layer+".bias", 10))
	return []Part{{Kind: UNet, Tensors: unet, Names: names}, {Kind: Text, Tensors: text}}
}

// pair is a product of rank 2 under a stem.
func pair(r *rand.Rand, stem, down, up string, out, in int) []weights.Tensor {
	return []weights.Tensor{floats(r, stem+down, 2, in), floats(r, stem+up, out, 2)}
}

func TestEverySpellingIsFound(t *testing.T) {
	const diffusers = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
	for _, c := range []struct {
		stem, down, up string
		text           bool
	}{
		{"lora_unet_" + flat(diffusers), ".lora_down.weight", ".lora_up.weight", false},
		{"lora_unet_" + flat(attention), ".lora_down.weight", ".lora_up.weight", false},
		{"unet." + diffusers, ".lora_A.weight", ".lora_B.weight", false},
		{"unet." + diffusers, ".lora.down.weight", ".lora.up.weight", false},
		{"base_model.model." + diffusers, ".lora_A.weight", ".lora_B.weight", false},
		{"base_model.model." + diffusers, ".lora_A.default.weight", ".lora_B.default.weight", false},
		{diffusers, ".lora.down.weight", ".lora.up.weight", false},
		{"diffusion_model." + attention, ".lora_A.weight", ".lora_B.weight", false},
		{"unet." + strings.Replace(diffusers, "to_k", "processor.to_k_lora", 1), ".down.weight", ".up.weight", false},
		{strings.Replace(diffusers, "to_k", "processor.to_k_lora", 1), ".down.weight", ".up.weight", false},
		{"lora_te_" + flat(layer), ".lora_down.weight", ".lora_up.weight", true},
		{"lora_te1_" + flat(layer), ".lora_down.weight", ".lora_up.weight", true},
		{"text_encoder." + layer, ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight", true},
		{"text_encoder." + layer, ".lora_A.weight", ".lora_B.weight", true},
	} {
		t.Run(c.stem+c.down, func(t *testing.T) {
			out, in, kind, name := 8, 12, UNet, attention
			if c.text {
				out, in, kind, name = 10, 4, Text, layer
			}
			l, err := Match(set(t, pair(rand.New(rand.NewPCG(3, 4)), c.stem, c.down, c.up, out, in)...), model(t))
			if err != nil {
				t.Fatal(err)
			}
			if want := (Report{Matched: 1}); l.Report.String() != want.String() || l.changes[kind][name+".weight"] == nil {
				t.Errorf("report %v, changes %v", l.Report, l.changes)
			}
		})
	}
}

func TestReportCountsWhatDoesNotFit(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	file := pair(r, "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k", ".lora_A.weight", ".lora_B.weight", 8, 12)
	file = append(file, pair(r, "lora_te_"+flat(layer), ".lora_down.weight", ".lora_up.weight", 10, 5)...)    // 4 inputs, not 5
	file = append(file, pair(r, "lora_unet_nowhere", ".lora_down.weight", ".lora_up.weight", 3, 3)...)        // no such layer
	file = append(file, floats(r, "lora_unet_"+flat(conv)+".oft_blocks", 3, 3), floats(r, "rest", 1))         // a kind that we do not read
	file = append(file, floats(r, "lora_unet_"+flat(norm)+".w_norm", 6), floats(r, strings.Repeat("x", 999))) // a norm, a long name
	l, err := Match(set(t, file...), model(t))
	if err != nil {
		t.Fatal(err)
	}
	got := l.Report
	if got.Matched != 2 || got.Misshapen != 1 || got.Unmatched != 4 {
		t.Errorf("%v, want 2 matched, 4 unmatched, 1 misshapen", got)
	}
	if s := got.String(); !strings.Contains(s, "lora_te_") || !strings.Contains(s, "nowhere") || len(s) > 600 {
		t.Errorf("%q names not what was left out, briefly", s)
	}
}

func TestAFileForOthersIsRefused(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	text := pair(r, "lora_te1_"+flat(layer), ".lora_down.weight", ".lora_up.weight", 10, 4)
	for want, file := range map[string][]weights.Tensor{
		"SDXL":                 append(pair(r, "lora_unet_"+flat(attention), ".lora_down.weight", ".lora_up.weight", 8, 2048), text...),
		"Stable Diffusion 1.x": pair(r, "lora_unet_"+flat(attention), ".lora_down.weight", ".lora_up.weight", 8, 768),
		"Flux":                 pair(r, "transformer.single_blocks.0.linear1", ".lora_A.weight", ".lora_B.weight", 8, 12),
		"another model":        {floats(r, "anything", 3)},
	} {
		if _, err := Match(set(t, file...), model(t)); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want one that names %s", err, want)
		}
	}
}

func TestHostileShapesAreMisshapen(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	a, c := "lora_unet_"+flat(attention), "lora_unet_"+flat(conv)
	scalar := weights.Tensor{Name: a + ".dora_scale", DType: weights.F32, Data: make([]byte, 4)}
	integers := weights.Tensor{Name: a + ".lora_up.weight", DType: weights.I64, Shape: []int{8, 2}, Data: make([]byte, 128)}
	for name, file := range map[string][]weights.Tensor{
		"no upper matrix":     {floats(r, a+".lora_down.weight", 2, 12)},
		"only alpha":          {floats(r, a+".alpha")},
		"ranks differ":        {floats(r, a+".lora_down.weight", 3, 12), floats(r, a+".lora_up.weight", 8, 2)},
		"rank 0":              {floats(r, a+".lora_down.weight", 0, 12), floats(r, a+".lora_up.weight", 8, 0)},
		"integers":            {floats(r, a+".lora_down.weight", 2, 12), integers},
		"alpha of two":        append(pair(r, a, ".lora_down.weight", ".lora_up.weight", 8, 12), floats(r, a+".alpha", 2)),
		"a scalar magnitude":  append(pair(r, a, ".lora_down.weight", ".lora_up.weight", 8, 12), scalar),
		"a middle elsewhere":  {floats(r, c+".lora_down.weight", 2, 6, 1, 1), floats(r, c+".lora_up.weight", 8, 2), floats(r, c+".lora_mid.weight", 2, 2, 5, 5)},
		"half a LoHa":         {floats(r, a+".hada_w1_a", 8, 2), floats(r, a+".hada_w1_b", 2, 12)},
		"LoKr does not fit":   {floats(r, a+".lokr_w1", 3, 4), floats(r, a+".lokr_w2", 2, 3)},
		"LoKr of nothing":     {floats(r, a+".lokr_w1", 0, 0), floats(r, a+".lokr_w2", 2, 3)},
		"a shorter norm":      {floats(r, "lora_unet_"+flat(norm)+".w_norm", 5)},
		"a bias without home": {floats(r, a+".diff_b", 8)},
	} {
		_, err := Match(set(t, file...), model(t))
		if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "1 misshapen") {
			t.Errorf("%s: %v, want one misshapen module", name, err)
		}
	}
}

func TestNaNIsRefused(t *testing.T) {
	file := pair(rand.New(rand.NewPCG(3, 4)), "lora_unet_"+flat(attention), ".lora_down.weight", ".lora_up.weight", 8, 12)
	binary.LittleEndian.PutUint32(file[0].Data, math.Float32bits(float32(math.NaN())))
	if _, err := Match(set(t, file...), model(t)); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("%v, want a damaged file", err)
	}
}

// TestFactorsAndTensorAgree: a product on its own is what the whole tensor has more than the base, for two files together.
func TestFactorsAndTensorAgree(t *testing.T) {
	parts := model(t)
	var uses []Use
	for i := range 2 {
		file := pair(rand.New(rand.NewPCG(5, uint64(i))), "lora_unet_"+flat(attention), ".lora_down.weight", ".lora_up.weight", 8, 12)
		l, err := Match(set(t, file...), parts)
		if err != nil {
			t.Fatal(err)
		}
		uses = append(uses, Use{l, 0.5 + float64(i)})
	}
	m := Merge(parts[0].Tensors, UNet, uses)
	rank, up, down, ok := m.Factors(attention + ".weight")
	if !ok || rank != 4 {
		t.Fatalf("factors of rank %d, want 4", rank)
	}
	merged, base := numbers(t, m), numbers(t, parts[0].Tensors)
	for i, d := range (factors{rank, up, down}).product() {
		if math.Abs(float64(merged[i]-base[i]-d)) > 1e-5 {
			t.Fatalf("element %d: %v is not %v + %v", i, merged[i], base[i], d)
		}
	}
	slices.Reverse(uses)
	for i, v := range numbers(t, Merge(parts[0].Tensors, UNet, uses)) {
		if math.Abs(float64(v-merged[i])) > 1e-6 {
			t.Fatalf("element %d: %v in the other order, was %v", i, v, merged[i])
		}
	}
	if Merge(parts[0].Tensors, UNet, []Use{{uses[0].LoRA, 0}}) != nil {
		t.Error("strength 0 changes something")
	}
}

func numbers(t *testing.T, s weights.Source) []float32 {
	t.Helper()
	tensor, ok := s.Tensor(attention + ".weight")
	if !ok {
		t.Fatal("no tensor")
	}
	v, err := tensor.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestAlphaOfMetadata: files of diffusers keep alpha in their metadata, for all modules of a part or for some.
func TestAlphaOfMetadata(t *testing.T) {
	const module = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
	file := pair(rand.New(rand.NewPCG(3, 4)), "unet."+module, ".lora_A.weight", ".lora_B.weight", 8, 12)
	factor := func(metadata string) float32 {
		var data bytes.Buffer
		if err := weights.Write(&data, file, map[string]string{adapterKey: metadata}); err != nil {
			t.Fatal(err)
		}
		f, err := weights.Parse("file", data.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		l, err := Match(f, model(t))
		if err != nil {
			t.Fatal(err)
		}
		_, up, _, _ := Merge(model(t)[0].Tensors, UNet, []Use{{l, 1}}).Factors(attention + ".weight")
		return up[0]
	}
	one := factor("")
	for metadata, times := range map[string]float32{
		`{"unet.r": 2, "unet.lora_alpha": 8}`:                                 4,
		`{"unet.lora_alpha": 8, "unet.alpha_pattern": {"` + module + `": 1}}`: 0.5,
		`{"text_encoder.lora_alpha": 8}`:                                      1, `{"unet.lora_alpha": "much"}`: 1, `[`: 1,
	} {
		if got := factor(metadata); got != times*one {
			t.Errorf("%s: %v, want %v times %v", metadata, got, times, one)
		}
	}
}

// FuzzMatch reads any safetensors file as a LoRA: it is refused, or every tensor that it changes can be computed.
func FuzzMatch(f *testing.F) {
	parts := model(f)
	r := rand.New(rand.NewPCG(3, 4))
	a, c := "lora_unet_"+flat(attention), "lora_unet_"+flat(conv)
	for _, file := range [][]weights.Tensor{
		append(pair(r, a, ".lora_down.weight", ".lora_up.weight", 8, 12), floats(r, a+".alpha"), floats(r, a+".dora_scale", 8, 1)),
		{floats(r, c+".lora_down.weight", 2, 6, 1, 1), floats(r, c+".lora_up.weight", 8, 2), floats(r, c+".lora_mid.weight", 2, 2, 3, 3)},
		{floats(r, a+".hada_w1_a", 8, 2), floats(r, a+".hada_w1_b", 2, 12), floats(r, a+".hada_w2_a", 8, 2), floats(r, a+".hada_w2_b", 2, 12)},
		{floats(r, c+".lokr_w1", 2, 3), floats(r, c+".lokr_w2_a", 2, 4), floats(r, c+".lokr_w2_b", 2, 2), floats(r, c+".lokr_t2", 2, 2, 3, 3)},
		{floats(r, c+".diff", 8, 6, 3, 3), floats(r, c+".diff_b", 8), floats(r, "lora_unet_"+flat(norm)+".b_norm", 6)},
	} {
		f.Add(safetensors(file))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := weights.Parse("fuzz", data)
		if err != nil {
			return
		}
		l, err := Match(file, parts)
		if err != nil {
			return
		}
		for _, p := range parts {
			m := Merge(p.Tensors, p.Kind, []Use{{l, 0.5}})
			for _, name := range p.Tensors.Names() {
				if m == nil || !m.Touches(name) {
					continue
				}
				got, ok := m.Tensor(name)
				base, _ := p.Tensors.Tensor(name)
				if ok && !slices.Equal(got.Shape, base.Shape) || ok && len(got.Data) != 4*base.Elements() {
					t.Fatalf("%s has shape %v, want %v", name, got.Shape, base.Shape)
				}
			}
		}
	})
}

// safetensors writes a file.
func safetensors(tensors []weights.Tensor) []byte {
	var header []string
	var data []byte
	for _, t := range tensors {
		shape := strings.ReplaceAll(fmt.Sprint(t.Shape), " ", ",")
		header = append(header, fmt.Sprintf(`%q:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, t.Name, t.DType, shape, len(data), len(data)+len(t.Data)))
		data = append(data, t.Data...)
	}
	text := "{" + strings.Join(header, ",") + "}"
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), data...)
}
