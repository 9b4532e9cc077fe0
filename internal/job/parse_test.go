package job

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// with is a generation request with members added or replaced.
func with(extra string) string {
	return `{"operation":"image_generation","hive_id":"localhost","model":"m","prompt":"a lighthouse"` + extra + `}`
}

func pngBytes(t testing.TB, w, h int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewNRGBA(image.Rect(0, 0, w, h))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestParseDefaults(t *testing.T) {
	got, err := Parse([]byte(with(`,"negative_prompt":null,"seed":null,"steps":null,"loras":[],"unknown":{"a":1}`)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(NewRequest(Generation, "m", "a lighthouse"), got); diff != "" {
		t.Errorf("defaults differ (-want +got):\n%s", diff)
	}
	if got.Steps != 20 || got.GuidanceScale != 7.5 || got.Width != 512 || got.Height != 512 || got.Seed != nil {
		t.Errorf("wire defaults are 20 steps, 7.5, 512×512, no seed; got %+v", got)
	}
}

func TestParseMembers(t *testing.T) {
	got, err := Parse([]byte(with(`,"steps":4,"guidance_scale":7,"seed":18446744073709551615,"width":256,"height":64,
		"sampler":"DPM_Solver_Multistep","schedule":"Karras","batch":3,"priority":"high","clip_skip":2,"eta":0,
		"loras":[{"path":"ink"},{"path":"a/b.safetensors","strength":-2}],"variation":{"seed":3,"strength":0.5},
		"hires":{"scale":1.5},"webhook":{"url":"https://example.org/x"},"id":"my-job_1"`)))
	if err != nil {
		t.Fatal(err)
	}
	seed, eta := uint64(18446744073709551615), 0.0
	want := NewRequest(Generation, "m", "a lighthouse")
	want.Steps, want.GuidanceScale, want.Seed, want.Width, want.Height = 4, 7, &seed, 256, 64
	want.Sampler, want.Schedule, want.Batch, want.Priority, want.ClipSkip, want.Eta = "DPM_Solver_Multistep", "Karras", 3, High, 2, &eta
	want.LoRAs = []LoRA{{"ink", 1}, {"a/b.safetensors", -2}}
	want.Variation, want.Hires = &Variation{3, 0.5}, &Hires{Scale: 1.5, Strength: 0.7}
	want.Webhook, want.ID = &Webhook{"https://example.org/x"}, "my-job_1"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseErrors(t *testing.T) {
	lora := func(path string) string { return with(fmt.Sprintf(`,"loras":[{"path":%q}]`, path)) }
	for _, row := range []struct{ name, body, want string }{
		{"not JSON", `{not json`, "Failed to parse the request body as JSON"},
		{"not UTF-8", "\"\xff\"", "Failed to parse the request body as JSON"},
		{"trailing text", with("") + "x", "Failed to parse the request body as JSON"},
		{"array", `[]`, "Failed to parse operation: the body must be a JSON object"},
		{"null", `null`, "Failed to parse operation: the body must be a JSON object"},
		{"no operation", `{}`, "Failed to parse operation: missing field `operation`"},
		{"unknown operation", `{"operation":"make_coffee"}`, `Failed to parse operation: unknown operation "make_coffee"`},
		{"other operation", `{"operation":"status"}`, "Unsupported operation for SD worker: status"},
		{"no prompt", `{"operation":"image_generation","hive_id":"h","model":"m"}`, "Failed to parse operation: missing field `prompt`"},
		{"other case", `{"operation":"image_generation","hive_id":"h","model":"m","Prompt":"x"}`, "Failed to parse operation: missing field `prompt`"},
		{"null prompt", with(`,"prompt":null`), "Failed to parse operation: missing field `prompt`"},
		{"prompt number", with(`,"prompt":7`), "Failed to parse operation: field `prompt`: expected a string, got 7"},
		{"steps fraction", with(`,"steps":20.0`), "Failed to parse operation: field `steps`: expected an unsigned integer, got 20.0"},
		{"steps exponent", with(`,"steps":2e1`), "Failed to parse operation: field `steps`"},
		{"steps negative", with(`,"steps":-1`), "Failed to parse operation: field `steps`"},
		{"steps huge", with(`,"steps":4294967295`), "Failed to parse operation: field `steps`"},
		{"seed too large", with(`,"seed":18446744073709551616`), "Failed to parse operation: field `seed`: expected an unsigned 64-bit integer"},
		{"guidance overflow", with(`,"guidance_scale":1e999`), "Failed to parse operation: field `guidance_scale`: expected a number"},
		{"loras object", with(`,"loras":{}`), "Failed to parse operation: field `loras`: expected an array, got {}"},
		{"lora without path", with(`,"loras":[{"path":"x"},{}]`), "Failed to parse operation: missing field `loras[1].path`"},
		{"variation without seed", with(`,"variation":{"strength":1}`), "Failed to parse operation: missing field `variation.seed`"},

		{"NaN", with(`,"guidance_scale":NaN`), "Failed to parse the request body as JSON: invalid character 'N'"},
		{"infinity", with(`,"guidance_scale":-Infinity`), "Failed to parse the request body as JSON"},
		{"steps 1e400", with(`,"steps":1e400`), "Failed to parse operation: field `steps`: expected an unsigned integer, got 1e400"},
		{"sigma 1e400", with(`,"sigmas":[1e400,0]`), "Failed to parse operation: field `sigmas`: expected an array of numbers"},
		{"seed of 1000 digits", with(`,"seed":` + strings.Repeat("9", 1000)), "Failed to parse operation: field `seed`: expected an unsigned 64-bit integer, got 9999"},
		{"nested too deep", with(`,"x":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)), "Failed to parse the request body as JSON: invalid character '[' exceeded max depth"},
		{"open nesting", strings.Repeat(`{"a":`, 1_000_000), "Failed to parse the request body as JSON"},
		{"a million members", with(strings.Repeat(`,"a":0`, 1_000_000)), "Failed to parse operation: more than 10000 values"},
		{"a million sigmas", with(`,"sigmas":[0` + strings.Repeat(`,0`, 1_000_000) + `]`), "Failed to parse operation: more than 10000 values"},
		{"the last of a name twice", with(`,"steps":4,"steps":0`), "Invalid input: steps must be 1 to 150, got 0"},

		{"steps 0", with(`,"steps":0`), "Invalid input: steps must be 1 to 150, got 0"},
		{"steps 151", with(`,"steps":151`), "Invalid input: steps must be 1 to 150, got 151"},
		{"guidance low", with(`,"guidance_scale":-1`), "Invalid input: guidance_scale must be 0 to 20, got -1"},
		{"guidance high", with(`,"guidance_scale":20.5`), "Invalid input: guidance_scale must be 0 to 20, got 20.5"},
		{"width 250", with(`,"width":250`), "Invalid input: width must be a multiple of 8, got 250"},
		{"width 260", with(`,"width":260`), "Invalid input: width must be a multiple of 8"},
		{"height 2056", with(`,"height":2056`), "Invalid input: height must be 64 to 2048, got 2056"},
		{"empty prompt", with(`,"prompt":"  "`), "Invalid input: prompt must not be empty"},
		{"5000 words", with(`,"prompt":"` + strings.Repeat("cat ", 5000) + `"`), "Invalid input: Prompt too long"},
		{"1 MB prompt", with(`,"prompt":"` + strings.Repeat("a", 1<<20) + `"`), "Invalid input: Prompt too long"},
		{"long negative", with(`,"negative_prompt":"` + strings.Repeat("cat ", 5000) + `"`), "Invalid input: Negative prompt too long"},
		{"bad id", with(`,"id":"../x"`), "Invalid input: id must be"},
		{"batch", with(`,"batch":65`), "Invalid input: batch must be 1 to 64"},
		{"dialect", with(`,"dialect":"basic"`), "Invalid input: dialect must be one of"},
		{"sigmas ascending", with(`,"sigmas":[1,2,0]`), "Invalid input: sigmas must descend"},
		{"sigmas end", with(`,"sigmas":[2,1]`), "Invalid input: sigmas must end in 0"},
		{"lora up", lora("../etc/passwd"), "Invalid input: loras[0].path must be a name"},
		{"lora absolute", lora("/etc/passwd"), "Invalid input: loras[0].path must be a name"},
		{"lora windows", lora(`c:\x`), "Invalid input: loras[0].path must be a name"},
		{"webhook", with(`,"webhook":{"url":"file:///x"}`), "Invalid input: webhook.url"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Parse([]byte(row.body))
			wantError(t, err, row.want)
		})
	}
}

// TestParseOdd: what is unusual and right.
func TestParseOdd(t *testing.T) {
	for name, row := range map[string]struct{ body, prompt string }{
		"half a surrogate":          {with(`,"prompt":"a\ud800b"`), "a\ufffdb"},
		"a whole surrogate":         {with(`,"prompt":"\ud83d\udc1d"`), "🐝"},
		"commas in a text":          {with(`,"prompt":"` + strings.Repeat(`,\"`, 12_000) + `"`), strings.Repeat(`,"`, 12_000)},
		"a name twice":              {with(`,"prompt":"x","prompt":"y"`), "y"},
		"deep in what is not known": {with(`,"prompt":"x","x":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000)), "x"},
	} {
		if r, err := Parse([]byte(row.body)); err != nil || r.Prompt != row.prompt {
			t.Errorf("%s: prompt %.40q, %v", name, r.Prompt, err)
		}
	}
}

// TestParseTruncated: no part of a body is taken for the whole.
func TestParseTruncated(t *testing.T) {
	body := with(`,"loras":[{"path":"x"}],"sigmas":[2,1.5e0,0],"variation":{"seed":1,"strength":0.5},"negative_prompt":"\u00e9\n"`)
	if _, err := Parse([]byte(body)); err != nil {
		t.Fatal(err)
	}
	for n := range len(body) {
		if _, err := Parse([]byte(body[:n])); KindOf(err) != InvalidInput {
			t.Errorf("%s: %v", body[:n], err)
		}
	}
}

// wantError checks that err is the caller's fault and begins with want.
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Kind != InvalidInput || !strings.HasPrefix(e.Message, want) {
		t.Errorf("got %v, want an invalid_input error beginning %q", err, want)
	}
}

func TestParsePictures(t *testing.T) {
	picture := base64.StdEncoding.EncodeToString(pngBytes(t, 100, 70))
	small := base64.StdEncoding.EncodeToString(pngBytes(t, 100, 60))
	op := func(op, members string) string {
		return `{"operation":"` + op + `","hive_id":"h","model":"m","prompt":"p"` + members + `}`
	}
	for _, name := range []string{"input_image", "init_image"} {
		r, err := Parse([]byte(op("image_transform", `,"`+name+`":"`+picture+`"`)))
		if err != nil || len(r.InputImage) == 0 || r.Strength != 0.8 || r.Width != 0 {
			t.Errorf("%s: got %d bytes, strength %g, width %d, error %v", name, len(r.InputImage), r.Strength, r.Width, err)
		}
	}
	for _, row := range []struct{ name, body, want string }{
		{"missing", op("image_transform", ""), "Failed to parse operation: missing field `input_image`"},
		{"mask missing", op("image_inpaint", `,"init_image":"`+picture+`"`), "Failed to parse operation: missing field `mask_image`"},
		{"not base64", op("image_transform", `,"input_image":"%%%"`), "Failed to decode base64 input image"},
		{"no padding", op("image_transform", `,"input_image":"aGVsbG8"`), "Failed to decode base64 input image"},
		{"line break", op("image_transform", `,"input_image":"aGVs\nbG8="`), "Failed to decode base64 input image"},
		{"data URL", op("image_transform", `,"input_image":"data:image/png;base64,`+picture+`"`), "Failed to decode base64 input image"},
		{"text", op("image_transform", `,"input_image":"aGVsbG8="`), "Failed to load image from memory"},
		{"too small", op("image_transform", `,"input_image":"`+small+`"`), "Invalid input: input image is about 96×56 pixels"},
		{"strength", op("image_transform", `,"strength":1.5,"input_image":"`+picture+`"`), "Invalid input: strength must be 0 to 1, got 1.5"},
		{"mask text", op("image_inpaint", `,"init_image":"`+picture+`","mask_image":"aGVsbG8="`), "Failed to load image from memory: mask image"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Parse([]byte(row.body))
			wantError(t, err, row.want)
		})
	}
}

// TestRequestJSON: what the client sends is what the server reads, and the
// digest depends on content alone.
func TestRequestJSON(t *testing.T) {
	zero := NewRequest(Transform, "m", "p")
	zero.Strength, zero.InputImage, zero.GuidanceScale = 0, pngBytes(t, 64, 64), 0
	inpaint := NewRequest(Inpaint, "m", "p")
	inpaint.InputImage, inpaint.MaskImage = zero.InputImage, pngBytes(t, 64, 128)
	for _, want := range []Request{NewRequest(Generation, "m", "p"), zero, inpaint} {
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(b)
		if err != nil {
			t.Fatalf("%s: %v", want.Operation, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", want.Operation, diff)
		}
	}
	one, _ := Parse([]byte(with(`,"steps":20`)))
	two, _ := Parse([]byte(`{ "prompt":"a lighthouse","model":"m","hive_id":"localhost","operation":"image_generation"}`))
	other, _ := Parse([]byte(with(`,"steps":21`)))
	a, _ := one.Digest()
	b, _ := two.Digest()
	c, _ := other.Digest()
	if a != b || a == c {
		t.Errorf("digests: same content %q and %q, other content %q", a, b, c)
	}
}

// FuzzParse: any bytes give a valid request that survives the wire, or one of
// the known errors; never a panic.
func FuzzParse(f *testing.F) {
	picture := base64.StdEncoding.EncodeToString(pngBytes(f, 64, 64))
	f.Add([]byte(with(`,"loras":[{"path":"x"}],"sigmas":[2,1,0]`)))
	f.Add([]byte(`{"operation":"image_inpaint","hive_id":"h","model":"m","prompt":"p","init_image":"` + picture + `","mask_image":"` + picture + `"}`))
	f.Add([]byte(with(`,"controls":[{"model":"c","image":"` + picture + `"}],"hires":{},"variation":{"seed":1,"strength":0}`)))
	f.Add([]byte(`{"operation":"status"}`))
	f.Add([]byte(with(`,"guidance_scale":1e308,"seed":18446744073709551615,"prompt":"\ud800"`)))
	f.Add([]byte(with(`,"x":[[[[[[{"a":{"b":[]}}]]]]]],"steps":4,"steps":5`)))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := Parse(body)
		if err != nil {
			if KindOf(err) != InvalidInput {
				t.Fatalf("error of kind %s: %v", KindOf(err), err)
			}
			return
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(b)
		if err != nil {
			t.Fatalf("%s does not parse again: %v", b, err)
		}
		if diff := cmp.Diff(r, again); diff != "" {
			t.Fatalf("changed on the wire (-first +again):\n%s", diff)
		}
	})
}
