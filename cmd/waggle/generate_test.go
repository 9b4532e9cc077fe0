package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"waggle/internal/builtin"
	"waggle/internal/picture"
	"waggle/internal/sd"
)

const starPrompt = "a yellow star on a black background"

// generate draws into a file that it returns.
func generate(t *testing.T, args ...string) []byte {
	t.Helper()
	needAdapter(t)
	c := command(t, append([]string{"generate", "-o", "out.png"}, args...)...)
	succeed(t, c)
	if names := entries(t, c.Dir); !slices.Equal(names, []string{"out.png"}) {
		t.Fatalf("the folder holds %q, want out.png alone", names)
	}
	return readFile(t, filepath.Join(c.Dir, "out.png"))
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func decoded(t *testing.T, file []byte) *image.NRGBA {
	t.Helper()
	img, err := picture.Decode(file, picture.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func parametersOf(t *testing.T, file []byte) picture.Parameters {
	t.Helper()
	p, ok, err := picture.ParametersOf(file)
	if !ok || err != nil {
		t.Fatalf("no parameters in the picture: %v, %v", ok, err)
	}
	return p
}

// argsOf are the arguments that make a picture again, from nothing but its metadata.
func argsOf(p picture.Parameters) []string {
	args := []string{p.Prompt, "--negative", p.Negative, "--steps", strconv.Itoa(p.Steps), "--guidance", fmt.Sprint(p.Guidance),
		"--seed", strconv.FormatUint(p.Seed, 10), "--size", fmt.Sprintf("%dx%d", p.Width, p.Height),
		"--sampler", p.Sampler, "--schedule", p.Schedule, "--model", p.Model}
	for _, f := range p.Extra {
		args = append(args, "--"+strings.ReplaceAll(strings.ToLower(f.Key), " ", "-"), f.Value)
	}
	return args
}

func TestGenerateFromMetadata(t *testing.T) {
	for name, args := range map[string][]string{
		"defaults": {starPrompt, "--seed", "18446744073709551615"},
		"all set": {"a green ring, on white: \"quoted\"", "--negative", "blue, Steps: 3", "--sampler", "dpmpp_2m", "--schedule", "karras",
			"--dialect", "comfy", "--guidance", "3.25", "--size", "96x136", "--steps", "4", "--seed", "12", "--precision", "f32",
			"--cfg-rescale", "0.7"},
		"no guidance": {starPrompt, "--guidance", "0", "--sampler", "Euler a", "--steps", "3", "--seed", "0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := generate(t, args...)
			p := parametersOf(t, first)
			if p.Prompt != args[0] || p.Model != builtin.Name || !strings.HasPrefix(p.Version, "waggle ") {
				t.Errorf("metadata: %+v", p)
			}
			if again := generate(t, argsOf(p)...); !bytes.Equal(first, again) {
				d := builtin.Difference(decoded(t, first), decoded(t, again))
				t.Errorf("the picture made from %q differs by %.4f of 255", argsOf(p), d)
			}
			if same := generate(t, args...); !bytes.Equal(first, same) {
				t.Error("the same arguments gave another file")
			}
			if size := decoded(t, first).Bounds().Size(); size != image.Pt(p.Width, p.Height) {
				t.Errorf("the picture is %v, its metadata says %d×%d", size, p.Width, p.Height)
			}
		})
	}
}

func TestGenerateShowsThePrompt(t *testing.T) {
	t.Parallel()
	img := decoded(t, generate(t, starPrompt, "--seed", "3"))
	scene, ok := builtin.ParsePrompt(starPrompt)
	if !ok {
		t.Fatal("the prompt is not one of the model's")
	}
	if verdict, err := builtin.Check(img, scene); err != nil || !verdict.Right() {
		t.Errorf("%s: %v, %v", starPrompt, verdict, err)
	}
}

func TestGenerateBatch(t *testing.T) {
	needAdapter(t)
	t.Parallel()
	args := []string{starPrompt, "--steps", "3"}
	c := command(t, append([]string{"generate", "-o", "b.c.png", "--batch", "3", "--seed", "41"}, args...)...)
	succeed(t, c)
	if names, want := entries(t, c.Dir), []string{"b.c-1.png", "b.c-2.png", "b.c-3.png"}; !slices.Equal(names, want) {
		t.Fatalf("files %q, want %q", names, want)
	}
	for i := range 3 {
		seed := strconv.Itoa(41 + i)
		single := generate(t, append(args, "--seed", seed)...)
		if got := readFile(t, filepath.Join(c.Dir, fmt.Sprintf("b.c-%d.png", i+1))); !bytes.Equal(got, single) {
			t.Errorf("picture %d is not the one of seed %s: its metadata is %+v", i+1, seed, parametersOf(t, got))
		}
	}
}

// line is one line that --json prints.
type line struct {
	Type    string
	Step    int
	Total   int
	File    string
	Seed    uint64
	Adapter string
	State   string
}

func lines(t *testing.T, out string) (list []line) {
	t.Helper()
	for text := range strings.Lines(out) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("line %q: %v", text, err)
		}
		list = append(list, l)
	}
	return list
}

func TestGenerateJSON(t *testing.T) {
	needAdapter(t)
	t.Parallel()
	c := command(t, "generate", starPrompt, "--json", "--steps", "3", "--batch", "2", "--seed", "9", "-o", "a.png")
	o := succeed(t, c)
	if o.err != "" {
		t.Errorf("standard error holds %q", o.err)
	}
	list := lines(t, o.out)
	var kinds []string
	for _, l := range list {
		kinds = append(kinds, l.Type)
	}
	if got, want := strings.Join(kinds, " "), "start progress progress progress complete progress progress progress complete"; got != want {
		t.Fatalf("lines %s, want %s", got, want)
	}
	last := list[len(list)-1]
	if list[0].Adapter == "" || list[0].Seed != 9 || list[3].Step != 3 || list[3].Total != 3 || last.Seed != 10 || last.File != filepath.Join(c.Dir, "a-2.png") {
		t.Errorf("lines %+v", list)
	}
}

func TestGenerateRandomSeed(t *testing.T) {
	needAdapter(t)
	t.Parallel()
	var seeds []uint64
	for range 2 {
		c := command(t, "generate", starPrompt, "--json", "--steps", "2", "-o", "out.png")
		list := lines(t, succeed(t, c).out)
		seed := list[len(list)-1].Seed
		seeds = append(seeds, seed)
		again := generate(t, starPrompt, "--steps", "2", "--seed", strconv.FormatUint(seed, 10))
		if !bytes.Equal(again, readFile(t, filepath.Join(c.Dir, "out.png"))) {
			t.Errorf("seed %d does not make the picture again", seed)
		}
	}
	if seeds[0] == seeds[1] {
		t.Errorf("two runs drew the same seed %d", seeds[0])
	}
	c := command(t, "generate", starPrompt, "--steps", "1")
	if o := succeed(t, c); !strings.Contains(o.err, "seed ") || !slices.Equal(entries(t, c.Dir), []string{"waggle.png"}) {
		t.Errorf("without --seed and -o: %q, files %q", o.err, entries(t, c.Dir))
	}
}

func TestGeneratePlan(t *testing.T) {
	needAdapter(t)
	t.Parallel()
	c := command(t, "generate", starPrompt, "--plan", "-o", "a.png")
	o := succeed(t, c)
	for _, word := range []string{"unet", "decoder", "text encoder 1", "MB", "128×128"} {
		if !strings.Contains(o.out, word) {
			t.Errorf("no %q in\n%s", word, o.out)
		}
	}
	if len(entries(t, c.Dir)) > 0 {
		t.Errorf("a plan wrote %q", entries(t, c.Dir))
	}
	totals := map[string]int64{}
	for _, size := range []string{"128", "512"} {
		var plan sd.Plan
		o := succeed(t, command(t, "generate", starPrompt, "--plan", "--json", "--size", size))
		if err := json.Unmarshal([]byte(o.out), &plan); err != nil {
			t.Fatal(err)
		}
		totals[size] = plan.Total()
	}
	if totals["128"] < 9e6 || totals["512"] < 2*totals["128"] {
		t.Errorf("totals in bytes %v: the weights alone are 9 MB, and a larger picture needs more", totals)
	}
}

// TestGenerateBudget: within little memory the picture is the same; within too little it is refused with what would do.
func TestGenerateBudget(t *testing.T) {
	needAdapter(t)
	t.Parallel()
	args := []string{starPrompt, "--steps", "2", "--seed", "1"}
	want := generate(t, args...)
	if got := generate(t, append(args, "--max-vram", "18MiB")...); !bytes.Equal(got, want) {
		t.Error("another picture within 18 MiB")
	}
	o := succeed(t, command(t, "generate", starPrompt, "--plan", "--max-vram", "18"))
	for _, words := range []string{"budget", "18.9 MB", "networks leave the device"} {
		if !strings.Contains(o.out, words) {
			t.Errorf("no %q in\n%s", words, o.out)
		}
	}
	c := command(t, append([]string{"generate", "--max-vram", "1MB"}, args...)...)
	o = finish(t, c)
	if o.code != exitFailed || len(entries(t, c.Dir)) > 0 {
		t.Errorf("exit code %d, files %q", o.code, entries(t, c.Dir))
	}
	oneClearLine(t, o.err, "budget is 1 MB")
	fail(t, command(t, "generate", starPrompt, "--max-vram", "much"), exitUsage, "--max-vram", "6GiB")
}

// TestGenerateKernels draws one picture with every kernel family: rounding may differ, nothing else.
func TestGenerateKernels(t *testing.T) {
	t.Parallel()
	want := decoded(t, generate(t, starPrompt, "--steps", "6", "--seed", "1"))
	for _, family := range []string{"plain", "tiled", "subgroup"} {
		t.Run(family, func(t *testing.T) {
			args := []string{starPrompt, "--steps", "6", "--seed", "1", "--kernels", family}
			if family == "subgroup" {
				o := finish(t, command(t, append([]string{"generate", "--plan"}, args...)...))
				if o.code != exitOK && strings.Contains(o.err, "subgroup") {
					t.Skip(o.err)
				}
			}
			if d := builtin.Difference(decoded(t, generate(t, args...)), want); d >= 0.5 {
				t.Errorf("mean difference %.3f of 255 to the usual kernels' picture", d)
			} else {
				t.Logf("mean difference %.4f of 255", d)
			}
		})
	}
}

// TestGenerateSpellings names one sampler and one schedule in the ways of several programs.
func TestGenerateSpellings(t *testing.T) {
	t.Parallel()
	base := []string{starPrompt, "--steps", "2", "--seed", "1"}
	want := generate(t, append(base, "--sampler", "dpmpp_2m", "--schedule", "karras")...)
	for _, names := range [][]string{{"DPM++ 2M", "Karras"}, {"dpm_solver_multistep", "KARRAS"}, {"DPM++ 2M Karras"}} {
		args := append(base, "--sampler", names[0])
		if len(names) > 1 {
			args = append(args, "--schedule", names[1])
		}
		if got := generate(t, args...); !bytes.Equal(got, want) {
			t.Errorf("%q gave another picture, metadata %+v", names, parametersOf(t, got))
		}
	}
	if other := generate(t, append(base, "--sampler", "dpmpp_2m")...); bytes.Equal(other, want) {
		t.Error("the schedule made no difference")
	}
}

// TestGenerateModelByPath draws with the built-in model laid out as a folder: the same picture, and no path in it.
func TestGenerateModelByPath(t *testing.T) {
	t.Parallel()
	dir := builtinCopy(t)
	args := []string{starPrompt, "--steps", "2", "--seed", "1"}
	want := decoded(t, generate(t, args...))
	byPath := generate(t, append(args, "--model", dir)...)
	byName := generate(t, append(args, "--models", filepath.Dir(dir), "--model", filepath.Base(dir))...)
	for _, got := range [][]byte{byPath, byName} {
		if d := builtin.Difference(decoded(t, got), want); d != 0 {
			t.Errorf("the folder's picture differs by %.4f of 255", d)
		}
		if p := parametersOf(t, got); p.Model != filepath.Base(dir) {
			t.Errorf("metadata names model %q, want %q", p.Model, filepath.Base(dir))
		}
	}
}

// builtinCopy writes the built-in model to a folder named copy.
func builtinCopy(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, builtin.Files()); err != nil {
		t.Fatal(err)
	}
	return dir
}
