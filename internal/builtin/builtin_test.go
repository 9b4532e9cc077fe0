package builtin

import (
	"encoding/json"
	"image"
	"image/color"
	"io/fs"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestFilesAreADiffusersFolder(t *testing.T) {
	files := Files()
	for _, name := range []string{"model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json",
		"unet/config.json", "vae/config.json", "tokenizer/vocab.json"} {
		raw, err := fs.ReadFile(files, name)
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(raw) {
			t.Errorf("%s is not JSON", name)
		}
	}
	for name, least := range map[string]int64{"text_encoder/model.safetensors": 800_000,
		"unet/diffusion_pytorch_model.safetensors": 6_000_000, "vae/diffusion_pytorch_model.safetensors": 1_000_000,
		"tokenizer/merges.txt": 1000} {
		info, err := fs.Stat(files, name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() < least {
			t.Errorf("%s has %d bytes, want at least %d", name, info.Size(), least)
		}
	}
}

func TestExamplePromptsCanBeChecked(t *testing.T) {
	for _, prompt := range ExamplePrompts {
		if scene, ok := ParsePrompt(prompt); !ok || len(scene.Objects) == 0 || scene.Background == "" {
			t.Errorf("ParsePrompt(%q) = %+v, %v", prompt, scene, ok)
		}
	}
}

func TestParsePromptKnowsThe64(t *testing.T) {
	for _, c := range Prompts64() {
		got, ok := ParsePrompt(c.Prompt)
		if !ok {
			t.Errorf("%q not understood", c.Prompt)
		} else if diff := cmp.Diff(c.Scene, got); diff != "" {
			t.Errorf("%q: want -, got +\n%s", c.Prompt, diff)
		}
	}
}

func TestParsePromptKnowsTrainingCaptions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		want := randomScene(rng)
		text, said := caption(want, rng)
		if !said {
			want.Background = ""
		}
		got, ok := ParsePrompt(text)
		if diff := cmp.Diff(want, got); !ok || diff != "" {
			t.Errorf("%q: understood %v; want -, got +\n%s", text, ok, diff)
		}
	})
}

func TestParsePromptRefuses(t *testing.T) {
	for _, prompt := range []string{
		"", ".", "a", "red", "a red", "a dog on a red background", "a red circle on a mauve background",
		"a red circle on a blue background with fog", "a red circle to the left of", "red circle blue background",
		"a red circle on a red background", "a small red circle above a blue star", "a red circle above a large blue star",
		"a red circle on blue on green", "a red circle on the left on the right", "a large circle on red",
		"a red circle to the left of a blue star above a green ring",
		"background with a red circle", "on a red background", strings.Repeat("a red circle on ", 100_000),
	} {
		if scene, ok := ParsePrompt(prompt); ok {
			t.Errorf("ParsePrompt(%.60q) = %+v, want refusal", prompt, scene)
		}
	}
}

func FuzzParsePrompt(f *testing.F) {
	for _, c := range Prompts64() {
		f.Add(c.Prompt)
	}
	f.Fuzz(func(t *testing.T, prompt string) {
		if scene, ok := ParsePrompt(prompt); ok {
			if err := scene.validate(); err != nil {
				t.Errorf("ParsePrompt(%q): %v", prompt, err)
			}
		}
	})
}

func TestCheckAgreesWithReference(t *testing.T) {
	pictures, right := References(), 0
	if len(pictures) != len(Prompts64()) {
		t.Fatalf("%d pictures for %d prompts", len(pictures), len(Prompts64()))
	}
	for i, c := range Prompts64() {
		got, err := Check(pictures[i], c.Scene)
		if err != nil {
			t.Fatal(err)
		}
		if got != c.Reference {
			t.Errorf("picture %d, %q: got %v, want %v", i, c.Prompt, got, c.Reference)
		}
		if got.Right() {
			right++
		}
	}
	if right != 63 {
		t.Errorf("%d of 64 right, want 63", right)
	}
}

func TestCheckRefusesPicturesOfOtherPrompts(t *testing.T) {
	pictures, cases := References(), Prompts64()
	for i, c := range cases {
		for other := 1; other < len(cases); other += 6 { // all of them take a minute under the race detector
			j := (i + other) % len(cases)
			if got := verdict(t, pictures[j], c.Scene); got.Right() {
				t.Errorf("the picture of %q passes for %q", cases[j].Prompt, c.Prompt)
			}
		}
	}
}

func TestCheckAcceptsTrueScenes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		scene := randomScene(rng)
		if got := verdict(t, paint(scene, rng), scene); !got.Right() {
			t.Errorf("%+v: %v", scene, got)
		}
	})
}

func TestCheckRefusesFalseScenes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		shown := randomScene(rng)
		asked := randomScene(rng)
		same := cmp.Equal(shown, asked)
		if got := verdict(t, paint(shown, rng), asked); got.Right() != same {
			t.Errorf("shown %+v, asked %+v: %v", shown, asked, got)
		}
	})
}

func verdict(t rapid.TB, picture image.Image, scene Scene) Verdict {
	got, err := Check(picture, scene)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestCheckTellsWhatIsWrong(t *testing.T) {
	single := Scene{Background: "black", Objects: []Object{{"star", "yellow"}}, Size: Medium, Place: Center}
	pair := Scene{Background: "white", Objects: []Object{{"ring", "red"}, {"cross", "blue"}}, Relation: LeftOf}
	all := Verdict{true, true, true, true}
	for _, row := range []struct {
		name   string
		shown  Scene
		change func(*Scene)
		want   Verdict
	}{
		{"same", single, func(*Scene) {}, all},
		{"background", single, func(s *Scene) { s.Background = "blue" }, Verdict{false, true, true, true}},
		{"any background", single, func(s *Scene) { s.Background = "" }, all},
		{"colour", single, func(s *Scene) { s.Objects = []Object{{"star", "orange"}} }, Verdict{true, false, true, true}},
		{"shape", single, func(s *Scene) { s.Objects = []Object{{"heart", "yellow"}} }, Verdict{true, true, false, true}},
		{"place", single, func(s *Scene) { s.Place = Left }, Verdict{true, true, true, false}},
		{"too large", single, func(s *Scene) { s.Size = Small }, Verdict{true, false, true, true}},
		{"too small", single, func(s *Scene) { s.Size = Large }, Verdict{true, false, true, true}},
		{"not plain", single, func(s *Scene) { s.Objects = nil }, Verdict{true, false, true, true}},
		{"pair", pair, func(*Scene) {}, all},
		{"pair turned round", pair, func(s *Scene) { s.Objects = []Object{{"cross", "blue"}, {"ring", "red"}} },
			Verdict{true, false, false, true}},
		{"a pair's first colour", pair, func(s *Scene) { s.Objects = []Object{{"ring", "pink"}, {"cross", "blue"}} },
			Verdict{true, false, true, true}},
		{"a pair's second shape", pair, func(s *Scene) { s.Objects = []Object{{"ring", "red"}, {"star", "blue"}} },
			Verdict{true, true, false, true}},
		{"empty", Scene{Background: "black"}, func(s *Scene) { *s = single }, Verdict{true, false, false, false}},
	} {
		t.Run(row.name, func(t *testing.T) {
			asked := row.shown
			row.change(&asked)
			picture := paint(row.shown, rand.New(rand.NewPCG(1, 2)))
			if got := verdict(t, picture, asked); got != row.want {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

func TestCheckRefusesBadInput(t *testing.T) {
	good := Scene{Background: "black", Objects: []Object{{"star", "yellow"}}, Size: Medium, Place: Center}
	picture := image.NewNRGBA(image.Rect(0, 0, Side, Side))
	for _, row := range []struct {
		name, want string
		picture    image.Image
		change     func(*Scene)
	}{
		{"size", "64×128", image.NewGray(image.Rect(0, 0, 64, 128)), func(*Scene) {}},
		{"background", `background "mauve"`, picture, func(s *Scene) { s.Background = "mauve" }},
		{"colour", `colour ""`, picture, func(s *Scene) { s.Objects = []Object{{"star", ""}} }},
		{"shape", `shape "dog"`, picture, func(s *Scene) { s.Objects = []Object{{"dog", "red"}} }},
		{"object size", `size ""`, picture, func(s *Scene) { s.Size = "" }},
		{"place", `place "here"`, picture, func(s *Scene) { s.Place = "here" }},
		{"relation", `relation ""`, picture, func(s *Scene) { s.Objects = make2(good.Objects[0]) }},
		{"many", "3 objects", picture, func(s *Scene) { s.Objects = append(make2(good.Objects[0]), good.Objects[0]) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			scene := good
			row.change(&scene)
			if _, err := Check(row.picture, scene); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want an error with %q", err, row.want)
			}
		})
	}
}

func make2(o Object) []Object { return []Object{o, o} }

func TestCheckTakesAnyImageKind(t *testing.T) {
	scene := Scene{Background: "black", Objects: []Object{{"star", "yellow"}}, Size: Medium, Place: Center}
	painted := paint(scene, rand.New(rand.NewPCG(1, 2)))
	shifted := image.NewRGBA64(image.Rect(-7, 9, -7+Side, 9+Side))
	for i := range Side * Side {
		shifted.Set(i%Side-7, i/Side+9, painted.At(i%Side, i/Side))
	}
	if got := verdict(t, shifted, scene); !got.Right() {
		t.Error(got)
	}
}

func TestVerdictString(t *testing.T) {
	for want, v := range map[string]Verdict{
		"right":                                  {true, true, true, true},
		"wrong shape":                            {true, true, false, true},
		"wrong background, colour, shape, place": {},
	} {
		if got := v.String(); got != want {
			t.Errorf("%+v: got %q, want %q", v, got, want)
		}
	}
}

func TestDifference(t *testing.T) {
	a, b := image.NewNRGBA(image.Rect(0, 0, 2, 2)), image.NewNRGBA(image.Rect(5, 5, 7, 7))
	b.Set(5, 6, color.NRGBA{12, 0, 24, 255})
	if got, want := Difference(a, b), 3.0; math.Abs(got-want) > 1e-9 {
		t.Errorf("got %g, want %g", got, want)
	}
	if got := Difference(a, image.NewNRGBA(image.Rect(0, 0, 2, 3))); got != 255 {
		t.Errorf("sizes differ: got %g, want 255", got)
	}
}
