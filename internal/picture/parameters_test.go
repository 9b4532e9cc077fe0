package picture

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func TestParametersText(t *testing.T) {
	for _, row := range []struct {
		name       string
		parameters Parameters
		want       string
	}{
		{"ours", Parameters{Prompt: "a yellow star on a black background", Negative: "blur", Steps: 20, Sampler: "DDIM",
			Schedule: "Normal", Guidance: 5, Seed: 1, Width: 128, Height: 128, Model: "tiny-shapes", Version: "waggle 0.1"},
			"a yellow star on a black background\nNegative prompt: blur\nSteps: 20, Sampler: DDIM, Schedule type: Normal, " +
				"CFG scale: 5, Seed: 1, Size: 128x128, Model: tiny-shapes, Version: waggle 0.1"},
		{"little", Parameters{Prompt: "a", Steps: 1, Guidance: 7.5, Seed: 1<<64 - 1},
			"a\nSteps: 1, CFG scale: 7.5, Seed: 18446744073709551615"},
		{"nothing", Parameters{}, "Steps: 0, CFG scale: 0, Seed: 0"},
		{"quotes", Parameters{Prompt: "say \"hi\", \\o/\n\nnow: yes", Extra: []Field{{"Lora hashes", `a: 1, b: "2"`}, {"Clip skip", "2"}}},
			"say \"hi\", \\o/\n\nnow: yes\nSteps: 0, CFG scale: 0, Seed: 0, Lora hashes: \"a: 1, b: \\\"2\\\"\", Clip skip: 2"},
		{"prompt that looks like a negative one", Parameters{Prompt: "Negative prompt: <fog>", Negative: "b"},
			"Negative prompt: <fog>\nNegative prompt: b\nSteps: 0, CFG scale: 0, Seed: 0, " +
				"Prompt: \"Negative prompt: <fog>\", Negative prompt: b"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := row.parameters.String()
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("want -, got +\n%s", diff)
			}
			back, err := ParseParameters(got)
			if diff := cmp.Diff(row.parameters, back); err != nil || diff != "" {
				t.Errorf("read back: %v; want -, got +\n%s", err, diff)
			}
		})
	}
}

func TestParseParametersOfOthers(t *testing.T) {
	for _, row := range []struct {
		name, text string
		want       Parameters
	}{
		{"nothing", "", Parameters{}},
		{"a prompt alone", "a cat, sitting: yes", Parameters{Prompt: "a cat, sitting: yes"}},
		{"two lines of prompt", " a cat \r\n on a mat ", Parameters{Prompt: "a cat\non a mat"}},
		{"no prompt", "Negative prompt: fog\nSteps: 3, Seed: 4, CFG scale: 7", Parameters{Negative: "fog", Steps: 3, Seed: 4, Guidance: 7}},
		{"hashes as an object", `a
Steps: 25, Sampler: Euler a, CFG scale: 7, Seed: 9, Size: 64x32, Hashes: {"vae": "735e", "model": "e1441589a6"}, Version: v1.6.0`,
			Parameters{Prompt: "a", Steps: 25, Sampler: "Euler a", Guidance: 7, Seed: 9, Width: 64, Height: 32, Version: "v1.6.0",
				Extra: []Field{{"Hashes", `{"vae": "735e", "model": "e1441589a6"}`}}}},
		{"a quote that is not closed", `a
Steps: 1, CFG scale: 2, Seed: 3, Lora: "b, Clip skip: 2`,
			Parameters{Prompt: "a", Steps: 1, Guidance: 2, Seed: 3, Extra: []Field{{"Lora", `"b`}, {"Clip skip", "2"}}}},
		{"a key twice", "a\nSteps: 1, Steps: 2, Eta: 0, Eta: 1", Parameters{Prompt: "a", Steps: 2, Extra: []Field{{"Eta", "1"}}}},
		{"rubbish between", "a\nSteps: 1, ???, (x:1.2), CFG scale: 2, Seed: 3", Parameters{Prompt: "a", Steps: 1, Guidance: 2, Seed: 3}},
		{"an endless last line", "a\n" + strings.Repeat("a: [,", longestFields/5+1),
			Parameters{Prompt: "a\n" + strings.Repeat("a: [,", longestFields/5+1)}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := ParseParameters(row.text)
			if diff := cmp.Diff(row.want, got); err != nil || diff != "" {
				t.Errorf("%v; want -, got +\n%s", err, diff)
			}
		})
	}
}

func TestParseParametersNamesBadFields(t *testing.T) {
	got, err := ParseParameters("a\nSteps: -1, CFG scale: NaN, Seed: 1e5, Size: 5, Sampler: Euler")
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`Steps "-1"`, `CFG scale "NaN"`, `Seed "1e5"`, `Size "5"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
	if want := (Parameters{Prompt: "a", Sampler: "Euler"}); !cmp.Equal(want, got) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, size := range []string{"0x8", "8x0", "x", "-8x8", "8x8x8", "99999999999x1"} {
		if _, err := ParseParameters("Steps: 1, Seed: 1, Size: " + size); err == nil {
			t.Errorf("Size %s was taken", size)
		}
	}
}

func TestParametersSurviveAFile(t *testing.T) {
	texts := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
		"", "Negative prompt: x", "a\nNegative prompt:", "Steps: 1, Seed: 2, Size: 3x3", "  a\n b ", "星, \"q\": \\", "\x00", "\n"}))
	rapid.Check(t, func(t *rapid.T) {
		clean := func(label string) string { return strings.ReplaceAll(texts.Draw(t, label), "\x00", "") }
		want := Parameters{
			Prompt: clean("prompt"), Negative: clean("negative"), Sampler: clean("sampler"), Schedule: clean("schedule"),
			Model: clean("model"), Version: clean("version"), Steps: rapid.IntRange(0, 1000).Draw(t, "steps"),
			Guidance: rapid.Float64Range(-1e6, 1e6).Draw(t, "guidance"), Seed: rapid.Uint64().Draw(t, "seed"),
			Width: rapid.IntRange(1, 9999).Draw(t, "width"), Height: rapid.IntRange(1, 9999).Draw(t, "height"),
			Extra: []Field{{"Clip skip", clean("extra")}},
		}
		file, err := EncodePNG(gradient(), Text{ParametersKeyword, want.String()})
		if err != nil {
			t.Fatal(err)
		}
		got, ok, err := ParametersOf(file)
		if diff := cmp.Diff(want, got); diff != "" || err != nil || !ok {
			t.Errorf("%v, %v; want -, got +\n%s", ok, err, diff)
		}
	})
}

func FuzzParseParameters(f *testing.F) {
	f.Add("a\nNegative prompt: b\nSteps: 20, Sampler: DDIM, CFG scale: 5, Seed: 1, Size: 128x128, Model: tiny-shapes")
	f.Add(`"a", {b} [c]` + "\n\nSteps: 1, Seed: 2, Hashes: {\"a\": \"b, c\"}, Lora hashes: \"d: e\", Prompt: \"\"")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseParameters(text)
		if err != nil || len(text) > longestFields/8 { // quoting may make a line too long to be read as fields
			return
		}
		back, err := ParseParameters(p.String())
		if diff := cmp.Diff(p, back, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("%q → %q: %v; want -, got +\n%s", text, p.String(), err, diff)
		}
	})
}
