// Package builtin holds the model that is part of the program itself: tiny-shapes, a latent diffusion model of
// Stable Diffusion 1.x topology with 4.6 million parameters that draws 128×128 pictures of coloured shapes.
//
// Besides the weights it holds what is needed to judge them: a parser for the captions the model was trained on
// ([ParsePrompt]), a checker that says whether a picture shows a scene ([Check]), and 64 prompts with the pictures
// that a reference implementation made of them ([Prompts64], [Sheet]). The program that trains the model from
// nothing is in the folder train.
package builtin

import (
	"embed"
	"io/fs"
)

// Name is the name under which the embedded model is offered.
const Name = "tiny-shapes"

//go:embed tiny-shapes
var model embed.FS

// Files returns the embedded model as a diffusers folder: model_index.json, text_encoder, tokenizer, unet, vae,
// scheduler. Weights are float16 safetensors.
func Files() fs.FS {
	files, err := fs.Sub(model, Name)
	if err != nil {
		panic(err) // the name is a valid path
	}
	return files
}

// Settings are generation settings by their usual names.
type Settings struct {
	Width, Height int // pixels
	Steps         int
	Sampler       string
	Guidance      float64 // classifier-free guidance scale
}

// Defaults are the settings the embedded model was tuned and tested with.
var Defaults = Settings{Width: Side, Height: Side, Steps: 20, Sampler: "ddim", Guidance: 5}

// Side is the width and height in pixels of the pictures the embedded model was trained on.
const Side = 128

// ExamplePrompts are prompts the embedded model draws well, fit to be shown to someone who meets it first.
var ExamplePrompts = []string{
	"a yellow star on a black background",
	"a red circle on a blue background",
	"a small white heart at the top on a green background",
	"a green triangle to the left of a purple square on a white background",
	"an orange ring above a black cross on yellow",
	"a large pink diamond on cyan",
}
