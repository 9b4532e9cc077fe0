package shaders_test

import (
	"os"
	"testing"

	"waggle/gpu"
	"waggle/shaders"
)

// Every file must compile as it lies on disk and as the host unrolls it.
func TestEveryKernelCompiles(t *testing.T) {
	if os.Getenv("NO_GPU") == "1" {
		t.Skip("NO_GPU=1: tests that need an adapter are skipped")
	}
	d, err := gpu.Open(os.Getenv("WAGGLE_GPU"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, name := range shaders.Names() {
		raw, err := shaders.File(name)
		if err != nil {
			t.Fatal(err)
		}
		unrolled, err := shaders.Source(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{raw, unrolled} {
			k, err := d.NewKernel(name, text)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			k.Close()
		}
	}
}
