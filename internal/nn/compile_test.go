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
			r, err := NewRuntime(d, Options{Family: family, ImageLimit: limit})
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
