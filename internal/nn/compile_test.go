package nn

import (
	"fmt"
	"testing"
)

// Every family computes what the plain evaluation does, whole and cut into bands.
func TestCompiledGraphsMatchReference(t *testing.T) {
	d := openDevice(t)
	for _, family := range Families {
		for _, limit := range []int{0, 64 << 10} {
			// Bindings twice as large as images: values in between go by bands one way, larger ones both ways.
			r, err := NewRuntime(d, Options{Family: family, ImageLimit: limit, BindingLimit: 2 * limit})
			if err != nil {
				t.Fatal(err)
			}
			for _, result := range r.SelfTest() {
				t.Run(fmt.Sprintf("%s/%s/images of %d", result.Name, family, limit), func(t *testing.T) {
					if result.Err != nil {
						t.Error(result.Err)
					}
				})
			}
			r.Close()
		}
	}
}
