package builtin

import (
	"bytes"
	_ "embed" // for the files below
	"encoding/json"
	"fmt"
	"image"
	"image/draw"
	"image/png"
)

// Case is one of the 64 fixed prompts. They are made with [Defaults], eta 0, an empty negative prompt, and noise drawn
// as torch's CPU generator draws it, shape [1,4,16,16].
type Case struct {
	Prompt    string
	Seed      uint64
	HeldOut   bool // holds a combination of shape, colour and background that training never showed
	Scene     Scene
	Reference Verdict // what the checker says about the reference's picture
}

var (
	//go:embed testdata/prompts64.json
	prompts64 []byte
	//go:embed testdata/prompts64.png
	sheet64 []byte
)

// Prompts64 returns the 64 fixed prompts by which a program shows that it runs the embedded model rightly.
func Prompts64() []Case {
	var file struct {
		Prompts []struct {
			Prompt     string
			Seed       uint64
			HeldOut    bool `json:"held_out"`
			Background Colour
			Relation   Relation
			Size       Size
			Place      Place
			Objects    []Object
			Reference  Verdict
		}
	}
	if err := json.Unmarshal(prompts64, &file); err != nil {
		panic(fmt.Sprintf("prompts64.json: %v", err)) // embedded, so it is always the same
	}
	cases := make([]Case, len(file.Prompts))
	for i, p := range file.Prompts {
		scene := Scene{p.Background, p.Objects, p.Size, p.Place, p.Relation}
		cases[i] = Case{p.Prompt, p.Seed, p.HeldOut, scene, p.Reference}
	}
	return cases
}

// Sheet returns the reference's pictures of [Prompts64], 8×8 of 128×128 pixels, row by row. They were computed in
// float32 on a CPU and rounded to 8 bits; any machine comes close to them.
func Sheet() image.Image {
	sheet, err := png.Decode(bytes.NewReader(sheet64))
	if err != nil {
		panic(fmt.Sprintf("prompts64.png: %v", err))
	}
	return sheet
}

// References returns the pictures of [Sheet] one by one, in the order of [Prompts64].
func References() []*image.NRGBA {
	sheet := Sheet()
	columns := sheet.Bounds().Dx() / Side
	pictures := make([]*image.NRGBA, columns*sheet.Bounds().Dy()/Side)
	for i := range pictures {
		pictures[i] = image.NewNRGBA(image.Rect(0, 0, Side, Side))
		draw.Draw(pictures[i], pictures[i].Bounds(), sheet, image.Pt(i%columns*Side, i/columns*Side), draw.Src)
	}
	return pictures
}

// Difference is the mean absolute difference of two pictures of equal size over all pixels and the channels red,
// green and blue, in units of 1/255. Pictures of different sizes differ by 255.
func Difference(a, b image.Image) float64 {
	size := a.Bounds().Size()
	if size != b.Bounds().Size() || size.X == 0 || size.Y == 0 {
		return 255
	}
	pa, pb := flatten(a), flatten(b)
	sum := 0
	for i := range pa {
		if i%4 != 3 { // alpha
			sum += max(int(pa[i])-int(pb[i]), int(pb[i])-int(pa[i]))
		}
	}
	return float64(sum) / float64(size.X*size.Y*3)
}

// flatten gives a picture's pixels, 4 bytes each: red, green, blue, alpha.
func flatten(picture image.Image) []uint8 {
	flat := image.NewNRGBA(image.Rectangle{Max: picture.Bounds().Size()})
	draw.Draw(flat, flat.Bounds(), picture, picture.Bounds().Min, draw.Src)
	return flat.Pix
}
