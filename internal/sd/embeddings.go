package sd

import "slices"

// Embedding is a textual inversion that a picture's prompts name.
type Embedding struct {
	Name string
	Hash string // of its file: the first digits of its SHA-256
}

// Embeddings that the drawing's prompts name, in the order of their first use.
func (d *Drawing) Embeddings() []Embedding { return embeddingsIn(d.guides) }

// Embeddings that the prompts of a request name.
func (p *Pipeline) Embeddings(r Request) ([]Embedding, error) {
	s, err := p.settle(r)
	if err != nil {
		return nil, err
	}
	guides, err := p.read(s)
	return embeddingsIn(guides), err
}

func embeddingsIn(guides []guide) (all []Embedding) {
	for _, g := range guides {
		for _, text := range g.texts {
			for _, c := range text[0] { // all text encoders read the same names
				for _, r := range c.rows {
					if e := (Embedding{r.name, r.hash}); !slices.Contains(all, e) {
						all = append(all, e)
					}
				}
			}
		}
	}
	return all
}
