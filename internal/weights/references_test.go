package weights

import (
	"testing"

	"waggle/internal/goldens"
)

// TestGoldenNumbers reads numbers of every narrow type, all codes of 8 bits among them, and compares with what torch makes of
// them. Not-a-number must stay that; infinity too.
func TestGoldenNumbers(t *testing.T) {
	f, err := Open(goldens.Reference(t, "formats/numbers.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := goldens.Tensors(t, goldens.Reference(t, "formats/numbers.f32.safetensors"))
	if len(want) != 4 {
		t.Fatalf("%d types, want 4", len(want))
	}
	for name, w := range want {
		tensor, _ := f.Tensor(name)
		got, err := tensor.Float32s()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		goldens.Near(t, name, got, w.Float32s, 0)
	}
}
