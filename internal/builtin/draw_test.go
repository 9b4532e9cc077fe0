package builtin

import (
	"image"
	"image/color"
	"math/rand/v2"
	"slices"
	"strings"
)

// randomScene draws a scene as the training does: no object has the background's colour.
func randomScene(rng *rand.Rand) Scene {
	scene := Scene{Background: pick(rng, Colours)}
	object := func() Object {
		for {
			if o := (Object{pick(rng, Shapes), pick(rng, Colours)}); o.Colour != scene.Background {
				return o
			}
		}
	}
	switch k := rng.Float64(); {
	case k < 0.1:
	case k < 0.6:
		scene.Objects = []Object{object()}
		scene.Size, scene.Place = pick(rng, []Size{Small, Medium, Large}), Center
		if scene.Size != Large {
			scene.Place = pick(rng, []Place{Center, Left, Right, Top, Bottom})
		}
	default:
		scene.Objects = []Object{object(), object()}
		scene.Relation = pick(rng, []Relation{LeftOf, Above})
	}
	return scene
}

func pick[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }

// paint draws the scene as the training pictures are drawn: places off by up to 2 pixels, sizes by up to 5 %,
// anti-aliased, soft light from above on the background and from the upper left on objects.
func paint(scene Scene, rng *rand.Rand) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, Side, Side))
	ground := rgb(scene.Background)
	for i := range Side * Side {
		y := float64(i/Side)/(Side-1) - 0.5
		img.SetNRGBA(i%Side, i/Side, shade(ground, 1-0.12*y, -10*y))
	}
	spots := map[Relation][]point{LeftOf: {{35, 64}, {93, 64}}, Above: {{64, 35}, {64, 93}}}[scene.Relation]
	radius := float64(pairRadius)
	if len(scene.Objects) == 1 {
		spots, radius = []point{centres[scene.Place]}, radii[scene.Size]
	}
	for i, object := range scene.Objects {
		at := point{spots[i].x + 4*rng.Float64() - 2, spots[i].y + 4*rng.Float64() - 2}
		paintObject(img, object, at, radius*(0.95+0.1*rng.Float64()))
	}
	return img
}

func paintObject(img *image.NRGBA, object Object, at point, radius float64) {
	colour := rgb(object.Colour)
	for i := range Side * Side {
		x, y := i%Side, i/Side
		cover := coverage(object.Shape, point{float64(x) - at.x, float64(y) - at.y}, radius)
		if cover == 0 {
			continue
		}
		dx := float64(x)/(Side-1) - at.x/Side
		dy := float64(y)/(Side-1) - at.y/Side
		k := min(1.5, max(-1.5, (dy+dx/2)*Side/radius))
		lit, below := shade(colour, 1-0.06*k, -5*k), img.NRGBAAt(x, y)
		mix := func(a, b uint8) uint8 { return uint8(float64(a)*cover + float64(b)*(1-cover) + 0.5) }
		img.SetNRGBA(x, y, color.NRGBA{mix(lit.R, below.R), mix(lit.G, below.G), mix(lit.B, below.B), 255})
	}
}

// coverage is the covered share of the pixel whose upper left corner is p pixels from the shape's centre.
func coverage(shape Shape, p point, radius float64) float64 {
	if max(p.x, -p.x, p.y, -p.y) > 1.2*radius+1 {
		return 0
	}
	covered := 0
	for i := range 16 {
		x, y := p.x+(float64(i%4)+0.5)/4, p.y+(float64(i/4)+0.5)/4
		if shape.covers(point{x / radius, y / radius}) {
			covered++
		}
	}
	return float64(covered) / 16
}

func rgb(c Colour) [3]int { return palette[slices.Index(Colours, c)] }

func shade(c [3]int, factor, offset float64) color.NRGBA {
	channel := func(i int) uint8 { return uint8(min(255, max(0, float64(c[i])*factor+offset+0.5))) }
	return color.NRGBA{channel(0), channel(1), channel(2), 255}
}

// caption says what the scene shows, in one of the ways of the training captions. Backgrounds may be left out.
func caption(scene Scene, rng *rand.Rand) (text string, backgroundSaid bool) {
	colour := say(rng, scene.Background)
	start := pick(rng, []string{"", "a picture of ", "an image of ", "a drawing of ", "there is "})
	ground := pick(rng, []string{"", "on " + a(colour) + " background", "on " + colour,
		"against " + a(colour) + " background", "in front of " + a(colour) + " background", "over " + colour})
	stop := pick(rng, []string{"", "."})
	switch len(scene.Objects) {
	case 0:
		return start + pick(rng, []string{a(colour) + " background", "a plain " + colour + " background",
			"plain " + colour, "an empty " + colour + " picture"}), true
	case 1:
		noun, place := noun(rng, scene.Objects[0], scene.Size), sayPlace(rng, scene.Place)
		if rng.IntN(6) == 0 {
			return join(colour, "background with", a(noun), place), true
		}
		if start != "" || rng.IntN(2) == 0 {
			noun = a(noun)
		}
		if rng.IntN(2) == 0 {
			return start + join(noun, ground, place) + stop, ground != ""
		}
		return start + join(noun, place, ground) + stop, ground != ""
	}
	first, second := a(noun(rng, scene.Objects[0], Medium)), a(noun(rng, scene.Objects[1], Medium))
	forward := []string{"to the left of", "left of", "and", "next to", "beside"}
	backward := []string{"to the right of", "right of"}
	if scene.Relation == Above {
		forward, backward = []string{"above", "on top of", "over"}, []string{"below", "under"}
	}
	if rng.IntN(2) == 0 {
		return start + join(first, pick(rng, forward), second, ground) + stop, ground != ""
	}
	return start + join(second, pick(rng, backward), first, ground) + stop, ground != ""
}

func noun(rng *rand.Rand, object Object, size Size) string {
	words := map[Size][]string{Small: {"small", "tiny", "little"}, Medium: {""}, Large: {"large", "big", "huge"}}
	return join(pick(rng, words[size]), say(rng, object.Colour), say(rng, object.Shape))
}

func sayPlace(rng *rand.Rand, place Place) string {
	switch place {
	case Center:
		return pick(rng, []string{"", "in the center", "in the middle", "at the center"})
	case Left, Right:
		return pick(rng, []string{"on the ", "at the ", "to the "}) + string(place) + pick(rng, []string{"", " side"})
	}
	return pick(rng, []string{"at the ", "near the ", "on the "}) + string(place) + pick(rng, []string{"", " part"})
}

// say is the name itself or a synonym.
func say[T ~string](rng *rand.Rand, name T) string {
	synonyms := map[string]string{"circle": "disc", "square": "box", "ring": "donut", "cross": "plus",
		"diamond": "rhombus", "purple": "violet", "cyan": "turquoise"}
	if s, ok := synonyms[string(name)]; ok && rng.IntN(2) == 0 {
		return s
	}
	return string(name)
}

func a(noun string) string {
	if strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an " + noun
	}
	return "a " + noun
}

func join(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " ")
}
