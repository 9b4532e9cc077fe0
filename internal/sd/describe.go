package sd

import (
	"waggle/internal/models"
	"waggle/internal/tokenizer"
)

// Outline is what can be said of a model without a device: what it is, and how it cuts text. It outlives its model and is
// safe for concurrent use.
type Outline struct {
	info       Info
	tokenizers []*tokenizer.Tokenizer
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
	return &Outline{p.Info(), p.tokenizers}, nil
}

// Info describes the model.
func (o *Outline) Info() Info { return o.info }

// Pieces cuts a text into tokens.
func (o *Outline) Pieces(text string) []tokenizer.Piece { return o.tokenizers[0].Pieces(text) }
