package picture

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Recipe is how a picture was made, as far as its file tells, in the terms of Parameters whoever wrote it. Notes say in words
// what was found and could not be followed.
type Recipe struct {
	Parameters
	Source Source
	Notes  []string
}

// Source is the program that wrote a picture's metadata.
type Source string

// Sources that are told apart. A program that writes A1111's form and is not ours counts as A1111.
const (
	FromWaggle  Source = "Waggle"
	FromA1111   Source = "A1111"
	FromComfyUI Source = "ComfyUI"
)

// ErrNoRecipe says that a file is a picture and does not tell how it was made.
var ErrNoRecipe = errors.New("the file does not say how the picture was made")

// RecipeOf reads how a picture was made: from the texts of a PNG file (ours, A1111's, ComfyUI's) or the EXIF comment of a JPEG
// or WebP file (A1111's). No pixel is decoded. Values that are not what they should be are notes.
func RecipeOf(file []byte) (Recipe, error) {
	texts, err := commentsOf(file)
	if err != nil {
		return Recipe{}, err
	}
	if text, ok := textOf(texts, ParametersKeyword); ok {
		return parametersRecipe(text), nil
	}
	for _, keyword := range []string{"prompt", "workflow"} {
		if text, ok := textOf(texts, keyword); ok && strings.HasPrefix(strings.TrimSpace(text), "{") {
			return comfyRecipe(keyword, []byte(text))
		}
	}
	return Recipe{}, ErrNoRecipe
}

func textOf(texts []Text, keyword string) (string, bool) {
	i := slices.IndexFunc(texts, func(t Text) bool { return t.Keyword == keyword })
	if i < 0 {
		return "", false
	}
	return texts[i].Value, true
}

// commentsOf are the texts of a PNG file, or the EXIF comment of another as if it were one.
func commentsOf(file []byte) ([]Text, error) {
	if bytes.HasPrefix(file, []byte(signature)) {
		texts, err := Texts(file)
		if len(texts) > 0 { // what stands before the damage
			err = nil
		}
		return texts, err
	}
	tiff, ok := exifOf(file)
	if !ok {
		return nil, ErrFormat
	}
	if comment := userComment(tiff); comment != "" {
		return []Text{{ParametersKeyword, comment}}, nil
	}
	return nil, nil
}

// parametersRecipe reads A1111's form, which is ours too.
func parametersRecipe(text string) Recipe {
	p, err := ParseParameters(text)
	r := Recipe{Parameters: p, Source: FromA1111}
	if err != nil {
		r.Notes = strings.Split(err.Error(), "\n")
	}
	if strings.HasPrefix(p.Version, "waggle ") || p.Version == "waggle" {
		r.Source = FromWaggle
		return r
	}
	r.settleA1111()
	return r
}

// settleA1111 writes down what A1111 leaves unsaid.
func (r *Recipe) settleA1111() {
	if strings.EqualFold(r.Schedule, "Automatic") {
		r.Schedule = automatic[strings.ToLower(r.Sampler)]
	}
	switch rng, ok := r.take("RNG"); {
	case ok && strings.EqualFold(rng, "CPU"):
		r.setExtra(Field{"Dialect", "a1111-cpu"})
	case ok && !strings.EqualFold(rng, "NV") && !strings.EqualFold(rng, "GPU"):
		r.note("RNG %.40q is not known: taking A1111's usual noise", rng)
	}
	eta := slices.ContainsFunc(r.Extra, func(f Field) bool { return f.Key == "Eta" })
	if name := strings.ToLower(r.Sampler); !eta && (strings.HasPrefix(name, "dpm fast") || strings.HasPrefix(name, "dpm adaptive")) {
		r.setExtra(Field{"Eta", "1"}) // its setting for ancestral samplers counts for these two
	}
}

// automatic is the schedule that A1111 has for a sampler where none was chosen (since 1.9).
var automatic = map[string]string{
	"dpm++ 2m": "Karras", "dpm++ sde": "Karras", "dpm++ 2s a": "Karras", "dpm2": "Karras", "dpm2 a": "Karras", "restart": "Karras",
	"dpm++ 2m sde": "Exponential", "dpm++ 2m sde heun": "Exponential", "dpm++ 3m sde": "Exponential",
}

// take removes an extra field.
func (r *Recipe) take(key string) (string, bool) {
	i := slices.IndexFunc(r.Extra, func(f Field) bool { return f.Key == key })
	if i < 0 {
		return "", false
	}
	value := r.Extra[i].Value
	r.Extra = slices.Delete(r.Extra, i, i+1)
	return value, true
}

// mostNotes bounds what a hostile file can have us say.
const mostNotes = 20

func (r *Recipe) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); len(r.Notes) < mostNotes && !slices.Contains(r.Notes, text) {
		r.Notes = append(r.Notes, text)
	}
}
