package sd

import "testing"

// TestRounding: colours between two levels, and outside of all.
func TestRounding(t *testing.T) {
	picture := []float32{2*100.75/255 - 1, 2*100.25/255 - 1, 7}
	for share, want := range map[float32][3]uint8{rounded: {101, 100, 255}, truncated: {100, 100, 255}} {
		if got := [3]uint8(toImage(picture, 1, 1, share).Pix[:3]); got != want {
			t.Errorf("share %v: got %v, want %v", share, got, want)
		}
	}
}

// TestRoundingOfDialects: A1111 and ComfyUI truncate, diffusers rounds; a picture rounded is nowhere darker, and somewhere lighter.
func TestRoundingOfDialects(t *testing.T) {
	p := tinyPipeline(t, plainGo{})
	r := quick
	r.Dialect, r.Guidance, r.Steps, r.Sampler, r.Schedule = "a1111-cpu", 1, 1, "euler", "karras"
	d := begin(t, p, r)
	step(t, p, d)
	cut := finish(t, p, d)
	d.dialect.Truncates = false
	lighter := 0
	for i, v := range finish(t, p, d) {
		if more := int(v) - int(cut[i]); more < 0 || more > 1 {
			t.Fatalf("byte %d is %d rounded, %d truncated", i, v, cut[i])
		}
		lighter += int(v - cut[i])
	}
	if lighter == 0 {
		t.Error("truncated and rounded are the same")
	}
}
