package prompt

// Token is one place of a chunk: an id of the vocabulary, or a row of an embedding that stands in its place.
type Token struct {
	ID        int32
	Weight    float64
	Embedding int // its number from 1, 0 where there is none
	Row       int // of the embedding
}

// Chunk is what a text encoder reads at once, without what frames it: at most Reader.Length tokens.
type Chunk []Token

// Reader says how text becomes tokens.
type Reader struct {
	Length int   // of a chunk
	Comma  int32 // the token of a comma, behind which a chunk may end early
	Encode func(text string) []int32
	// Embedding finds the one whose name the tokens begin with: its number from 1, its rows, and how many tokens the name
	// takes. It may be nil.
	Embedding func(tokens []int32) (number, rows, taken int)
	// Named finds the embedding that ComfyUI's "embedding:name" names: its number from 1, or 0, and its rows. It may be nil.
	Named func(name string) (number, rows int)
}

// commaLookBack is how far back a chunk may end early at a comma, so that a phrase is not torn: the default of the A1111
// web UI's option comma_padding_backtrack.
const commaLookBack = 20

// Chunks cuts weighed text into chunks. There is at least one; BREAK ends one, and may leave it empty. An embedding is not
// torn as long as it fits a chunk.
func (r Reader) Chunks(spans []Span) []Chunk {
	c := chunker{Reader: r, comma: -1}
	for _, s := range spans {
		if s.IsBreak() {
			c.next()
		} else {
			c.add(r.Encode(s.Text), s.Weight)
		}
	}
	if len(c.open) > 0 || len(c.done) == 0 {
		c.next()
	}
	return c.done
}

// chunker fills chunks one after another.
type chunker struct {
	Reader
	done  []Chunk
	open  Chunk
	comma int // the place of the last comma in the open chunk, or −1
}

func (c *chunker) next() {
	c.done, c.open, c.comma = append(c.done, c.open), nil, -1
}

func (c *chunker) add(ids []int32, weight float64) {
	for len(ids) > 0 {
		if ids[0] == c.Comma {
			c.comma = len(c.open)
		} else if len(c.open) == c.Length && c.comma >= 0 && len(c.open)-c.comma <= commaLookBack {
			c.breakAtComma()
		}
		if len(c.open) == c.Length {
			c.next()
		}
		number, rows, taken := c.embedding(ids)
		if number == 0 {
			c.open, ids = append(c.open, Token{ID: ids[0], Weight: weight}), ids[1:]
			continue
		}
		c.embed(number, rows, weight)
		ids = ids[taken:]
	}
}

func (c *chunker) embedding(ids []int32) (number, rows, taken int) {
	if c.Embedding == nil {
		return 0, 0, 0
	}
	return c.Embedding(ids)
}

// embed puts the rows of an embedding into a chunk.
func (c *chunker) embed(number, rows int, weight float64) {
	if len(c.open)+rows > c.Length {
		c.next()
	}
	for row := range rows {
		if len(c.open) == c.Length {
			c.next()
		}
		c.open = append(c.open, Token{Weight: weight, Embedding: number, Row: row})
	}
}

// breakAtComma ends the open chunk behind its last comma; what follows begins the next.
func (c *chunker) breakAtComma() {
	at := c.comma + 1
	rest := append(Chunk{}, c.open[at:]...)
	c.open = c.open[:at]
	c.next()
	c.open = rest
}
