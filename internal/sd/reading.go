package sd

import (
	"slices"

	"waggle/internal/prompt"
)

// reading is how a dialect reads prompts.
type reading struct {
	split    func(text string) ([]prompt.Span, error) // into parts, each with its own weight
	schedule func(text string, steps prompt.Steps) ([]prompt.Phase, error)
	emphasis func(text string) ([]prompt.Span, error)
	chunks   func(r prompt.Reader, spans []prompt.Span) []prompt.Chunk
	weigh    func(states []weighed, empty lazyStates) error // what a weight does to text states
	// repeats: prompts of different lengths are repeated until they are equally long, which attention does not notice, as if
	// each had been read at its own length. Otherwise the shorter ones are filled with empty chunks.
	repeats bool
	// zeroNegative: where the UNet takes a summary of the text, an empty negative prompt is zeros.
	zeroNegative bool
	// byWord: embeddings are named by their name alone, wherever it stands in a text.
	byWord bool
}

var (
	a1111     = reading{prompt.Split, prompt.Schedule, prompt.Emphasis, prompt.Reader.Chunks, keepMean, true, true, true}
	comfy     = reading{onePart, onePhase, prompt.ComfyEmphasis, prompt.Reader.ComfyChunks, fromEmpty, true, false, false}
	plainText = reading{onePart, onePhase, onePart, prompt.Reader.Chunks, keepMean, false, true, false}
)

// readings of the dialects of package noise.
var readings = map[string]reading{"a1111": a1111, "a1111-cpu": a1111, "comfy": comfy, "diffusers": plainText}

func onePart(text string) ([]prompt.Span, error) { return []prompt.Span{{Text: text, Weight: 1}}, nil }

func onePhase(text string, steps prompt.Steps) ([]prompt.Phase, error) {
	return []prompt.Phase{{Until: steps.Count, Text: text}}, nil
}

// lazyStates gives text states when they are needed: [tokens,hidden].
type lazyStates func() ([]float32, error)

// weighed are text states of a chunk, and what they are to be multiplied with.
type weighed struct {
	states  []float32 // [tokens,hidden]; replaced, not changed
	weights []float32 // [tokens]; nil where all are 1
	times   int       // how many phases of a prompt use them
}

// scaled are the states with their weights.
func (w weighed) scaled() []float32 {
	out := slices.Clone(w.states)
	for i, weight := range w.weights {
		row := out[i*len(out)/len(w.weights):][:len(out)/len(w.weights)]
		for k := range row {
			row[k] *= weight
		}
	}
	return out
}

// keepMean multiplies states with their weights, and all of them with one factor, so that their mean stays what it was: the
// emphasis called "original" in the A1111 web UI. The mean is over all texts of a prompt's schedule.
func keepMean(all []weighed, _ lazyStates) error {
	if !isWeighed(all) {
		return nil
	}
	before, after := 0.0, 0.0
	for i := range all {
		before += float64(all[i].times) * sum(all[i].states)
		all[i].states = all[i].scaled()
		after += float64(all[i].times) * sum(all[i].states)
	}
	if after == 0 {
		return nil
	}
	for i := range all {
		for k := range all[i].states {
			all[i].states[k] *= float32(before / after)
		}
	}
	return nil
}

func isWeighed(all []weighed) bool {
	return slices.ContainsFunc(all, func(w weighed) bool { return w.weights != nil })
}

func sum(v []float32) (total float64) {
	for _, x := range v {
		total += float64(x)
	}
	return total
}

// fromEmpty moves states away from those of an empty prompt, or towards them, as ComfyUI does.
func fromEmpty(all []weighed, empty lazyStates) error {
	if !isWeighed(all) {
		return nil
	}
	base, err := empty()
	if err != nil {
		return err
	}
	for i, w := range all {
		if w.weights == nil {
			continue
		}
		out := slices.Clone(w.states)
		width := len(out) / len(w.weights)
		for k := range out {
			if weight := w.weights[k/width]; weight != 1 {
				out[k] = (out[k]-base[k])*weight + base[k]
			}
		}
		all[i].states = out
	}
	return nil
}
