package builtin

import "strings"

// ParsePrompt understands the captions the embedded model was trained on, in lower or upper case, with or without a
// full stop at the end:
//
//	prompt     = [ "a picture of" | "an image of" | "a drawing of" | "there is" ] ( plain | turned | scene )
//	plain      = [article] [ "plain" ] colour "background" | "plain" colour | [article] "empty" colour "picture"
//	turned     = [article] colour "background with" object [place]
//	scene      = object ( relation object [background] | [place] [background] | background place )
//	object     = [article] [size] colour shape
//	background = ( "on" | "against" | "in front of" | "over" ) [article] colour [ "background" ]
//	place      = ( "on" | "at" | "in" | "near" | "to" ) "the" ( "left" | … | "middle" ) [ "side" | "part" ]
//	relation   = "to the left of" | "left of" | "above" | "on top of" | "over" | "and" | …
//
// A background that is not named is empty in the scene. It reports false for any other text, for an object in the
// colour of its background, which no picture can show, and for a pair with sizes, which the model does not know.
func ParsePrompt(prompt string) (Scene, bool) {
	words := strings.Fields(strings.ToLower(strings.TrimSuffix(strings.TrimSpace(prompt), ".")))
	p := &parser{words: words}
	p.acceptAny(openings)
	for _, rule := range []func() (Scene, bool){p.plain, p.turned, p.scene} {
		start := p.at
		if scene, ok := rule(); ok && p.at == len(p.words) {
			return scene, visible(scene)
		}
		p.at = start
	}
	return Scene{}, false
}

func visible(s Scene) bool {
	for _, object := range s.Objects {
		if object.Colour == s.Background {
			return false
		}
	}
	return true
}

var openings = []string{"a picture of", "an image of", "a drawing of", "there is"}

var colourWords = words(Colours, map[string]Colour{"violet": "purple", "turquoise": "cyan"})

var shapeWords = words(Shapes, map[string]Shape{
	"disc": "circle", "box": "square", "donut": "ring", "plus": "cross", "rhombus": "diamond",
})

var sizeWords = map[string]Size{
	"small": Small, "tiny": Small, "little": Small, "large": Large, "big": Large, "huge": Large,
}

var placeWords = map[string]Place{
	"left": Left, "right": Right, "top": Top, "bottom": Bottom, "center": Center, "middle": Center,
}

// relations tells for each phrase how the objects lie, and whether the second one named is the first of the scene.
var relations = []struct {
	phrase   string
	relation Relation
	reversed bool
}{
	{"to the left of", LeftOf, false}, {"left of", LeftOf, false},
	{"to the right of", LeftOf, true}, {"right of", LeftOf, true},
	{"above", Above, false}, {"on top of", Above, false}, {"over", Above, false},
	{"below", Above, true}, {"under", Above, true},
	// Captions with these words were written for pairs side by side, the first named on the left.
	{"and", LeftOf, false}, {"next to", LeftOf, false}, {"beside", LeftOf, false},
}

// words maps names to themselves and synonyms to names.
func words[T ~string](names []T, synonyms map[string]T) map[string]T {
	table := synonyms
	for _, name := range names {
		table[string(name)] = name
	}
	return table
}

// parser goes through the words of a prompt. A rule that fails leaves the position anywhere; the caller puts it back.
type parser struct {
	words []string
	at    int
}

// accept moves past the phrase if it comes next.
func (p *parser) accept(phrase string) bool {
	at := p.at
	for word := range strings.FieldsSeq(phrase) {
		if at == len(p.words) || p.words[at] != word {
			return false
		}
		at++
	}
	p.at = at
	return true
}

func (p *parser) acceptAny(phrases []string) bool {
	for _, phrase := range phrases {
		if p.accept(phrase) {
			return true
		}
	}
	return false
}

// lookUp moves past the next word if the table has it.
func lookUp[T any](p *parser, table map[string]T) (T, bool) {
	var value T
	if p.at == len(p.words) {
		return value, false
	}
	value, ok := table[p.words[p.at]]
	if ok {
		p.at++
	}
	return value, ok
}

func (p *parser) article() { p.acceptAny([]string{"a", "an"}) }

func (p *parser) plain() (Scene, bool) {
	p.article()
	ending := "background"
	bare := p.accept("plain")
	if !bare && p.accept("empty") {
		ending = "picture"
	}
	colour, ok := lookUp(p, colourWords)
	return Scene{Background: colour}, ok && (p.accept(ending) || bare)
}

func (p *parser) turned() (Scene, bool) {
	p.article()
	colour, ok := lookUp(p, colourWords)
	if !ok || !p.accept("background with") {
		return Scene{}, false
	}
	scene, ok := p.single()
	scene.Background = colour
	if place, placed := p.place(); placed {
		scene.Place = place
	}
	return scene, ok
}

func (p *parser) scene() (Scene, bool) {
	scene, ok := p.single()
	if !ok {
		return Scene{}, false
	}
	if pair, ok := p.pair(scene); ok {
		return pair, true
	}
	p.ground(&scene)
	if place, ok := p.place(); ok {
		scene.Place = place
		p.ground(&scene)
	}
	return scene, true
}

// single is an object in the middle of the picture.
func (p *parser) single() (Scene, bool) {
	p.article()
	size, sized := lookUp(p, sizeWords)
	if !sized {
		size = Medium
	}
	object, ok := p.object()
	return Scene{Objects: []Object{object}, Size: size, Place: Center}, ok
}

func (p *parser) object() (Object, bool) {
	colour, coloured := lookUp(p, colourWords)
	shape, shaped := lookUp(p, shapeWords)
	return Object{shape, colour}, coloured && shaped
}

// pair is the rest of a scene after its first object, if a relation and a second object follow.
func (p *parser) pair(first Scene) (Scene, bool) {
	start := p.at
	for _, r := range relations {
		p.at = start
		if !p.accept(r.phrase) {
			continue
		}
		p.article()
		second, ok := p.object()
		if !ok || first.Size != Medium {
			continue
		}
		pair := Scene{Objects: []Object{first.Objects[0], second}, Relation: r.relation}
		if r.reversed {
			pair.Objects[0], pair.Objects[1] = second, first.Objects[0]
		}
		pair.Background, _ = p.background()
		return pair, true
	}
	p.at = start
	return Scene{}, false
}

// ground reads the background unless the scene has one.
func (p *parser) ground(s *Scene) {
	if s.Background == "" {
		s.Background, _ = p.background()
	}
}

func (p *parser) background() (Colour, bool) {
	start := p.at
	if p.acceptAny([]string{"on", "against", "in front of", "over"}) {
		p.article()
		if colour, ok := lookUp(p, colourWords); ok {
			p.accept("background")
			return colour, true
		}
	}
	p.at = start
	return "", false
}

func (p *parser) place() (Place, bool) {
	start := p.at
	if p.acceptAny([]string{"on the", "at the", "in the", "near the", "to the"}) {
		if place, ok := lookUp(p, placeWords); ok {
			p.acceptAny([]string{"side", "part"})
			return place, true
		}
	}
	p.at = start
	return "", false
}
