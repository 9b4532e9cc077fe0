package sd

// encode gives the states of plain chunks.
func (p *Pipeline) encode(all tokens, clipSkip int) (conditioning, error) {
	g := guide{weight: 1, texts: []tokens{all}, phases: []phase{{1, 0}}}
	if err := p.encodeGuide(&g, settings{Request: Request{ClipSkip: clipSkip}, reading: plainText}); err != nil {
		return conditioning{}, err
	}
	return g.states[0], nil
}

// prompts are those of a picture's first step.
func (p *Pipeline) prompts(s settings) ([]conditioning, error) {
	d := &Drawing{settings: s, pipeline: p}
	var err error
	d.guides, err = p.guides(s)
	d.turn()
	return d.prompts, err
}
