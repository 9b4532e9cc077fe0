package sd

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"waggle/internal/builtin"
	"waggle/internal/goldens"
	"waggle/internal/nn"
	"waggle/internal/prompt"
)

// TestGoldenEmphasis: weighted text states of the A1111 web UI.
func TestGoldenEmphasis(t *testing.T) {
	var index struct {
		Emphasis struct {
			File  string
			Cases map[string]struct {
				Prompt   string
				Original struct{ Atol float64 }
				NoNorm   struct{ Atol float64 } `json:"no_norm"`
				Plain    struct{ Atol float64 }
			}
		}
	}
	goldens.JSON(t, "prompts/index.json", &index)
	p, err := newPipeline(plainGo{}, openGolden(t, "sd1", "file"))
	if err != nil {
		t.Fatal(err)
	}
	in := goldens.Tensors(t, "prompts/"+index.Emphasis.File)
	onlyScaled := a1111
	onlyScaled.weigh = func(all []weighed, _ lazyStates) error {
		for i := range all {
			all[i].states = all[i].scaled()
		}
		return nil
	}
	ignored := a1111
	ignored.weigh = func([]weighed, lazyStates) error { return nil }
	for name, c := range index.Emphasis.Cases {
		check := func(how string, r reading, atol float64) {
			g := read(t, p, r, c.Prompt)
			var ids []int64
			for _, chunk := range g.texts[0][0] {
				for _, id := range chunk.ids {
					ids = append(ids, int64(id))
				}
			}
			if want := in[name+".tokens"].Int64s; !slices.Equal(ids, want) {
				t.Errorf("%s: tokens %v, want %v", name, ids, want)
			}
			goldens.Near(t, name+"."+how, g.states[0].context, in[name+"."+how].Float32s, atol)
		}
		check("plain", ignored, c.Plain.Atol)
		check("no_norm", onlyScaled, c.NoNorm.Atol)
		check("original", a1111, c.Original.Atol)
	}
	if len(index.Emphasis.Cases) == 0 {
		t.Error("no cases")
	}
}

// read encodes a prompt of one part as a dialect reads it, for 10 steps.
func read(t *testing.T, p *Pipeline, r reading, text string) guide {
	t.Helper()
	s, err := p.settle(Request{Prompt: "unused", Steps: 10, Sampler: "euler"})
	if err != nil {
		t.Fatal(err)
	}
	s.reading = r
	g, err := p.readGuide(s, prompt.Span{Text: text, Weight: 1}, p.inversions(r))
	if err == nil {
		err = p.encodeGuide(&g, s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestComfyWeights: states lie on the line from the empty prompt's to the text's, each at its weight.
func TestComfyWeights(t *testing.T) {
	p := tinyPipeline(t, plainGo{})
	empty, plain := read(t, p, comfy, "").states[0].context, read(t, p, comfy, "a red circle").states[0].context
	got := read(t, p, comfy, "a (red:1.5) (circle:0)").states[0].context
	width := len(plain) / 77
	for i, weight := range []float32{1, 1, 1.5, 0, 1, 1} {
		for k := i * width; k < (i+1)*width; k++ {
			if want := (plain[k]-empty[k])*weight + empty[k]; math.Abs(float64(got[k]-want)) > 1e-5 {
				t.Fatalf("place %d: %v, want %v", i, got[k], want)
			}
		}
	}
}

// TestEscapes: an escaped bracket is read as a dialect without brackets reads it.
func TestEscapes(t *testing.T) {
	p := tinyPipeline(t, plainGo{})
	want := read(t, p, plainText, "a (red) circle").states[0].context
	for name, r := range map[string]reading{"a1111": a1111, "comfy": comfy} {
		if got := read(t, p, r, `a \(red\) circle`).states[0].context; !slices.Equal(got, want) {
			t.Errorf("%s reads it otherwise", name)
		}
	}
}

// TestKeepMean by hand, over two texts of which one is used twice.
func TestKeepMean(t *testing.T) {
	all := []weighed{{[]float32{1, 2, 3, 4}, []float32{1, 2}, 2}, {[]float32{4, 4, 4, 4}, nil, 1}}
	if err := keepMean(all, nil); err != nil {
		t.Fatal(err)
	}
	const factor = 36.0 / 50 // (2·10+16) / (2·17+16)
	for i, want := range [][]float32{{1, 2, 6, 8}, {4, 4, 4, 4}} {
		for k := range want {
			if got := all[i].states[k]; math.Abs(float64(got-want[k]*factor)) > 1e-6 {
				t.Errorf("text %d, number %d: %v, want %v", i, k, got, want[k]*factor)
			}
		}
	}
	zero := []weighed{{[]float32{1, 2}, []float32{0}, 1}}
	if err := keepMean(zero, nil); err != nil || !slices.Equal(zero[0].states, []float32{0, 0}) {
		t.Errorf("all weights 0: %v, %v", zero[0].states, err)
	}
}

// TestPromptEquals: ways to say the same thing draw the same picture, to the last bit.
func TestPromptEquals(t *testing.T) {
	p := tinyPipeline(t, testGPU(t, testDevice(t), nn.Options{}))
	draw := func(dialect, prompt, negative string) []uint8 {
		r := quick
		r.Prompt, r.Negative, r.Dialect, r.Steps = prompt, negative, dialect, 3
		return generate(t, p, r)
	}
	for _, same := range []struct{ dialect, prompt, plain string }{
		{"a1111", "(a red circle:1) on a (blue:1.0) background", "a red circle on a blue background"},
		{"a1111", "[a green square:a red circle:0]", "a red circle"},
		{"a1111", "[a red circle:a green square:3]", "a red circle"},
		{"a1111", "[a red|a red] circle", "a red circle"},
		{"a1111", "a red circle :0.5 AND a red circle :0.5", "a red circle"},
		{"a1111", "a red circle AND a green square :0", "a red circle"},
		{"comfy", "(a red circle:1)", "a red circle"},
	} {
		got, want := draw(same.dialect, same.prompt, "green"), draw(same.dialect, same.plain, "green")
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q is not %q", same.dialect, same.prompt, same.plain)
		}
	}
	for _, other := range [][2]string{{"a (red:1.5) circle", "a red circle"}, {"[a red circle:a green square:1]", "a red circle"},
		{"a red circle :0.8", "a red circle"}, {"a red circle AND a green square", "a red circle"}, {"a red BREAK circle", "a red circle"}} {
		if slices.Equal(draw("a1111", other[0], ""), draw("a1111", other[1], "")) {
			t.Errorf("%q is the same as %q", other[0], other[1])
		}
	}
}

// TestScheduleBatch: pictures with schedules, alternation and several parts, joined, left and taken up again in the middle of
// them, are those drawn alone.
func TestScheduleBatch(t *testing.T) {
	gpu := func() compiler { return testGPU(t, testDevice(t), nn.Options{}) }
	prompts := map[int][]string{
		2: {"a [red|green|blue] circle", "[a red circle:a blue square:0.5] on a green background", "a (red:1.3) circle", "a [red:blue:2] circle"},
		3: {"a red circle AND a [green|blue] background :0.7", "[a:b:2] AND c", "x AND y :-0.5", "a AND [b|c|d]"},
	}
	for passes, texts := range prompts {
		var guests []guest
		for i, text := range texts {
			r := Request{Prompt: text, Negative: "a [yellow:red:1] circle", Width: 64, Height: 64, Steps: 4 + i, Seed: uint64(i),
				Sampler: []string{"euler_ancestral", "heun", "dpmpp_2m", "ddim"}[i]}
			guests = append(guests, guest{Request: r, joins: i / 2, rests: 1 + i%3})
		}
		p := tinyPipeline(t, gpu())
		if s, err := p.Shape(guests[0].Request); err != nil || s.Passes != passes {
			t.Errorf("%d passes, want %d (%v)", s.Passes, passes, err)
		}
		checkParty(t, p, tinyPipeline(t, gpu()), guests)
	}
}

// TestLengths: prompts of different lengths become equally long, as the dialect has it.
func TestLengths(t *testing.T) {
	p := tinyPipeline(t, plainGo{})
	for _, row := range []struct {
		dialect, prompt, negative string
		want                      int // chunks
	}{
		{"a1111", "a BREAK b BREAK c", "a BREAK b", 6},
		{"a1111", "a BREAK b AND c", "", 2},
		{"a1111", "[a BREAK b:c:1]", "", 2},
		{"a1111", "BREAK", "", 1},
		{"comfy", "a BREAK b", "", 1},
		{"diffusers", strings.Repeat("a ", 160), strings.Repeat("a ", 100), 3},
		{"a1111", strings.Repeat("a BREAK ", 13), strings.Repeat("a BREAK ", 11), 13}, // 143 would be too many
	} {
		s, err := p.Shape(Request{Prompt: row.prompt, Negative: row.negative, Dialect: row.dialect})
		if err != nil || s.Tokens != 77*row.want {
			t.Errorf("%s, %.40q: %d tokens (%v), want %d chunks", row.dialect, row.prompt, s.Tokens, err, row.want)
		}
	}
}

func TestBadPrompts(t *testing.T) {
	p := tinyPipeline(t, plainGo{})
	for want, text := range map[string]string{
		"brackets open":        strings.Repeat("(", 100),
		"weight of 1e+06":      "(a:1000000)",
		"no number":            "(a:1.2.3)",
		"chunks in all":        "[" + strings.Repeat("a|", 40) + strings.Repeat("a BREAK ", 9) + "|b|c|d|e|f|g|h|i|j|k|l|m|n|o|p|q|r|s|t|u|v|w|x|y|z|ab|cd]",
		"joins 17 parts":       strings.Repeat("a AND ", 16),
		"need 18 chunks of 75": strings.Repeat("a BREAK ", 17) + "a",
	} {
		r := quick
		r.Prompt, r.Steps = text, 100
		if err := p.CheckPrompts(r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: error %v, want %q", text, err, want)
		}
		if _, err := p.Generate(context.Background(), r, nil); err == nil {
			t.Errorf("%.40q is drawn", text)
		}
	}
}

// TestPromptPictures: the built-in model draws what the prompt says.
func TestPromptPictures(t *testing.T) {
	p := tinyPipeline(t, testGPU(t, testDevice(t), nn.Options{}))
	for text, want := range map[string]string{
		"[a blue square on a green background:a red circle on a blue background:0.1]":       "a red circle on a blue background",
		"[a red circle on a blue background:a green square on a yellow background:0.95]":    "a red circle on a blue background",
		"[a red|a red|a red|a green] circle on a blue background":                           "a red circle on a blue background",
		"(a red circle:1.2) on a [blue] background":                                         "a red circle on a blue background",
		"a red circle on a blue background :0.6 AND a red circle on a blue background :0.4": "a red circle on a blue background",
	} {
		scene, ok := builtin.ParsePrompt(want)
		if !ok {
			t.Fatalf("%q is no scene", want)
		}
		img, err := p.Generate(context.Background(), Request{Prompt: text, Seed: 3}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if verdict, err := builtin.Check(img, scene); err != nil || !verdict.Right() {
			t.Errorf("%q: %v (%v)", text, verdict, err)
		}
	}
}
