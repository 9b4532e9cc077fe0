package main

import (
	"image"
	"testing"

	"waggle/internal/builtin"
)

// TestGoldenSixtyFour draws the 64 fixed prompts of the built-in model, as doctor --full does. Each must be the reference's
// picture, and the checker must find in them what the prompts say.
func TestGoldenSixtyFour(t *testing.T) {
	needAdapter(t)
	if testing.Short() {
		t.Skip("64 pictures take a minute")
	}
	l, err := modelFlags{Model: builtin.Name}.load()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	pictures, err := drawReferences(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	verdict, err := judge(pictures, builtin.References())
	if err != nil {
		t.Fatal(err)
	}
	if !verdict.ok() {
		t.Errorf("%d of 64 are right, want %d; greatest mean difference %.3f of 255, want under %d; wrong: %q",
			verdict.right, leastRight, verdict.worst, greatestDifference, verdict.wrong)
	}
	t.Logf("%d of 64 are right; greatest mean difference %.5f of 255", verdict.right, verdict.worst)
}

// TestJudgeNotices holds the judge to its task: pictures in another order, or barely another, must not pass.
func TestJudgeNotices(t *testing.T) {
	references := builtin.References()
	rotated := append(references[1:len(references):len(references)], references[0])
	brighter := *references[5]
	brighter.Pix = append([]uint8(nil), brighter.Pix...)
	for i := range brighter.Pix {
		brighter.Pix[i] = min(brighter.Pix[i], 250) + 2
	}
	for _, row := range []struct {
		name     string
		pictures []*image.NRGBA
		ok       bool
		right    bool // enough of them show what they should
	}{
		{"the references themselves", references, true, true},
		{"one too bright", append(append([]*image.NRGBA(nil), references[:5]...), append([]*image.NRGBA{&brighter}, references[6:]...)...), false, true},
		{"another order", rotated, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			verdict, err := judge(row.pictures, references)
			if err != nil {
				t.Fatal(err)
			}
			if verdict.ok() != row.ok || (verdict.right >= leastRight) != row.right {
				t.Errorf("%d right, greatest difference %.3f: ok %v, want %v", verdict.right, verdict.worst, verdict.ok(), row.ok)
			}
		})
	}
}
