package sd

import (
	"encoding/json"
	"fmt"
	"slices"

	"waggle/internal/models"
	"waggle/internal/nn"
	"waggle/internal/prompt"
	"waggle/internal/tokenizer"
)

// conditioning is a prompt as the UNet reads it.
type conditioning struct {
	context []float32 // [tokens, Context]
	pooled  []float32 // [Projection], empty where the UNet takes none
}

// newTokenizer makes the tokenizer of one text encoder from the model's files, else CLIP's own.
func newTokenizer(files models.TokenizerFiles, c TextConfig) (*tokenizer.Tokenizer, error) {
	if files.Vocab == nil {
		t := tokenizer.Standard()
		if c.Activation == nn.GELU { // OpenCLIP's encoders were trained with chunks filled by token 0
			t = t.WithPad(0)
		}
		return t, nil
	}
	t, err := tokenizer.New(files.Vocab, files.Merges)
	if err != nil {
		return nil, err
	}
	pad, ok, err := padToken(files)
	if err != nil {
		return nil, err
	}
	if ok {
		t = t.WithPad(pad)
	}
	return t, nil
}

// padToken is the id of the token that tokenizer_config.json names as padding.
func padToken(files models.TokenizerFiles) (id int32, ok bool, err error) {
	if files.Config == nil {
		return 0, false, nil
	}
	var config struct {
		Pad json.RawMessage `json:"pad_token"`
	}
	if err := readConfig(files.Config, &config); err != nil {
		return 0, false, fmt.Errorf("tokenizer_%w", err)
	}
	var text string
	var object struct{ Content string }
	if json.Unmarshal(config.Pad, &text) != nil && json.Unmarshal(config.Pad, &object) == nil {
		text = object.Content
	}
	if text == "" {
		return 0, false, nil
	}
	var vocabulary map[string]int32
	if err := json.Unmarshal(files.Vocab, &vocabulary); err != nil {
		return 0, false, fmt.Errorf("vocab.json: %w", err)
	}
	if id, ok = vocabulary[text]; !ok {
		return 0, false, fmt.Errorf("tokenizer_config.json: pad_token %q is not in vocab.json", text)
	}
	return id, true, nil
}

// tokens of a prompt: for each text encoder its chunks.
type tokens [][]chunk

// chunk is what a text encoder reads at once.
type chunk struct {
	ids     []int32   // [Positions], what frames and fills it included
	weights []float32 // [Positions] of the states that come of them; nil where all are 1
	rows    []row     // those that stand in place of tokens, whose ids are −1
}

// row of a textual inversion at a place of a chunk.
type row struct {
	place  int
	name   string // of the inversion
	hash   string // of its file
	number int    // of its rows
	vector []float32
}

// key tells chunks apart.
func (c chunk) key() string {
	key := fmt.Sprint(c.ids)
	for _, r := range c.rows {
		key += fmt.Sprint(" ", r.hash, r.number)
	}
	return key
}

// vectors are the rows at their places, and 0 elsewhere: [Positions,width].
func (c chunk) vectors(width int) []float32 {
	v := make([]float32, len(c.ids)*width)
	for _, r := range c.rows {
		copy(v[r.place*width:], r.vector)
	}
	return v
}

// tokenize cuts a text without any syntax.
func (p *Pipeline) tokenize(text string) (tokens, error) {
	return plainText.tokenize(p, text, &inversions{})
}

// tokenize cuts a text for every text encoder.
func (r reading) tokenize(p *Pipeline, text string, known *inversions) (tokens, error) {
	spans, err := r.emphasis(text)
	if err != nil {
		return nil, err
	}
	all := make(tokens, len(p.tokenizers))
	for i, t := range p.tokenizers {
		bodies := r.chunks(known.reader(t), spans)
		if known.err != nil {
			return nil, known.err
		}
		if err := fewEnough(bodies); err != nil {
			return nil, err
		}
		for _, body := range bodies {
			c := framed(t, body, known.opened, i)
			if err := p.networks.text[i].config.checkTokens(c); err != nil {
				return nil, err
			}
			all[i] = append(all[i], c)
		}
	}
	return all, nil
}

func fewEnough(bodies []prompt.Chunk) error {
	if len(bodies) <= tokenizer.MaxChunks {
		return nil
	}
	count := 0
	for _, body := range bodies {
		count += len(body)
	}
	return &tokenizer.TooLongError{Tokens: count, Chunks: len(bodies), Limit: tokenizer.MaxChunks}
}

// framed puts begin, end and fillers around a chunk of text encoder i.
func framed(t *tokenizer.Tokenizer, body prompt.Chunk, opened []*inversion, i int) chunk {
	ids := make([]int32, len(body))
	var c chunk
	for at, token := range body {
		ids[at] = token.ID
		if token.Embedding > 0 {
			ids[at] = -1
			c.rows = append(c.rows, opened[token.Embedding-1].row(i, token.Row, 1+at))
		}
		if token.Weight != 1 && c.weights == nil {
			c.weights = slices.Repeat([]float32{1}, tokenizer.ChunkLength)
		}
		if c.weights != nil {
			c.weights[1+at] = float32(token.Weight)
		}
	}
	c.ids = t.Frame(ids)
	return c
}

func (c TextConfig) checkTokens(chunk chunk) error {
	if len(chunk.ids) != c.Positions {
		return fmt.Errorf("the text encoder has %d positions, want %d", c.Positions, len(chunk.ids))
	}
	for _, r := range chunk.rows {
		if len(r.vector) != c.Hidden {
			return fmt.Errorf("the text encoder has states of %d numbers, not %d", c.Hidden, len(r.vector))
		}
	}
	for _, id := range chunk.ids {
		if int(id) >= c.Vocabulary {
			return fmt.Errorf("token %d is outside the text encoder's vocabulary of %d: the model lacks its own tokenizer files", id, c.Vocabulary)
		}
	}
	return nil
}

// CheckPrompts says whether the prompts of a request can be read, before anything is drawn.
func (p *Pipeline) CheckPrompts(r Request) error {
	s, err := p.settle(r)
	if err == nil {
		_, err = p.read(s)
	}
	return err
}

// pad adds empty chunks until every encoder has count of them.
func (p *Pipeline) pad(all tokens, count int) {
	for i, t := range p.tokenizers {
		for len(all[i]) < count {
			all[i] = append(all[i], chunk{ids: t.Frame(nil)})
		}
	}
}

// skip is the number of layers at the end that the context leaves out; clipSkip counts from 1, the last layer, and 0 is the
// model's own choice.
func (c TextConfig) skip(clipSkip int) int {
	if clipSkip > 0 {
		return clipSkip - 1
	}
	return c.ContextSkip
}

// encodeChunk runs one text encoder, or remembers what it gave. Weights do not matter to it.
func (p *Pipeline) encodeChunk(i int, chunk chunk, s settings) (c conditioning, err error) {
	n := p.networks.text[i]
	skip := n.config.skip(s.ClipSkip)
	key := fmt.Sprint(i, " ", skip, s.loras.keyOf(n.tensors))
	if c, ok := p.texts.get(key + chunk.key()); ok {
		return c, nil
	}
	encoder, err := p.program("text "+key, s.loras.source(n.tensors), func() *nn.Graph { return textGraph(n, skip) })
	if err != nil {
		return c, err
	}
	if c.context, err = run(encoder, map[string][]float32{"ids": asFloats(chunk.ids), "rows": chunk.vectors(n.config.Hidden)}, "context"); err != nil {
		return c, err
	}
	if width := n.config.Projection; width > 0 {
		all, err := encoder.Output("pooled")
		if err != nil {
			return c, err
		}
		c.pooled = all[endOfText(chunk.ids)*width:][:width]
	}
	p.texts.put(key+chunk.key(), c)
	return c, nil
}

func asFloats(ids []int32) []float32 {
	v := make([]float32, len(ids))
	for i, id := range ids {
		v[i] = float32(id)
	}
	return v
}

// endOfText is the place of a chunk's first end-of-text token, the greatest id of every CLIP vocabulary.
func endOfText(chunk []int32) int {
	at := 0
	for i, id := range chunk {
		if id > chunk[at] {
			at = i
		}
	}
	return at
}

// sideBySide puts rows of b after rows of a: [n,wa] and [n,wb] → [n,wa+wb].
func sideBySide(a, b []float32, wa, wb int) []float32 {
	if wa == 0 {
		return b
	}
	out := make([]float32, 0, len(a)+len(b))
	for i := range len(b) / wb {
		out = append(append(out, a[i*wa:][:wa]...), b[i*wb:][:wb]...)
	}
	return out
}
