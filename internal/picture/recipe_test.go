package picture

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"image"
	"image/jpeg"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
)

// pngWith is a picture of one pixel with metadata.
func pngWith(t testing.TB, texts ...Text) []byte {
	t.Helper()
	file, err := EncodePNG(image.NewNRGBA(image.Rect(0, 0, 1, 1)), texts...)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func recipeOf(t *testing.T, file []byte) Recipe {
	t.Helper()
	r, err := RecipeOf(file)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const a1111Text = `a cat, (sitting:1.2) <lora:paint:0.8>
Negative prompt: dog
Steps: 20, Sampler: DPM++ 2M SDE, Schedule type: Automatic, CFG scale: 6.5, Seed: 18446744073709551615, Size: 512x768, Model hash: 6ce0161689, Model: v1-5, Clip skip: 2, RNG: CPU, Lora hashes: "paint: 0011, x: 1", Version: v1.10.1`

func TestRecipeOfA1111(t *testing.T) {
	want := Recipe{Source: FromA1111, Parameters: Parameters{
		Prompt: "a cat, (sitting:1.2) <lora:paint:0.8>", Negative: "dog", Steps: 20, Sampler: "DPM++ 2M SDE", Schedule: "Exponential",
		Guidance: 6.5, Seed: 1<<64 - 1, Width: 512, Height: 768, Model: "v1-5", Version: "v1.10.1",
		Extra: []Field{{"Model hash", "6ce0161689"}, {"Clip skip", "2"}, {"Lora hashes", "paint: 0011, x: 1"}, {"Dialect", "a1111-cpu"}},
	}}
	for name, file := range map[string][]byte{
		"PNG":                      pngWith(t, Text{"parameters", a1111Text}),
		"JPEG":                     jpegWith(t, a1111Text, binary.BigEndian, binary.BigEndian),
		"JPEG, little-endian":      jpegWith(t, a1111Text, binary.LittleEndian, binary.LittleEndian),
		"JPEG, orders that differ": jpegWith(t, a1111Text, binary.LittleEndian, binary.BigEndian),
		"WebP":                     webpWith(exifWith(a1111Text, binary.LittleEndian, binary.BigEndian)),
	} {
		if diff := cmp.Diff(want, recipeOf(t, file)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestRecipeA1111LeavesUnsaid: DPM fast makes new noise there by its setting for ancestral samplers.
func TestRecipeA1111LeavesUnsaid(t *testing.T) {
	r := recipeOf(t, pngWith(t, Text{"parameters", "a\nSteps: 20, Sampler: DPM fast Karras, CFG scale: 7, Seed: 1"}))
	if diff := cmp.Diff([]Field{{"Eta", "1"}}, r.Extra); diff != "" || r.Schedule != "" {
		t.Error(diff, r.Schedule)
	}
}

func TestRecipeOfOurs(t *testing.T) {
	p := Parameters{Prompt: "a", Steps: 3, Sampler: "Euler", Schedule: "Automatic", Guidance: 0, Seed: 4, Version: "waggle 1"}
	r := recipeOf(t, pngWith(t, Text{"parameters", p.String()}))
	if diff := cmp.Diff(Recipe{Parameters: p, Source: FromWaggle}, r); diff != "" {
		t.Error(diff)
	}
}

// exifWith is a TIFF block with a comment in UTF-16.
func exifWith(text string, order, letters binary.AppendByteOrder) []byte {
	comment := []byte("UNICODE\x00")
	for _, unit := range utf16.Encode([]rune(text)) {
		comment = letters.AppendUint16(comment, unit)
	}
	mark := map[bool]string{true: "II", false: "MM"}[order.AppendUint16(nil, 1)[0] == 1]
	out := order.AppendUint32(order.AppendUint16([]byte(mark), 42), 8)
	entry := func(tag, kind uint16, count, value uint32) {
		out = order.AppendUint16(out, 1) // entries of the directory
		out = order.AppendUint16(order.AppendUint16(out, tag), kind)
		out = order.AppendUint32(order.AppendUint32(out, count), value)
		out = order.AppendUint32(out, 0) // no other directory
	}
	entry(exifFolderTag, 4, 1, 26)
	entry(userCommentTag, 7, uint32(len(comment)), 44)
	return append(out, comment...)
}

func jpegWith(t *testing.T, text string, order, letters binary.AppendByteOrder) []byte {
	t.Helper()
	var plain bytes.Buffer
	if err := jpeg.Encode(&plain, image.NewGray(image.Rect(0, 0, 8, 8)), nil); err != nil {
		t.Fatal(err)
	}
	block := append([]byte(exifMark), exifWith(text, order, letters)...)
	segment := binary.BigEndian.AppendUint16([]byte{0xFF, 0xE1}, uint16(len(block)+2))
	return append(append(append(plain.Bytes()[:2:2], segment...), block...), plain.Bytes()[2:]...)
}

// webpWith has no pixels: none are looked at.
func webpWith(exif []byte) []byte {
	chunk := func(kind string, data []byte) []byte {
		out := append(binary.LittleEndian.AppendUint32([]byte(kind), uint32(len(data))), data...)
		return append(out, make([]byte, len(data)%2)...)
	}
	body := append(append([]byte("WEBP"), chunk("VP8X", []byte{8, 0, 0})...), chunk("EXIF", exif)...)
	return append(binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(body))), body...)
}

const comfyPrompt = `{
 "3": {"class_type":"KSampler","inputs":{"seed":1125899906842624001,"steps":25,"cfg":6,"sampler_name":"dpmpp_2m_sde_gpu","scheduler":"beta",
   "denoise":1,"model":["11",0],"positive":["6",0],"negative":["7",0],"latent_image":["5",0]},"is_changed":[NaN]},
 "4": {"class_type":"CheckpointLoaderSimple","inputs":{"ckpt_name":"sd15\\dream.safetensors"}},
 "5": {"class_type":"EmptyLatentImage","inputs":{"width":640,"height":["20",0],"batch_size":2}},
 "6": {"class_type":"CLIPTextEncode","inputs":{"text":["21",0],"clip":["9",0]}},
 "7": {"class_type":"CLIPTextEncode","inputs":{"text":"blurred","clip":["9",0]}},
 "8": {"class_type":"VAEDecode","inputs":{"samples":["3",0],"vae":["12",0]}},
 "9": {"class_type":"CLIPSetLastLayer","inputs":{"stop_at_clip_layer":-2,"clip":["10",1]}},
 "10": {"class_type":"LoraLoader","inputs":{"lora_name":"a.safetensors","strength_model":0.5,"strength_clip":0.5,"model":["4",0],"clip":["4",1]}},
 "11": {"class_type":"LoraLoaderModelOnly","inputs":{"lora_name":"b.pt","strength_model":1,"model":["10",0]}},
 "12": {"class_type":"VAELoader","inputs":{"vae_name":"vae-ft-mse.safetensors"}},
 "20": {"class_type":"PrimitiveInt","inputs":{"value":384}},
 "21": {"class_type":"StringConcat","inputs":{"string":"a (hat:1.1)"}},
 "30": null
}`

func TestRecipeOfComfyUI(t *testing.T) {
	got := recipeOf(t, pngWith(t, Text{"prompt", comfyPrompt}, Text{"workflow", "{}"}))
	want := Recipe{Source: FromComfyUI, Parameters: Parameters{
		Prompt: "a (hat:1.1) <lora:b:1> <lora:a:0.5>", Negative: "blurred", Steps: 25, Sampler: "dpmpp_2m_sde_gpu", Schedule: "beta_comfy",
		Guidance: 6, Seed: 1125899906842624001, Width: 640, Height: 384, Model: "sd15/dream",
		Extra: []Field{{"Dialect", "comfy"}, {"Clip skip", "2"}, {"VAE", "vae-ft-mse"}},
	}}
	if len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "batch of 2") {
		t.Errorf("notes %q", got.Notes)
	}
	got.Notes = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

const comfyCustom = `{
 "1": {"class_type":"SamplerCustomAdvanced","inputs":{"noise":["2",0],"guider":["3",0],"sampler":["4",0],"sigmas":["5",0],"latent_image":["6",0]}},
 "2": {"class_type":"RandomNoise","inputs":{"noise_seed":5}},
 "3": {"class_type":"CFGGuider","inputs":{"cfg":4,"model":["7",0],"positive":["8",0],"negative":["9",0]}},
 "4": {"class_type":"SamplerEulerAncestral","inputs":{"eta":0.5,"s_noise":1}},
 "5": {"class_type":"KarrasScheduler","inputs":{"steps":12,"sigma_max":14.6,"sigma_min":0.03,"rho":7}},
 "6": {"class_type":"LatentUpscale","inputs":{"samples":["10",0]}},
 "7": {"class_type":"FreeU_V2","inputs":{"model":["11",0]}},
 "8": {"class_type":"ControlNetApply","inputs":{"conditioning":["12",0]}},
 "9": {"class_type":"ConditioningZeroOut","inputs":{"conditioning":["12",0]}},
 "10": {"class_type":"EmptyLatentImage","inputs":{"width":512,"height":512,"batch_size":1}},
 "11": {"class_type":"UNETLoader","inputs":{"unet_name":"u.safetensors"}},
 "12": {"class_type":"CLIPTextEncode","inputs":{"text":"a dog"}}
}`

func TestRecipeOfCustomSampler(t *testing.T) {
	r := recipeOf(t, pngWith(t, Text{"prompt", comfyCustom}))
	if r.Prompt != "a dog" || r.Seed != 5 || r.Guidance != 4 || r.Steps != 12 || r.Schedule != "karras" || r.Sampler != "euler_ancestral" ||
		r.Model != "u" || r.Width != 512 {
		t.Errorf("%+v", r)
	}
	notes := strings.Join(r.Notes, "; ")
	for _, part := range []string{"LatentUpscale is not", "FreeU_V2 is not", "ControlNetApply is not", "ConditioningZeroOut is not"} {
		if !strings.Contains(notes, part) {
			t.Errorf("notes %q do not say that %s followed", notes, part)
		}
	}
}

const comfyWorkflow = `{"nodes":[
 {"id":3,"type":"KSampler","inputs":[{"name":"model","link":1},{"name":"positive","link":4},{"name":"negative","link":6},{"name":"latent_image","link":2}],
  "widgets_values":[77,"randomize",9,8,"euler","normal",0.5]},
 {"id":4,"type":"CheckpointLoaderSimple","widgets_values":["m.ckpt"]},
 {"id":5,"type":"EmptyLatentImage","widgets_values":[256,128,1]},
 {"id":6,"type":"CLIPTextEncode","widgets_values":["good"]},
 {"id":7,"type":"CLIPTextEncode","widgets_values":["bad"]},
 {"id":8,"type":"Note","widgets_values":{"a":1}}],
 "links":[[1,4,0,3,0,"MODEL"],[2,5,0,3,3,"LATENT"],[4,6,0,3,1,"CONDITIONING"],[6,7,0,3,2,"CONDITIONING"]]}`

func TestRecipeOfWorkflow(t *testing.T) {
	r := recipeOf(t, pngWith(t, Text{"workflow", comfyWorkflow}))
	want := Parameters{Prompt: "good", Negative: "bad", Steps: 9, Sampler: "euler", Schedule: "normal", Guidance: 8, Seed: 77,
		Width: 256, Height: 128, Model: "m", Extra: []Field{{"Dialect", "comfy"}}}
	if diff := cmp.Diff(want, r.Parameters); diff != "" {
		t.Error(diff)
	}
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "denoise 0.5") {
		t.Errorf("notes %q", r.Notes)
	}
}

// TestRecipeOfCircles: graphs whose links go round end.
func TestRecipeOfCircles(t *testing.T) {
	r := recipeOf(t, pngWith(t, Text{"prompt", `{
	 "1": {"class_type":"KSampler","inputs":{"seed":["2",0],"model":["3",0],"positive":["4",0],"negative":["4",0],"latent_image":["5",0]}},
	 "2": {"class_type":"X","inputs":{"value":["2",0]}},
	 "3": {"class_type":"LoraLoader","inputs":{"lora_name":"l","strength_model":1,"model":["3",0]}},
	 "4": {"class_type":"ConditioningCombine","inputs":{"conditioning_1":["4",0]}},
	 "5": {"class_type":"Y","inputs":{"samples":["5",0]}}}`}))
	if len(r.Notes) == 0 || len(r.Notes) > mostNotes || len(r.Prompt) > 10_000 {
		t.Errorf("%d notes, a prompt of %d bytes", len(r.Notes), len(r.Prompt))
	}
}

func TestRecipeRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		file []byte
		want error
	}{
		"text":           {[]byte("hello"), ErrFormat},
		"empty":          {nil, ErrFormat},
		"says nothing":   {pngWith(t), ErrNoRecipe},
		"another prompt": {pngWith(t, Text{"prompt", "a cat"}), ErrNoRecipe},
		"no sampler":     {pngWith(t, Text{"prompt", `{"1":{"class_type":"Note","inputs":{}}}`}), ErrNoRecipe},
		"bare JPEG":      {[]byte{0xFF, 0xD8}, ErrNoRecipe},
	} {
		if _, err := RecipeOf(test.file); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
	if _, err := RecipeOf(pngWith(t, Text{"prompt", `{"1":`})); err == nil || !strings.Contains(err.Error(), "ComfyUI's prompt") {
		t.Errorf("broken JSON: %v", err)
	}
	many, err := json.Marshal(map[string]any{"nodes": make([]struct{}, mostNodes+1)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := RecipeOf(pngWith(t, Text{"workflow", string(many)})); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("many nodes: %v", err)
	}
}

func FuzzRecipeOf(f *testing.F) {
	f.Add(pngWith(f, Text{"parameters", a1111Text}))
	f.Add(pngWith(f, Text{"prompt", comfyPrompt}))
	f.Add(webpWith(exifWith(a1111Text, binary.LittleEndian, binary.BigEndian)))
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := RecipeOf(file)
		if err == nil && len(r.Notes) > mostNotes+mostFields {
			t.Errorf("%d notes", len(r.Notes))
		}
	})
}

// FuzzComfy mutates graphs, which a checksum does not guard.
func FuzzComfy(f *testing.F) {
	f.Add("prompt", comfyPrompt)
	f.Add("prompt", comfyCustom)
	f.Add("workflow", comfyWorkflow)
	f.Fuzz(func(t *testing.T, keyword, text string) {
		r, err := comfyRecipe(keyword, []byte(text))
		if err == nil && (len(r.Notes) > mostNotes || r.Steps < -1<<31) {
			t.Errorf("%+v", r)
		}
	})
}

// FuzzUserComment mutates EXIF blocks.
func FuzzUserComment(f *testing.F) {
	f.Add(exifWith(a1111Text, binary.LittleEndian, binary.BigEndian))
	f.Add(exifWith("x", binary.BigEndian, binary.BigEndian))
	f.Fuzz(func(t *testing.T, tiff []byte) {
		if text := userComment(tiff); len(text) > 3*len(tiff) {
			t.Errorf("%d bytes out of %d", len(text), len(tiff))
		}
	})
}
