package tokenizer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits on foreign vocabulary files. CLIP's own are 1 MB and 0.5 MB, with 49408 tokens.
const (
	maxFileBytes = 16 << 20
	maxTokens    = 1 << 20
	maxTokenSize = 1 << 10 // bytes
)

// New makes a tokenizer from the contents of a diffusers folder's vocab.json (token → id) and merges.txt (a version line,
// then "left right" per line, best first). The vocabulary must have <|startoftext|> and <|endoftext|>; padding is
// <|endoftext|> unless changed by WithPad. A byte that the vocabulary lacks is encoded as <|endoftext|>, its unknown token.
func New(vocab, merges []byte) (*Tokenizer, error) {
	ids, err := parseVocab(vocab)
	if err != nil {
		return nil, fmt.Errorf("vocab.json: %w", err)
	}
	pairs, err := parseMerges(merges)
	if err != nil {
		return nil, fmt.Errorf("merges.txt: %w", err)
	}
	return build(ids, pairs)
}

func parseVocab(data []byte) (map[string]int32, error) {
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("%d bytes, the limit is %d", len(data), maxFileBytes)
	}
	var ids map[string]int32
	if err := json.Unmarshal(data, &ids); err != nil {
		return nil, fmt.Errorf("want an object of tokens and ids: %w", err)
	}
	owner := make(map[int32]string, len(ids))
	for token, id := range ids {
		if id < 0 || id >= maxTokens {
			return nil, fmt.Errorf("token %.40q: id %d is outside 0…%d", token, id, maxTokens-1)
		}
		if token == "" || len(token) > maxTokenSize {
			return nil, fmt.Errorf("id %d: a token of %d bytes", id, len(token))
		}
		if twin, taken := owner[id]; taken {
			return nil, fmt.Errorf("tokens %.40q and %.40q share id %d", min(token, twin), max(token, twin), id)
		}
		owner[id] = token
	}
	return ids, nil
}

// parseMerges returns the pairs of tokens, best first.
func parseMerges(data []byte) ([][2]string, error) {
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("%d bytes, the limit is %d", len(data), maxFileBytes)
	}
	var pairs [][2]string
	lines := bufio.NewScanner(bytes.NewReader(data))
	for number := 1; lines.Scan(); number++ {
		line := lines.Text()
		if line == "" || number == 1 && versionLine(line) {
			continue
		}
		left, right, ok := strings.Cut(line, " ")
		if !ok || left == "" || right == "" || strings.Contains(right, " ") || !utf8.ValidString(line) {
			return nil, fmt.Errorf("line %d: want two tokens with one space between, got %.40q", number, line)
		}
		if len(left)+len(right) > maxTokenSize {
			return nil, fmt.Errorf("line %d: tokens of %d bytes, the limit is %d", number, len(left)+len(right), maxTokenSize)
		}
		if pairs = append(pairs, [2]string{left, right}); len(pairs) > maxTokens {
			return nil, fmt.Errorf("line %d: more than %d merges", number, maxTokens)
		}
	}
	return pairs, lines.Err()
}

// versionLine reports whether the first line is a heading: "#version: 0.2", or OpenAI's with its name in front.
func versionLine(line string) bool { return strings.Contains(line, "#version") }

// build connects tokens, bytes and merges.
func build(ids map[string]int32, pairs [][2]string) (*Tokenizer, error) {
	bos, haveBOS := ids[startOfText]
	eos, haveEOS := ids[endOfText]
	if !haveBOS || !haveEOS {
		return nil, fmt.Errorf("the vocabulary lacks %s or %s", startOfText, endOfText)
	}
	t := &Tokenizer{
		special: Special{BOS: bos, EOS: eos, Pad: eos},
		comma:   idOr(ids, ","+wordEnd, -1),
		literal: map[string]int32{startOfText: bos, endOfText: eos},
		names:   namesByID(ids),
	}
	for b := range 256 {
		t.inside[b] = idOr(ids, string(symbolOf[b]), eos)
		t.last[b] = idOr(ids, string(symbolOf[b])+wordEnd, eos)
	}
	var err error
	t.merges, err = rank(ids, pairs)
	return t, err
}

func idOr(ids map[string]int32, token string, otherwise int32) int32 {
	if id, ok := ids[token]; ok {
		return id
	}
	return otherwise
}

func namesByID(ids map[string]int32) []string {
	greatest := int32(-1)
	for _, id := range ids {
		greatest = max(greatest, id)
	}
	names := make([]string, greatest+1)
	for token, id := range ids {
		names[id] = token
	}
	return names
}

// rank turns pairs of tokens into pairs of ids. Of two equal pairs the first counts.
func rank(ids map[string]int32, pairs [][2]string) (map[pair]merging, error) {
	merges := make(map[pair]merging, len(pairs))
	for i, tokens := range pairs {
		left, haveLeft := ids[tokens[0]]
		right, haveRight := ids[tokens[1]]
		joined, haveJoined := ids[tokens[0]+tokens[1]]
		if !haveLeft || !haveRight || !haveJoined {
			return nil, fmt.Errorf("merge %d (%.40q %.40q): the vocabulary lacks one of the two or their union",
				i+1, tokens[0], tokens[1])
		}
		if _, twice := merges[pair{left, right}]; !twice {
			merges[pair{left, right}] = merging{rank: int32(i), id: joined}
		}
	}
	return merges, nil
}

// fromMerges makes the vocabulary that a merge table implies: 256 bytes, the same at the end of a word, the merges in
// order, then the two special tokens.
func fromMerges(data []byte) (*Tokenizer, error) {
	pairs, err := parseMerges(data)
	if err != nil {
		return nil, err
	}
	ids := make(map[string]int32, 2*256+len(pairs)+2)
	add := func(token string) { ids[token] = int32(len(ids)) }
	// The first ids are in the order of the symbols, not of the bytes.
	symbols := slices.Sorted(slices.Values(symbolOf[:]))
	for _, symbol := range symbols {
		add(string(symbol))
	}
	for _, symbol := range symbols {
		add(string(symbol) + wordEnd)
	}
	for _, tokens := range pairs {
		add(tokens[0] + tokens[1])
	}
	if len(ids) != 2*256+len(pairs) {
		return nil, errors.New("two merges make the same token")
	}
	add(startOfText)
	add(endOfText)
	return build(ids, pairs)
}

// symbolOf maps a byte to the printable character that stands for it in vocabulary files (GPT-2's alphabet): itself where it
// is printable Latin-1, otherwise the next free one from U+0100 on.
var symbolOf = func() (symbols [256]rune) {
	free := rune(256)
	for b := range symbols {
		printable := b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae
		if printable {
			symbols[b] = rune(b)
			continue
		}
		symbols[b] = free
		free++
	}
	return symbols
}()

// byteBySymbol is the inverse of symbolOf.
var byteBySymbol = func() map[rune]byte {
	inverse := make(map[rune]byte, 256)
	for b, symbol := range symbolOf {
		inverse[symbol] = byte(b)
	}
	return inverse
}()

func byteOf(symbol rune) (byte, bool) {
	b, ok := byteBySymbol[symbol]
	return b, ok
}
