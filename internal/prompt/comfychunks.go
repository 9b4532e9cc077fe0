package prompt

import "strings"

// wordTokens is the least number of tokens of a text that may be torn at the end of a chunk, as in ComfyUI.
const wordTokens = 8

// ComfyChunks cuts weighed text into chunks as ComfyUI does: a span of few tokens is kept together, a longer one fills a chunk
// to its end.
func (r Reader) ComfyChunks(spans []Span) []Chunk {
	c := chunker{Reader: r, comma: -1}
	for _, s := range spans {
		for i, text := range splitEmbeddings(s.Text) {
			if i > 0 {
				text = c.addNamed(text, s.Weight)
			}
			c.addText(text, s.Weight)
		}
	}
	c.next()
	return c.done
}

// embeddingMark is what ComfyUI writes before the name of an embedding.
const embeddingMark = "embedding:"

// splitEmbeddings cuts text at every mark that begins a word. All but the first piece begin with a name.
func splitEmbeddings(text string) (pieces []string) {
	start := 0
	for at := 0; ; at += len(embeddingMark) {
		i := strings.Index(text[at:], embeddingMark)
		if i < 0 {
			return append(pieces, text[start:])
		}
		if at += i; at == 0 || text[at-1] == ' ' || text[at-1] == '\n' {
			pieces, start = append(pieces, text[start:at]), at+len(embeddingMark)
		}
	}
}

// addNamed adds the rows of the embedding whose name text begins with, and returns the rest.
func (c *chunker) addNamed(text string, weight float64) (rest string) {
	end := strings.IndexFunc(text, isSpace)
	if end < 0 {
		end = len(text)
	}
	name := strings.TrimRight(text[:end], ",")
	if c.Named == nil || name == "" {
		return embeddingMark + text
	}
	number, rows := c.Named(name)
	if number == 0 {
		return text[end:]
	}
	var group Chunk
	for row := range rows {
		group = append(group, Token{Weight: weight, Embedding: number, Row: row})
	}
	c.addGroup(group)
	return text[len(name):]
}

func (c *chunker) addText(text string, weight float64) {
	var group Chunk
	for _, id := range c.Encode(text) {
		group = append(group, Token{ID: id, Weight: weight})
	}
	c.addGroup(group)
}

func (c *chunker) addGroup(group Chunk) {
	large := len(group) >= wordTokens
	for len(c.open)+len(group) > c.Length {
		if large {
			room := c.Length - len(c.open)
			c.open, group = append(c.open, group[:room]...), group[room:]
		}
		c.next()
	}
	c.open = append(c.open, group...)
}
