package sd

import (
	"maps"
	"math"
	"reflect"
	"slices"
	"testing"

	"waggle/internal/goldens"
	"waggle/internal/models"
	"waggle/internal/nn"
)

// openReference opens a small model of a published family.
func openReference(t *testing.T, name string) *models.Model {
	t.Helper()
	m, err := models.Open(goldens.ReferenceFolder(t, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// TestGoldenFamilies runs the UNet of every published topology: distilled ones without a middle or with half of one, with
// transformers of different depth in one level, and those that are told of guidance.
func TestGoldenFamilies(t *testing.T) { testFamilies(t, plainGo{}) }

func TestGoldenFamiliesGPU(t *testing.T) { testFamilies(t, testGPU(t, testDevice(t), nn.Options{})) }

func testFamilies(t *testing.T, with compiler) {
	var index struct{ Cases map[string]forwardCase }
	goldens.JSON(t, goldens.Reference(t, "forwards/index.json"), &index)
	for _, name := range slices.Sorted(maps.Keys(index.Cases)) {
		c := index.Cases[name]
		t.Run(c.Model, func(t *testing.T) {
			n, _, err := readNetworks(openReference(t, c.Model))
			if err != nil {
				t.Fatal(err)
			}
			f := &forward{T: t, with: with, c: c, name: name, networks: n}
			f.in = goldens.Tensors(t, goldens.Reference(t, "forwards/"+c.File))
			f.unet()
			t.Logf("greatest share of the tolerance: %.2f at %s", f.worst, f.worstAt)
		})
	}
}

// TestGoldenGuidanceEmbedding compares what an LCM reads of a guidance with what its reference does; angles go to thousands,
// so that a float32 angle moves a sine by some 1e-4.
func TestGoldenGuidanceEmbedding(t *testing.T) {
	in := goldens.Tensors(t, goldens.Reference(t, "forwards/lcm-sd1.unet.safetensors"))
	for i, scale := range in["in.guidance"].Float32s {
		want := in["in.time_cond"].Row(i)
		got := UNetConfig{Guidance: len(want)}.guidance(float64(scale))
		goldens.Near(t, "guidance", got, want, 1000*math.Abs(float64(scale)-1)*1e-7+1e-6)
	}
}

// TestGoldenDetection reads the shape of every UNet off its tensors and compares with what its configuration says, save what
// no tensor tells.
func TestGoldenDetection(t *testing.T) {
	for name := range goldens.ReferenceModels(t) {
		t.Run(name, func(t *testing.T) {
			m := openReference(t, name)
			n, f, err := readNetworks(m)
			if err != nil {
				t.Fatal(err)
			}
			f.groups, f.heads = n.unet.config.Groups, 1
			got, err := detectUNet(m.UNet.Tensors, f)
			if err != nil {
				t.Fatal(err)
			}
			want := n.unet.config
			got.Heads, want.SampleSize = want.Heads, 0
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}
