package prompt

// wordTokens is the least number of tokens of a text that may be torn at the end of a chunk, as in ComfyUI.
const wordTokens = 8

// ComfyChunks cuts weighed text into chunks as ComfyUI does: a span of few tokens is kept together, a longer one fills a chunk
// to its end.
func (r Reader) ComfyChunks(spans []Span) []Chunk {
	c := chunker{Reader: r, comma: -1}
	for _, s := range spans {
		var group Chunk
		for _, id := range r.Encode(s.Text) {
			group = append(group, Token{ID: id, Weight: s.Weight})
		}
		c.addGroup(group)
	}
	c.next()
	return c.done
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
