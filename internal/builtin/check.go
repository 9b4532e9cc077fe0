package builtin

import (
	"fmt"
	"image"
	"math"
	"slices"
	"strings"
	"sync"
)

// Verdict says what of a scene a picture shows.
type Verdict struct {
	Background bool `json:"bg"`
	Colour     bool `json:"color"` // right colour in about the right size; of a pair both, each in its own half
	Shape      bool `json:"shape"` // of a pair both, each in its own half
	Place      bool `json:"place"` // of a pair: something is in each half
}

// Right says whether the picture shows everything the scene asks for.
func (v Verdict) Right() bool { return v.Background && v.Colour && v.Shape && v.Place }

// String is "right" or a list of what is wrong.
func (v Verdict) String() string {
	var wrong []string
	for _, test := range []struct {
		name string
		ok   bool
	}{{"background", v.Background}, {"colour", v.Colour}, {"shape", v.Shape}, {"place", v.Place}} {
		if !test.ok {
			wrong = append(wrong, test.name)
		}
	}
	if len(wrong) == 0 {
		return "right"
	}
	return "wrong " + strings.Join(wrong, ", ")
}

// Limits of the checker. They leave room for the model's softness and none for another scene.
const (
	frame         = 4    // pixels at the rim that are taken for background
	plainShare    = 0.02 // greatest share of other pixels in a plain picture
	leastArea     = 0.5  // of the area the object should have
	greatestArea  = 1.8
	leastOverlap  = 0.6 // intersection over union with the shape's template
	placeDistance = 12  // pixels between the object's box and its place
	pairPixels    = 150 // least size of an object of a pair, in pixels
	templateSide  = 32
)

// Check says what of the scene the picture shows. It looks at pixels only: each is taken for the nearest colour the
// model knows, an object is the largest connected part of the commonest colour that is not the background's. The
// error tells of a picture that is not 128×128 or a scene that cannot be.
func Check(picture image.Image, scene Scene) (Verdict, error) {
	if b := picture.Bounds(); b.Dx() != Side || b.Dy() != Side {
		return Verdict{}, fmt.Errorf("check: picture is %d×%d, want %d×%d", b.Dx(), b.Dy(), Side, Side)
	}
	if err := scene.validate(); err != nil {
		return Verdict{}, fmt.Errorf("check: %w", err)
	}
	seen := look(picture)
	v := Verdict{Background: scene.Background == "" || Colours[seen.background] == scene.Background}
	switch len(scene.Objects) {
	case 0:
		v.Colour, v.Shape, v.Place = seen.plain(), true, true
	case 1:
		seen.checkSingle(&v, scene)
	case 2:
		seen.checkPair(&v, scene)
	}
	return v, nil
}

// view is a picture as the checker sees it: for every pixel, row by row, the index of its colour in Colours.
type view struct {
	colours    [Side * Side]uint8
	background uint8
}

func look(picture image.Image) *view {
	seen, pixels := new(view), flatten(picture)
	for i := range seen.colours {
		seen.colours[i] = nearest(pixels[4*i], pixels[4*i+1], pixels[4*i+2])
	}
	seen.background = commonest(seen.colours[:], func(i int) bool {
		x, y := i%Side, i/Side
		return min(x, y, Side-1-x, Side-1-y) < frame
	})
	return seen
}

// nearest is the index of the colour at the least Euclidean distance in RGB.
func nearest(r, g, b uint8) uint8 {
	best, least := 0, math.MaxInt
	for i, p := range palette {
		dr, dg, db := int(r)-p[0], int(g)-p[1], int(b)-p[2]
		if d := dr*dr + dg*dg + db*db; d < least {
			best, least = i, d
		}
	}
	return uint8(best)
}

// commonest is the colour that most pixels of the region have, the first of them if several do.
func commonest(colours []uint8, region func(i int) bool) uint8 {
	var counts [len(palette)]int
	for i, c := range colours {
		if region(i) {
			counts[c]++
		}
	}
	return uint8(slices.Index(counts[:], slices.Max(counts[:])))
}

func (s *view) plain() bool {
	others := 0
	for _, c := range s.colours {
		if c != s.background {
			others++
		}
	}
	return float64(others) < plainShare*Side*Side
}

func (s *view) checkSingle(v *Verdict, scene Scene) {
	part := s.find(scene.Objects[0], radii[scene.Size], func(int) bool { return true })
	v.Colour, v.Shape = part.colourRight, part.shapeRight
	if part.pixels == 0 {
		return
	}
	want := centres[scene.Place]
	x := float64(part.box.Min.X+part.box.Max.X-1) / 2
	y := float64(part.box.Min.Y+part.box.Max.Y-1) / 2
	v.Place = math.Abs(x-want.x) < placeDistance && math.Abs(y-want.y) < placeDistance
}

func (s *view) checkPair(v *Verdict, scene Scene) {
	v.Colour, v.Shape, v.Place = true, true, true
	for half, object := range scene.Objects {
		part := s.find(object, pairRadius, func(i int) bool {
			along := i % Side
			if scene.Relation == Above {
				along = i / Side
			}
			return along/(Side/2) == half
		})
		v.Colour = v.Colour && part.colourRight
		v.Shape = v.Shape && part.shapeRight
		v.Place = v.Place && part.pixels > pairPixels
	}
}

// part is an object as found in a picture.
type part struct {
	pixels                  int
	box                     image.Rectangle
	colourRight, shapeRight bool
}

// find looks in a region for an object, given its expected radius in pixels.
func (s *view) find(want Object, radius float64, region func(i int) bool) part {
	object := func(i int) bool { return s.colours[i] != s.background && region(i) }
	colour := commonest(s.colours[:], object)
	m := largest(func(i int) bool { return s.colours[i] == colour && object(i) })
	found := part{pixels: m.count(), box: m.box()}
	share := float64(found.pixels) / want.Shape.area(radius)
	found.colourRight = Colours[colour] == want.Colour && share > leastArea && share < greatestArea
	found.shapeRight = m.shape() == want.Shape
	return found
}

// mask marks pixels of a picture, row by row.
type mask [Side * Side]bool

func (m *mask) count() int {
	n := 0
	for _, set := range m {
		if set {
			n++
		}
	}
	return n
}

// box is the least rectangle around the marked pixels.
func (m *mask) box() image.Rectangle {
	var box image.Rectangle
	for i, set := range m {
		if set {
			box = box.Union(image.Rect(i%Side, i/Side, i%Side+1, i/Side+1))
		}
	}
	return box
}

// largest is the largest connected part of the pixels that are in; pixels touch at sides and corners.
func largest(in func(i int) bool) *mask {
	best, most := new(mask), 0
	var seen mask
	for i := range seen {
		if seen[i] || !in(i) {
			continue
		}
		if found := flood(i, in, &seen); len(found) > most {
			best, most = new(mask), len(found)
			for _, j := range found {
				best[j] = true
			}
		}
	}
	return best
}

// flood lists the pixels connected with the first and marks them as seen.
func flood(first int, in func(i int) bool, seen *mask) []int {
	seen[first] = true
	found := []int{first}
	for next := 0; next < len(found); next++ {
		x, y := found[next]%Side, found[next]/Side
		for ny := max(0, y-1); ny <= min(Side-1, y+1); ny++ {
			for nx := max(0, x-1); nx <= min(Side-1, x+1); nx++ {
				if i := ny*Side + nx; !seen[i] && in(i) {
					seen[i] = true
					found = append(found, i)
				}
			}
		}
	}
	return found
}

// stamp is a shape stretched to a fixed size, row by row, 0 to 1: independent of where and how large it was.
type stamp [templateSide * templateSide]float64

// shape is the shape whose template overlaps the mask best, or "" if none does well.
func (m *mask) shape() Shape {
	const leastPixels = 20
	if m.count() < leastPixels {
		return ""
	}
	found := m.stamp()
	best, most := Shape(""), leastOverlap
	for i, template := range templates() {
		if o := overlap(&found, &template); o > most {
			best, most = Shapes[i], o
		}
	}
	return best
}

// overlap is the intersection over the union of two stamps.
func overlap(a, b *stamp) float64 {
	both, either := 0.0, 0.0
	for i := range a {
		both += min(a[i], b[i])
		either += max(a[i], b[i])
	}
	return both / either
}

// stamp stretches the square around the middle of the mask's box to templateSide, with bilinear interpolation.
func (m *mask) stamp() stamp {
	box := m.box()
	side := float64(max(box.Dx(), box.Dy()))
	left := (float64(box.Min.X+box.Max.X) - side) / 2
	top := (float64(box.Min.Y+box.Max.Y) - side) / 2
	var out stamp
	for i := range out {
		x := left + (float64(i%templateSide)+0.5)*side/templateSide
		y := top + (float64(i/templateSide)+0.5)*side/templateSide
		out[i] = m.at(x-0.5, y-0.5)
	}
	return out
}

// at interpolates between pixel centres; outside the picture nothing is marked.
func (m *mask) at(x, y float64) float64 {
	x0, y0 := math.Floor(x), math.Floor(y)
	fx, fy := x-x0, y-y0
	pixel := func(x, y int) float64 {
		if x < 0 || y < 0 || x >= Side || y >= Side || !m[y*Side+x] {
			return 0
		}
		return 1
	}
	ix, iy := int(x0), int(y0)
	upper := (1-fx)*pixel(ix, iy) + fx*pixel(ix+1, iy)
	lower := (1-fx)*pixel(ix, iy+1) + fx*pixel(ix+1, iy+1)
	return (1-fy)*upper + fy*lower
}

// templates are the stamps of all shapes, in the order of Shapes.
var templates = sync.OnceValue(func() []stamp {
	const radius = 40
	out := make([]stamp, len(Shapes))
	for s, shape := range Shapes {
		var m mask
		for i := range m {
			x, y := float64(i%Side)+0.5-Side/2, float64(i/Side)+0.5-Side/2
			m[i] = shape.covers(point{x / radius, y / radius})
		}
		out[s] = m.stamp()
	}
	return out
})
