package sd

import (
	"fmt"
	"slices"

	"waggle/internal/prompt"
	"waggle/internal/tokenizer"
)

// guide is a prompt that leads a picture: the negative one, or a part of the positive one. What it says depends on the step.
type guide struct {
	weight float64
	phases []phase
	texts  []tokens       // all that it says
	states []conditioning // of each text; none before it is encoded
}

// phase is up to and with a step, counted from 1.
type phase struct{ until, text int }

// Limits of what a picture's prompts may make together.
const (
	maxGuideChunks  = 256                     // of all texts of a prompt
	maxCommonLength = 2 * tokenizer.MaxChunks // of a prompt that is repeated, in chunks
)

// settlePrompt takes the prompt apart as the dialect does.
func (s *settings) settlePrompt() error {
	s.reading = readings[s.dialect.Name]
	words, networks, err := prompt.Networks(s.Prompt)
	if err != nil {
		return err
	}
	if s.mixed, err = promptLoRAs(networks); err != nil {
		return err
	}
	if s.parts, err = s.reading.split(words); err != nil {
		return err
	}
	s.passes = 1
	if s.scale > 1 || len(s.parts) > 1 || s.parts[0].Weight != 1 {
		s.passes += len(s.parts)
	}
	return nil
}

// read makes tokens of what leads a picture: the negative prompt, where it counts, and the parts of the prompt.
func (p *Pipeline) read(s settings) (guides []guide, err error) {
	prompts := s.parts
	if s.passes > 1 {
		prompts = append([]prompt.Span{{Text: s.Negative, Weight: 1}}, s.parts...)
	}
	known := p.inversions(s.reading)
	for _, part := range prompts {
		g, err := p.readGuide(s, part, known)
		if err != nil {
			return nil, err
		}
		guides = append(guides, g)
	}
	p.level(guides, s.reading)
	return guides, nil
}

// readGuide makes tokens of one prompt, all its texts of equally many chunks.
func (p *Pipeline) readGuide(s settings, part prompt.Span, known *inversions) (guide, error) {
	g := guide{weight: part.Weight}
	phases, err := s.reading.schedule(part.Text, prompt.Steps{Count: s.grid.Steps()})
	if err != nil {
		return g, err
	}
	numbers, longest := map[string]int{}, 0
	for _, ph := range phases {
		i, ok := numbers[ph.Text]
		if !ok {
			t, err := s.reading.tokenize(p, ph.Text, known)
			if err != nil {
				return g, err
			}
			i, longest = len(g.texts), max(longest, len(t[0]))
			numbers[ph.Text], g.texts = i, append(g.texts, t)
		}
		g.phases = append(g.phases, phase{ph.Until, i})
	}
	if all := longest * len(g.texts); all > maxGuideChunks {
		return g, fmt.Errorf("the prompt's schedule makes %d texts of %d chunks, at most %d chunks in all", len(g.texts), longest, maxGuideChunks)
	}
	p.padGuide(g, longest)
	return g, nil
}

func (p *Pipeline) padGuide(g guide, chunks int) {
	for _, t := range g.texts {
		p.pad(t, chunks)
	}
}

// length of a guide's texts, in chunks.
func (g guide) length() int { return len(g.texts[0][0]) }

// level fills guides up to one length, unless they are to be repeated.
func (p *Pipeline) level(guides []guide, r reading) {
	longest := 0
	for _, g := range guides {
		longest = max(longest, g.length())
	}
	if r.repeats && commonLength(guides) <= maxCommonLength {
		return
	}
	for _, g := range guides {
		p.padGuide(g, longest)
	}
}

// commonLength is the least number of chunks that every guide fills when it is repeated.
func commonLength(guides []guide) int {
	common := 1
	for _, g := range guides {
		a, b := common, g.length()
		for b != 0 {
			a, b = b, a%b
		}
		common *= g.length() / a
	}
	return common
}

// guides encodes what leads a picture.
func (p *Pipeline) guides(s settings) ([]guide, error) {
	all, err := p.read(s)
	if err != nil {
		return nil, err
	}
	common := commonLength(all)
	for i := range all {
		g := &all[i]
		if err := p.encodeGuide(g, s); err != nil {
			return nil, err
		}
		negative := i == 0 && s.passes > 1
		for j := range g.states {
			if negative && s.Negative == "" && s.reading.zeroNegative && p.networks.unet.config.Added > 0 {
				g.states[j] = g.states[j].zeros()
			}
			g.states[j].context = slices.Repeat(g.states[j].context, common/g.length())
		}
	}
	return all, nil
}

// zeros is a conditioning of the same size that says nothing.
func (c conditioning) zeros() conditioning {
	return conditioning{make([]float32, len(c.context)), make([]float32, len(c.pooled))}
}

// encodeGuide finds the states of every text: chunks one after another, encoders side by side, the summary of the first chunk.
func (p *Pipeline) encodeGuide(g *guide, s settings) error {
	g.states = make([]conditioning, len(g.texts))
	width := 0
	for i := range p.networks.text {
		hidden := p.networks.text[i].config.Hidden
		all := make([][]float32, len(g.texts))
		for j := range g.length() {
			states, err := p.encodeChunks(g, i, j, s)
			if err != nil {
				return fmt.Errorf("text encoder %d: %w", i+1, err)
			}
			for k := range all {
				all[k] = append(all[k], states[k]...)
			}
		}
		for k := range all {
			g.states[k].context = sideBySide(g.states[k].context, all[k], width, hidden)
		}
		width += hidden
	}
	return nil
}

// encodeChunks gives the states of chunk j of every text of a guide, by encoder i, with their weights.
func (p *Pipeline) encodeChunks(g *guide, i, j int, s settings) (states [][]float32, err error) {
	var all []weighed
	for k, text := range g.texts {
		c, err := p.encodeChunk(i, text[i][j], s)
		if err != nil {
			return nil, err
		}
		if j == 0 {
			g.states[k].pooled = append(g.states[k].pooled, c.pooled...)
		}
		all = append(all, weighed{c.context, text[i][j].weights, g.times(k)})
	}
	empty := func() ([]float32, error) {
		c, err := p.encodeChunk(i, chunk{ids: p.tokenizers[i].Frame(nil)}, s)
		return c.context, err
	}
	if err := s.reading.weigh(all, empty); err != nil {
		return nil, err
	}
	for _, w := range all {
		states = append(states, w.states)
	}
	return states, nil
}

// times counts the phases that use a text.
func (g guide) times(text int) (n int) {
	for _, p := range g.phases {
		if p.text == text {
			n++
		}
	}
	return n
}

// at is the text of a step, counted from 1.
func (g guide) at(step int) int {
	for _, p := range g.phases {
		if step <= p.until {
			return p.text
		}
	}
	return g.phases[len(g.phases)-1].text
}

// turn brings the prompts of the step to come.
func (d *Drawing) turn() {
	var texts []int
	for _, g := range d.guides {
		texts = append(texts, g.at(d.step+1))
	}
	if slices.Equal(texts, d.phases) {
		return
	}
	d.phases, d.prompts = texts, nil
	for i, g := range d.guides {
		d.prompts = append(d.prompts, g.states[texts[i]])
	}
	d.turns++
}

// compose adds what the parts of a prompt change about the negative prompt's prediction: [parts,C,H,W] → [C,H,W]. Liu et
// al. 2022, composable diffusion.
func (s settings) compose(negative, parts []float32) []float32 {
	if len(s.parts) == 1 && s.parts[0].Weight == 1 {
		return parts
	}
	out := make([]float32, len(negative))
	for k, n := range negative {
		v := float64(n)
		for i, part := range s.parts {
			v += part.Weight * (float64(parts[i*len(negative)+k]) - float64(n))
		}
		out[k] = float32(v)
	}
	return out
}
