package sd

import (
	"os"
	"testing"

	"waggle/gpu"
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
	c := onGPU{runtime, map[weights.Source]*nn.Weights{}}
	t.Cleanup(c.close)
	return c
}

func TestGoldenForwardsGPU(t *testing.T) { testForwards(t, testGPU(t, testDevice(t), nn.Options{})) }

func TestGoldenPipelineGPU(t *testing.T) {
	testPipelines(t, testGPU(t, testDevice(t), nn.Options{}), 20)
}

func TestGoldenTinyShapesGPU(t *testing.T) {
	testTinyShapes(t, testGPU(t, testDevice(t), nn.Options{}))
}
