package tokenizer

import "fmt"

const (
	// ChunkLength is the number of positions of a CLIP text encoder.
	ChunkLength = 77
	// ChunkTokens are those left beside BOS and EOS.
	ChunkTokens = ChunkLength - 2
	// MaxChunks is the limit for a prompt where the caller has no reason for another.
	MaxChunks = 16
	// commaLookBack is how far back a chunk may end early at a comma, so that a phrase is not torn: the default of the
	// A1111 web UI's option comma_padding_backtrack.
	commaLookBack = 20
)

// TooLongError says that a prompt needs more chunks than allowed.
type TooLongError struct{ Tokens, Chunks, Limit int }

func (e *TooLongError) Error() string {
	return fmt.Sprintf("Prompt too long: %d tokens need %d chunks of %d, the limit is %d chunks (%d tokens); shorten it",
		e.Tokens, e.Chunks, ChunkTokens, e.Limit, e.Limit*ChunkTokens)
}

// Chunks encodes text into chunks of exactly ChunkLength ids each: BOS, at most ChunkTokens of text, EOS, padding.
// An empty text is one chunk. More than limit chunks give a *TooLongError; limit 0 means MaxChunks.
func (t *Tokenizer) Chunks(text string, limit int) ([][]int32, error) {
	if limit <= 0 {
		limit = MaxChunks
	}
	ids := t.Encode(text)
	parts := t.cut(ids)
	if len(parts) > limit {
		return nil, &TooLongError{Tokens: len(ids), Chunks: len(parts), Limit: limit}
	}
	chunks := make([][]int32, len(parts))
	for i, part := range parts {
		chunks[i] = t.Frame(part)
	}
	return chunks, nil
}

// Frame puts BOS and EOS around the first ChunkTokens of ids and pads to ChunkLength.
func (t *Tokenizer) Frame(ids []int32) []int32 {
	if len(ids) > ChunkTokens {
		ids = ids[:ChunkTokens]
	}
	chunk := make([]int32, 0, ChunkLength)
	chunk = append(chunk, t.special.BOS)
	chunk = append(chunk, ids...)
	chunk = append(chunk, t.special.EOS)
	for len(chunk) < ChunkLength {
		chunk = append(chunk, t.special.Pad)
	}
	return chunk
}

// cut splits ids into parts of at most ChunkTokens. A full part that would be followed by anything but a comma ends after
// its last comma instead, when that is among its last commaLookBack tokens.
func (t *Tokenizer) cut(ids []int32) [][]int32 {
	parts := [][]int32{}
	for len(ids) > ChunkTokens {
		end := t.partEnd(ids)
		parts = append(parts, ids[:end])
		ids = ids[end:]
	}
	return append(parts, ids)
}

// partEnd is where the first part of ids ends; there are more than ChunkTokens.
func (t *Tokenizer) partEnd(ids []int32) int {
	if ids[ChunkTokens] == t.comma {
		return ChunkTokens
	}
	for i := ChunkTokens - 1; i >= ChunkTokens-commaLookBack; i-- {
		if ids[i] == t.comma {
			return i + 1
		}
	}
	return ChunkTokens
}
