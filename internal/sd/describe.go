package sd

import (
	"slices"

	"waggle/internal/models"
	"waggle/internal/prompt"
	"waggle/internal/tokenizer"
)

// Outline is what can be said of a model without a device: what it is, and how it cuts text. It outlives its model and is
// safe for concurrent use.
type Outline struct {
	info       Info
	tokenizers []*tokenizer.Tokenizer
	text       []TextConfig
	spellings  spellings
}

// Describe reads a model's headers and configuration. A model that could not be loaded is a models.ErrInvalid.
func Describe(m *models.Model) (*Outline, error) {
	p, err := newPipeline(nil, m)
	if err == nil {
		_, err = p.tokenize("")
	}
	if err != nil {
		return nil, &models.InvalidError{Model: m.Name, Err: err}
	}
	return &Outline{info: p.Info(), tokenizers: p.tokenizers, text: p.networks.textConfigs()}, nil
}

// Info describes the model.
func (o *Outline) Info() Info { return o.info }

// pieceSteps of a sampler are those that a prompt's schedule is looked at for.
const pieceSteps = 50

// Pieces cuts a prompt into tokens as the dialect a1111 reads it, with the embeddings of a shelf, which may be nil: what says
// how it is to be read is no token. Of a prompt with a schedule or several parts it is the longest text. One that cannot be
// read is cut as plain text.
func (o *Outline) Pieces(text string, shelf *models.Shelf) (longest []tokenizer.Piece) {
	known := &inversions{shelf: shelf, text: o.text, spellings: &o.spellings, numbers: map[string]int{}}
	if shelf != nil {
		known.entries = shelf.List(models.Embedding)
	}
	texts, err := promptTexts(text)
	for _, t := range texts {
		var pieces []tokenizer.Piece
		if pieces, err = o.pieces(t, known); err != nil {
			break
		}
		if len(pieces) > len(longest) {
			longest = pieces
		}
		if len(longest) > tokenizer.MaxChunks*tokenizer.ChunkTokens {
			break // too many anyhow
		}
	}
	if err != nil {
		return o.tokenizers[0].Pieces(text)
	}
	return longest
}

// promptTexts are all that a prompt says at some step.
func promptTexts(text string) (texts []string, err error) {
	words, _, err := prompt.Networks(text)
	if err != nil {
		return nil, err
	}
	parts, err := a1111.split(words)
	if err != nil {
		return nil, err
	}
	for _, part := range parts {
		phases, err := a1111.schedule(part.Text, prompt.Steps{Count: pieceSteps})
		if err != nil {
			return nil, err
		}
		for _, ph := range phases {
			if !slices.Contains(texts, ph.Text) {
				texts = append(texts, ph.Text)
			}
		}
	}
	return texts, nil
}

func (o *Outline) pieces(text string, known *inversions) (pieces []tokenizer.Piece, err error) {
	t := o.tokenizers[0]
	spans, err := a1111.emphasis(text)
	if err != nil {
		return nil, err
	}
	for _, chunk := range a1111.chunks(known.reader(t), spans) {
		for _, token := range chunk {
			if token.Embedding > 0 {
				pieces = append(pieces, tokenizer.Piece{ID: -1, Text: known.opened[token.Embedding-1].name, WordEnd: true})
			} else {
				pieces = append(pieces, t.Piece(token.ID))
			}
		}
	}
	return pieces, known.err
}
