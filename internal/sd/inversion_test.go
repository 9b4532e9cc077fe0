package sd

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"waggle/internal/goldens"
	"waggle/internal/models"
	"waggle/internal/nn"
	"waggle/internal/weights"
)

// TestGoldenInversions: files of every form, and what the text encoders make of their rows.
func TestGoldenInversions(t *testing.T) { testInversions(t, plainGo{}) }

func TestGoldenInversionsGPU(t *testing.T) {
	testInversions(t, testGPU(t, testDevice(t), nn.Options{}))
}

func testInversions(t *testing.T, with compiler) {
	var index struct {
		Cases map[string]struct {
			File, Model string
			Offset      int
			Outputs     map[string]struct{ Atol float64 }
		}
		Files map[string]any
	}
	goldens.JSON(t, "embeddings/index.json", &index)
	for name, c := range index.Cases {
		p, err := newPipeline(with, openGolden(t, c.Model, "file"))
		if err != nil {
			t.Fatal(err)
		}
		in := goldens.Tensors(t, "embeddings/"+c.File)
		encoder := cmp.Compare(strings.Count(name, "_2"), 0)
		for file := range index.Files {
			if !strings.HasPrefix(file, "golden-"+c.Model) {
				continue
			}
			v, err := openInversion(goldens.Path(t, "embeddings/"+file), p.networks.textConfigs())
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			made := chunk{ids: ids(in["in.ids"])}
			for i := range v.count() {
				made.ids[c.Offset+i] = -1
				made.rows = append(made.rows, v.row(encoder, i, c.Offset+i))
			}
			got, err := p.encodeChunk(encoder, made, settings{})
			if err != nil {
				t.Fatal(err)
			}
			context := "last_hidden"
			if p.networks.text[encoder].config.ContextSkip > 0 {
				context = "penultimate"
			}
			check := func(output string, got []float32) {
				want, ok := index.Cases[name].Outputs[output]
				if ok {
					goldens.Near(t, file+" "+output, got, in["out."+output].Float32s, want.Atol)
				}
			}
			check(context, got.context)
			check("text_embeds", got.pooled)
		}
		p.Close()
	}
}

// inversionFile writes rows of made-up numbers under some names.
func inversionFile(t *testing.T, path string, shapes map[string][]int) {
	t.Helper()
	var tensors []weights.Tensor
	for name, shape := range shapes {
		n := 1
		for _, d := range shape {
			n *= d
		}
		var data []byte
		for i := range n {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(i%7)/7-0.4))
		}
		tensors = append(tensors, weights.Tensor{Name: name, DType: weights.F32, Shape: shape, Data: data})
	}
	var file bytes.Buffer
	if err := weights.Write(&file, tensors, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// shelved is the built-in model beside some embeddings.
func shelved(t *testing.T, with compiler) *Pipeline {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, "embeddings", name) }
	inversionFile(t, at("Golden Style.safetensors"), map[string][]int{"emb_params": {3, 96}})
	inversionFile(t, at("golden.safetensors"), map[string][]int{"<golden>": {96}})
	inversionFile(t, at("sub/xl.safetensors"), map[string][]int{"clip_l": {2, 768}, "clip_g": {2, 1280}})
	inversionFile(t, at("wide.safetensors"), map[string][]int{"emb_params": {2, 768}})
	inversionFile(t, at("many.safetensors"), map[string][]int{"emb_params": {76, 96}})
	p := tinyPipeline(t, with)
	p.shelf = models.NewShelf(dir)
	return p
}

// TestInversionNames: where a prompt names an embedding, its rows stand, and nothing else changes.
func TestInversionNames(t *testing.T) {
	p := shelved(t, plainGo{})
	for _, row := range []struct {
		dialect, prompt string
		places          []int // of rows
	}{
		{"a1111", "a red golden style circle", []int{3, 4, 5}}, // the longest name
		{"a1111", "a GOLDEN circle, (golden:1.2)", []int{2, 5}},
		{"a1111", "goldens", nil},
		{"a1111", "[golden:red:0]", nil},
		{"comfy", "a embedding:golden, red", []int{2}},
		{"comfy", "embedding:golden (embedding:GOLDEN:1.3)", []int{1, 2}},
		{"comfy", "golden aembedding:golden", nil},
		{"diffusers", "golden", nil},
	} {
		s, err := p.settle(Request{Prompt: row.prompt, Dialect: row.dialect, Guidance: 1})
		if err != nil {
			t.Fatal(err)
		}
		guides, err := p.read(s)
		if err != nil {
			t.Errorf("%s: %v", row.prompt, err)
			continue
		}
		var places []int
		for _, r := range guides[0].texts[0][0][0].rows {
			places = append(places, r.place)
		}
		if !slices.Equal(places, row.places) {
			t.Errorf("%s, %q: rows at %v, want %v", row.dialect, row.prompt, places, row.places)
		}
	}
}

// TestBadInversions: what cannot be used is named, with the file and the widths.
func TestBadInversions(t *testing.T) {
	p := shelved(t, plainGo{})
	for _, row := range []struct{ dialect, prompt, want string }{
		{"a1111", "a wide circle", "wide.safetensors): emb_params is of shape [2 768], but text encoder 1 of the model has states of 96 numbers"},
		{"a1111", "xl", "no tensor emb_params"},
		{"a1111", "[red:many:0.5]", "76 rows for text encoder 1"},
		{"comfy", "embedding:missing", `missing`},
	} {
		err := p.CheckPrompts(Request{Prompt: row.prompt, Dialect: row.dialect})
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: error %v, want %q", row.prompt, err, row.want)
		}
	}
	if err := p.CheckPrompts(Request{Prompt: "wide", Dialect: "diffusers"}); err != nil {
		t.Error(err)
	}
}

// TestInversionPictures: embeddings matter, rest with their pictures, and are told apart by their files.
func TestInversionPictures(t *testing.T) {
	p := shelved(t, testGPU(t, testDevice(t), nn.Options{}))
	with, without := quick, quick
	with.Prompt, without.Prompt = "a golden style circle", "a stylish circle"
	with.Steps = 3
	want := drawWithCheckpoints(t, p, with)
	if slices.Equal(want.pix, generate(t, p, without)) {
		t.Error("the embedding does not matter")
	}
	again := with
	again.From = copied(t, want.checkpoints[0])
	if !slices.Equal(generate(t, p, again), want.pix) {
		t.Error("another picture from a checkpoint on")
	}
	entry, err := p.shelf.Find(models.Embedding, "Golden Style")
	if err != nil {
		t.Fatal(err)
	}
	inversionFile(t, entry.Path, map[string][]int{"emb_params": {2, 96}})
	if _, err := p.Begin(again); err == nil || !strings.Contains(fmt.Sprint(err), "another prompt") {
		t.Errorf("another embedding of that name: error %v", err)
	}
}

// TestPieces: what says how a prompt is to be read is no token; the rows of an embedding are.
func TestPieces(t *testing.T) {
	p := shelved(t, plainGo{})
	o := &Outline{info: p.Info(), tokenizers: p.tokenizers, text: p.networks.textConfigs()}
	for text, want := range map[string]string{
		"a (red:1.3) [[circle]]":  "a|red|circle",
		"a [red|a green] circle":  "a|a|green|circle",
		"a AND a red circle :0.5": "a|red|circle",
		"<lora:red:1>a circle":    "a|circle",
		"a golden style":          "a|Golden Style|Golden Style|Golden Style",
		"a BREAK circle":          "a|circle",
		"":                        "",
	} {
		var names []string
		for _, piece := range o.Pieces(text, p.shelf) {
			names = append(names, piece.Text)
		}
		if got := strings.Join(names, "|"); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	for _, plain := range []string{"a golden circle", "(red:1.2.3)"} { // without a shelf; and no prompt that can be read
		if got, want := o.Pieces(plain, nil), p.tokenizers[0].Pieces(plain); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", plain, got, want)
		}
	}
}
