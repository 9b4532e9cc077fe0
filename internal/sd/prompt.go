package sd

import (
	"encoding/json"
	"fmt"

	"waggle/internal/models"
	"waggle/internal/nn"
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
type tokens [][][]int32

// prompts encodes what a picture needs: the prompt, behind the negative one where there is guidance.
func (p *Pipeline) prompts(s settings) ([]conditioning, error) {
	all, err := p.chunks(s)
	if err != nil {
		return nil, err
	}
	var prompts []conditioning
	for _, t := range all {
		c, err := p.encode(t, s.ClipSkip)
		if err != nil {
			return nil, err
		}
		prompts = append(prompts, c)
	}
	return prompts, nil
}

// chunks cuts the prompts of a picture into equally many chunks.
func (p *Pipeline) chunks(s settings) ([]tokens, error) {
	var all []tokens
	longest := 0
	for _, text := range []string{s.Negative, s.Prompt}[2-s.passes:] {
		t, err := p.tokenize(text)
		if err != nil {
			return nil, err
		}
		all, longest = append(all, t), max(longest, len(t[0]))
	}
	for _, t := range all {
		p.pad(t, longest)
	}
	return all, nil
}

// tokenize cuts a prompt into chunks for every text encoder.
func (p *Pipeline) tokenize(text string) (tokens, error) {
	var all tokens
	for i, t := range p.tokenizers {
		chunks, err := t.Chunks(text, 0)
		if err != nil {
			return nil, err
		}
		for _, chunk := range chunks {
			if err := p.networks.text[i].config.checkTokens(chunk); err != nil {
				return nil, err
			}
		}
		all = append(all, chunks)
	}
	return all, nil
}

func (c TextConfig) checkTokens(chunk []int32) error {
	if len(chunk) != c.Positions {
		return fmt.Errorf("the text encoder has %d positions, want %d", c.Positions, len(chunk))
	}
	for _, id := range chunk {
		if id < 0 || int(id) >= c.Vocabulary {
			return fmt.Errorf("token %d is outside the text encoder's vocabulary of %d: the model lacks its own tokenizer files", id, c.Vocabulary)
		}
	}
	return nil
}

// Pieces cuts a text as the model's first text encoder reads it. Unlike the other methods it may be called at any time, by
// many goroutines.
func (p *Pipeline) Pieces(text string) []tokenizer.Piece { return p.tokenizers[0].Pieces(text) }

// CheckPrompts says whether the prompts of a request can be read, before anything is drawn.
func (p *Pipeline) CheckPrompts(r Request) error {
	s, err := p.settle(r)
	if err == nil {
		_, err = p.chunks(s)
	}
	return err
}

// pad adds empty chunks until every encoder has count of them.
func (p *Pipeline) pad(all tokens, count int) {
	for i, t := range p.tokenizers {
		for len(all[i]) < count {
			all[i] = append(all[i], t.Frame(nil))
		}
	}
}

// encode runs every text encoder over its chunks: chunks stand one after another, encoders side by side. The summary is
// the first chunk's.
func (p *Pipeline) encode(all tokens, skip int) (conditioning, error) {
	var c conditioning
	width := 0
	for i, chunks := range all {
		hidden := p.networks.text[i].config.Hidden
		var states []float32
		for j, chunk := range chunks {
			part, err := p.encodeChunk(i, chunk, skip)
			if err != nil {
				return c, fmt.Errorf("text encoder %d: %w", i+1, err)
			}
			if states = append(states, part.context...); j == 0 {
				c.pooled = append(c.pooled, part.pooled...)
			}
		}
		c.context, width = sideBySide(c.context, states, width, hidden), width+hidden
	}
	return c, nil
}

// skip is the number of layers at the end that the context leaves out; clipSkip counts from 1, the last layer, and 0 is the
// model's own choice.
func (c TextConfig) skip(clipSkip int) int {
	if clipSkip > 0 {
		return clipSkip - 1
	}
	return c.ContextSkip
}

// encodeChunk runs one text encoder, or remembers what it gave.
func (p *Pipeline) encodeChunk(i int, chunk []int32, clipSkip int) (c conditioning, err error) {
	n := p.networks.text[i]
	skip := n.config.skip(clipSkip)
	key := fmt.Sprint(i, " ", skip)
	if c, ok := p.texts.get(fmt.Sprint(key, chunk)); ok {
		return c, nil
	}
	encoder, err := p.program("text "+key, n.tensors, func() *nn.Graph { return textGraph(n, skip) })
	if err != nil {
		return c, err
	}
	if c.context, err = run(encoder, map[string][]float32{"ids": asFloats(chunk)}, "context"); err != nil {
		return c, err
	}
	if width := n.config.Projection; width > 0 {
		all, err := encoder.Output("pooled")
		if err != nil {
			return c, err
		}
		c.pooled = all[endOfText(chunk)*width:][:width]
	}
	p.texts.put(fmt.Sprint(key, chunk), c)
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
