package builtin

import (
	"fmt"
	"math"
	"slices"
)

// Colour is one of the ten colours the embedded model knows, by its English name.
type Colour string

// Shape is one of the eight shapes the embedded model knows.
type Shape string

// Size is how large a single object is.
type Size string

// Place is where the centre of a single object is.
type Place string

// Relation is how the two objects of a pair lie.
type Relation string

const (
	Small  Size = "small"
	Medium Size = "medium" // what a prompt without a size means
	Large  Size = "large"

	Center Place = "center" // what a prompt without a place means
	Left   Place = "left"
	Right  Place = "right"
	Top    Place = "top"
	Bottom Place = "bottom"

	LeftOf Relation = "left"  // the first object to the left of the second
	Above  Relation = "above" // the first object above the second
)

// Colours lists the colours the model knows; their RGB values are in palette, in this order.
var Colours = []Colour{"red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "white", "black"}

// Shapes lists the shapes the model knows.
var Shapes = []Shape{"circle", "square", "triangle", "star", "heart", "ring", "cross", "diamond"}

// palette holds the RGB values, 0..255, that the training pictures were painted with.
var palette = [...][3]int{
	{218, 36, 40}, {247, 138, 24}, {250, 220, 50}, {40, 165, 70}, {60, 210, 225},
	{38, 80, 215}, {128, 48, 180}, {252, 140, 195}, {244, 244, 244}, {22, 22, 26},
}

// Object is one coloured shape.
type Object struct {
	Shape  Shape  `json:"shape"`
	Colour Colour `json:"color"`
}

// Scene is what a prompt of the model's grammar asks for: no object, one or two on a plain background.
type Scene struct {
	Background Colour // empty: any
	Objects    []Object
	Size       Size     // of a single object
	Place      Place    // of a single object
	Relation   Relation // of a pair; its objects stand in the order left to right or top to bottom
}

// validate names the first member that is not a thing the model knows.
func (s Scene) validate() error {
	if s.Background != "" && !slices.Contains(Colours, s.Background) {
		return fmt.Errorf("scene: background %q is not one of %v", s.Background, Colours)
	}
	for i, object := range s.Objects {
		if !slices.Contains(Colours, object.Colour) {
			return fmt.Errorf("scene: colour %q of object %d is not one of %v", object.Colour, i+1, Colours)
		}
		if !slices.Contains(Shapes, object.Shape) {
			return fmt.Errorf("scene: shape %q of object %d is not one of %v", object.Shape, i+1, Shapes)
		}
	}
	return s.validateLayout()
}

func (s Scene) validateLayout() error {
	switch len(s.Objects) {
	case 0:
		return nil
	case 1:
		if radii[s.Size] == 0 {
			return fmt.Errorf("scene: size %q is not small, medium or large", s.Size)
		}
		if _, ok := centres[s.Place]; !ok {
			return fmt.Errorf("scene: place %q is not center, left, right, top or bottom", s.Place)
		}
		return nil
	case 2:
		if s.Relation != LeftOf && s.Relation != Above {
			return fmt.Errorf("scene: relation %q is not left or above", s.Relation)
		}
		return nil
	}
	return fmt.Errorf("scene: %d objects, want at most 2", len(s.Objects))
}

// point is a position in pixels or, for outlines, in radii; y points down.
type point struct{ x, y float64 }

// radii are the sizes of single objects in pixels; pictures vary by 5 %.
var radii = map[Size]float64{Small: 19, Medium: 32, Large: 48}

// pairRadius is the size of both objects of a pair in pixels.
const pairRadius = 24

// centres are the places of single objects in pixels; pictures vary by 2 pixels.
var centres = map[Place]point{
	Center: {64, 64}, Left: {36, 64}, Right: {92, 64}, Top: {64, 36}, Bottom: {64, 92},
}

// ringHole is the inner radius of a ring in outer radii.
const ringHole = 0.56

// outlines are the corners of the shapes that are polygons, for a radius of 1 around the origin.
var outlines = map[Shape][]point{
	"square":   {{-0.86, -0.86}, {0.86, -0.86}, {0.86, 0.86}, {-0.86, 0.86}},
	"diamond":  {{0, -1.12}, {0.86, 0}, {0, 1.12}, {-0.86, 0}},
	"triangle": {{0, -1}, {1.04, 0.86}, {-1.04, 0.86}},
	"star":     star(),
	"heart":    heart(),
	"cross": {{-0.36, -1}, {0.36, -1}, {0.36, -0.36}, {1, -0.36}, {1, 0.36}, {0.36, 0.36},
		{0.36, 1}, {-0.36, 1}, {-0.36, 0.36}, {-1, 0.36}, {-1, -0.36}, {-0.36, -0.36}},
}

func star() []point {
	corners := make([]point, 10)
	for i := range corners {
		radius := [2]float64{1.12, 0.47}[i%2]
		sin, cos := math.Sincos(-math.Pi/2 + float64(i)*math.Pi/5)
		corners[i] = point{radius * cos, radius*sin + 0.06}
	}
	return corners
}

// heart follows the well-known curve x = 16 sin³ t, y = 13 cos t − 5 cos 2t − 2 cos 3t − cos 4t.
func heart() []point {
	corners := make([]point, 64)
	for i := range corners {
		t := 2 * math.Pi * float64(i) / 64
		y := -(13*math.Cos(t) - 5*math.Cos(2*t) - 2*math.Cos(3*t) - math.Cos(4*t))
		corners[i] = point{math.Pow(math.Sin(t), 3), (y - 2) / 15.5}
	}
	return corners
}

// covers says whether the shape of radius 1 around the origin holds the point.
func (s Shape) covers(p point) bool {
	if corners, ok := outlines[s]; ok {
		return inside(corners, p)
	}
	d := p.x*p.x + p.y*p.y
	return d <= 1 && (s != "ring" || d > ringHole*ringHole)
}

// inside counts the polygon's edges to the right of the point: an odd number means it is inside.
func inside(corners []point, p point) bool {
	in := false
	last := corners[len(corners)-1]
	for _, c := range corners {
		if (c.y > p.y) != (last.y > p.y) && p.x < c.x+(p.y-c.y)*(last.x-c.x)/(last.y-c.y) {
			in = !in
		}
		last = c
	}
	return in
}

// area is the shape's area in pixels for a radius in pixels.
func (s Shape) area(radius float64) float64 {
	corners, ok := outlines[s]
	if !ok {
		hole := 0.0
		if s == "ring" {
			hole = ringHole
		}
		return math.Pi * (1 - hole*hole) * radius * radius
	}
	twice := 0.0 // shoelace formula
	last := corners[len(corners)-1]
	for _, c := range corners {
		twice += last.x*c.y - c.x*last.y
		last = c
	}
	return math.Abs(twice) / 2 * radius * radius
}
