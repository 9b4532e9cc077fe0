package sd

import (
	"context"
	"image"
	"math"
	"os"
	"path/filepath"
	"testing"

	"waggle/gpu"
	"waggle/internal/goldens"
	"waggle/internal/models"
	"waggle/internal/nn"
	"waggle/internal/weights"
)

// testDevice opens an adapter, or fails the test with what to install. NO_GPU=1 skips on purpose.
func testDevice(t testing.TB) *gpu.Device {
	t.Helper()
	if os.Getenv("NO_GPU") == "1" {
		t.Skip("NO_GPU=1: tests that need an adapter are skipped")
	}
	d, err := gpu.Open(os.Getenv("WAGGLE_GPU"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// testGPU makes a compiler for a device.
func testGPU(t testing.TB, d *gpu.Device, options nn.Options) onGPU {
	t.Helper()
	runtime, err := nn.NewRuntime(d, options)
	if err != nil {
		t.Fatal(err)
	}
	c := onGPU{runtime: runtime, weights: map[weights.Source]*nn.Weights{}}
	t.Cleanup(c.close)
	return c
}

// TestGoldenForwardsGPU runs every pass with the kernels that suit the device, and the smallest ones with every family.
func TestGoldenForwardsGPU(t *testing.T) {
	d := testDevice(t)
	t.Run("all", func(t *testing.T) { testForwards(t, testGPU(t, d, nn.Options{}), "") })
	if testing.Short() {
		t.Log("-short: not every kernel family is run")
		return
	}
	for _, family := range nn.Families {
		t.Run(string(family), func(t *testing.T) {
			c, err := nn.NewRuntime(d, nn.Options{Family: family})
			if err != nil {
				t.Skip(err)
			}
			c.Close()
			testForwards(t, testGPU(t, d, nn.Options{Family: family}), "sd2")
		})
	}
}

func TestGoldenPipelineGPU(t *testing.T) {
	testPipelines(t, testGPU(t, testDevice(t), nn.Options{}), 20)
}

func TestGoldenTinyShapesGPU(t *testing.T) {
	testTinyShapes(t, testGPU(t, testDevice(t), nn.Options{}), true)
}

// TestGoldenPrompts64 draws every eighth of the 64 fixed prompts of the built-in model; the whole program's tests draw them
// all. The mean difference of each picture from the reference's must be under one level of 255.
func TestGoldenPrompts64(t *testing.T) {
	root := filepath.Join(goldens.Root(t), "internal/builtin/testdata")
	var file struct {
		Steps    int
		Guidance float64
		Prompts  []struct {
			Prompt string
			Seed   uint64
		}
	}
	goldens.JSON(t, filepath.Join(root, "prompts64.json"), &file)
	sheet := readPNG(t, filepath.Join(root, "prompts64.png"))
	p := tinyPipeline(t, testGPU(t, testDevice(t), nn.Options{}))
	worst, at := 0.0, 0
	for i := 0; i < len(file.Prompts); i += 8 {
		c := file.Prompts[i]
		img, err := p.Generate(context.Background(), Request{Prompt: c.Prompt, Seed: c.Seed, Steps: file.Steps,
			Guidance: file.Guidance, Sampler: "ddim", Dialect: "diffusers"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		d := meanDifference(img, sheet, image.Pt(i%8*128, i/8*128))
		if d >= 1 {
			t.Errorf("prompt %d, %q: mean difference %.3f of 255", i, c.Prompt, d)
		}
		if d > worst {
			worst, at = d, i
		}
	}
	t.Logf("greatest mean difference %.4f of 255, prompt %d", worst, at)
}

// meanDifference of an image from a part of another that begins at a point, over all pixels and colours.
func meanDifference(img *image.NRGBA, sheet image.Image, at image.Point) float64 {
	sum, n := 0.0, 0
	for y := range img.Rect.Dy() {
		for x := range img.Rect.Dx() {
			r, g, b, _ := sheet.At(at.X+x, at.Y+y).RGBA()
			for k, want := range []uint32{r, g, b} {
				sum += math.Abs(float64(img.Pix[img.PixOffset(x, y)+k]) - float64(want>>8))
				n++
			}
		}
	}
	return sum / float64(n)
}

// BenchmarkPicture draws the built-in model's default picture, programs and texts already there.
func BenchmarkPicture(b *testing.B) {
	m, err := models.Open("tiny-shapes")
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	p, err := newPipeline(testGPU(b, testDevice(b), nn.Options{}), m)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	r := Request{Prompt: "a red circle on a blue background"}
	for n := -1; n < b.N; n++ {
		if n == 0 {
			b.ResetTimer()
		}
		if _, err := p.Generate(context.Background(), r, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N)/20, "ms/step")
}
