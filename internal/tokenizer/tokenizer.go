// Package tokenizer turns a prompt into the token ids that a CLIP text encoder reads, and ids back into text.
//
// The method is byte-pair encoding over bytes (Radford et al. 2019, 2021). Text is brought to Unicode form NFC, runs of
// white space become one space, letters become lower case. It is cut into words; the bytes of each word start as one symbol
// each, the last one marked </w>, and the pair of neighbours that the merge table ranks lowest is joined until no pair is left.
//
// Long prompts are cut into chunks of 75 tokens, see Tokenizer.Chunks.
package tokenizer

import (
	"fmt"
	"strings"
)

const (
	startOfText = "<|startoftext|>"
	endOfText   = "<|endoftext|>"
	wordEnd     = "</w>"
)

// Special are the ids that frame a chunk: begin, end, and what fills the rest.
// SD 1.x and the first encoder of SDXL pad with EOS, OpenCLIP encoders (SD 2.x, the second encoder of SDXL) with 0.
type Special struct{ BOS, EOS, Pad int32 }

// Tokenizer encodes text with one vocabulary. It does not change after construction and may be used by many goroutines.
type Tokenizer struct {
	special Special
	comma   int32            // the token of a comma that ends a word, or -1
	names   []string         // id → token as written in the vocabulary, "" where the id is unused
	inside  [256]int32       // byte → its id within a word
	last    [256]int32       // byte → its id at the end of a word
	merges  map[pair]merging // neighbours → what they become
	literal map[string]int32 // special tokens that a text may spell out
}

type pair struct{ left, right int32 }

type merging struct {
	rank int32 // lower ranks are joined first
	id   int32
}

// Special returns the ids that frame a chunk.
func (t *Tokenizer) Special() Special { return t.special }

// Comma is the token of a comma that ends a word, or −1.
func (t *Tokenizer) Comma() int32 { return t.comma }

// WithSpecial returns a tokenizer that frames chunks with other ids, for instance those of a text encoder's config.json.
func (t *Tokenizer) WithSpecial(special Special) *Tokenizer {
	other := *t
	other.special = special
	return &other
}

// WithPad returns a tokenizer that fills chunks with another id.
func (t *Tokenizer) WithPad(id int32) *Tokenizer {
	special := t.special
	special.Pad = id
	return t.WithSpecial(special)
}

// Size is one more than the greatest id of the vocabulary.
func (t *Tokenizer) Size() int { return len(t.names) }

// Encode returns the ids of text, any length, without BOS and EOS. Bytes that are not UTF-8 count as U+FFFD.
func (t *Tokenizer) Encode(text string) []int32 {
	var ids []int32
	rest := normalize(text)
	for rest != "" {
		before, token, after := t.cutLiteral(rest)
		for word := range words(before) {
			ids = append(ids, t.encodeWord(word)...)
		}
		if token >= 0 {
			ids = append(ids, token)
		}
		rest = after
	}
	return ids
}

// cutLiteral splits text at the first special token that is spelt out in it. Without one, token is -1 and after is empty.
func (t *Tokenizer) cutLiteral(text string) (before string, token int32, after string) {
	at := strings.Index(text, "<|")
	for at >= 0 {
		for name, id := range t.literal {
			if strings.HasPrefix(text[at:], name) {
				return text[:at], id, text[at+len(name):]
			}
		}
		next := strings.Index(text[at+1:], "<|")
		if next < 0 {
			break
		}
		at += 1 + next
	}
	return text, -1, ""
}

// Piece is one token as the vocabulary spells it.
type Piece struct {
	ID      int32  `json:"id"`
	Text    string `json:"text"`     // bytes that are no whole character are shown as U+FFFD
	WordEnd bool   `json:"word_end"` // a space follows, in effect
}

// Pieces encodes text and names every token.
func (t *Tokenizer) Pieces(text string) []Piece {
	ids := t.Encode(text)
	pieces := make([]Piece, len(ids))
	for i, id := range ids {
		pieces[i] = t.Piece(id)
	}
	return pieces
}

// Piece names a token of the vocabulary.
func (t *Tokenizer) Piece(id int32) Piece {
	raw, end := t.spell(id)
	return Piece{ID: id, Text: strings.ToValidUTF8(raw, "\uFFFD"), WordEnd: end}
}

// Decode returns the text of ids, in lower case and with a space after every word. Ids outside the vocabulary are an error.
func (t *Tokenizer) Decode(ids []int32) (string, error) {
	var text strings.Builder
	for i, id := range ids {
		if id < 0 || int(id) >= len(t.names) || t.names[id] == "" {
			return "", fmt.Errorf("token %d of %d: id %d is not in the vocabulary of %d", i, len(ids), id, len(t.names))
		}
		raw, end := t.spell(id)
		text.WriteString(raw)
		if end {
			text.WriteByte(' ')
		}
	}
	return strings.ToValidUTF8(strings.TrimSuffix(text.String(), " "), "\uFFFD"), nil
}

// spell returns the bytes of a token and whether it ends a word. Special tokens are spelt as they are named.
func (t *Tokenizer) spell(id int32) (raw string, end bool) {
	name := t.names[id]
	if _, special := t.literal[name]; special {
		return name, true
	}
	name, end = strings.CutSuffix(name, wordEnd)
	var bytes []byte
	for _, symbol := range name {
		if b, ok := byteOf(symbol); ok {
			bytes = append(bytes, b)
		} else {
			bytes = append(bytes, string(symbol)...)
		}
	}
	return string(bytes), end
}

// Token is how the vocabulary spells an id; "" where there is none.
func (t *Tokenizer) Token(id int32) string {
	if id < 0 || int(id) >= len(t.names) {
		return ""
	}
	return t.names[id]
}
