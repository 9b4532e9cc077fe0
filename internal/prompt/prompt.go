// Package prompt reads prompts as people write them for the A1111 web UI and for ComfyUI: emphasis, composition,
// schedules, and the names of networks that are mixed in. It knows no tokenizer and no model.
//
// A prompt of the A1111 kind is read in this order, each step on the text that the one before left:
//
//	Networks   takes <lora:name:0.8> and the like out of it
//	Split      cuts it at AND into parts with weights
//	Schedule   says for each step of the sampler what [a:b:0.3] and [a|b] stand for
//	Emphasis   gives each piece of text its weight: (a), (a:1.3), [a]; BREAK begins another chunk
//	Chunks     makes of that the rows of tokens that a text encoder reads
//
// ComfyUI has only emphasis, by other rules: [ComfyEmphasis].
//
// Brackets that do not match are text, as in those programs; what exceeds the limits below is an error. All of it takes
// time in proportion to the prompt's length.
package prompt

import (
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a prompt.
const (
	MaxBytes   = 64 << 10
	MaxDepth   = 64   // brackets open at once
	MaxParts   = 16   // joined by AND
	MaxTexts   = 64   // different ones that a schedule makes of a part
	MaxWeight  = 1000 // of a text or a part
	MaxNetwork = 64   // networks named
)

// checkLength refuses what is too long to be a prompt.
func checkLength(text string) error {
	if len(text) > MaxBytes {
		return fmt.Errorf("the prompt has %d bytes, at most %d", len(text), MaxBytes)
	}
	return nil
}

// checkWeight refuses weights that no network can be given.
func checkWeight(w float64) error {
	if !(math.Abs(w) <= MaxWeight) {
		return fmt.Errorf("the prompt has a weight of %.6g, at most %d", w, MaxWeight)
	}
	return nil
}

// isSpace is white space as regular expressions of Python have it.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// isWord is a letter of a word as regular expressions of Python have it.
func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r) }

func trimLeft(s string) string  { return strings.TrimLeftFunc(s, isSpace) }
func trimRight(s string) string { return strings.TrimRightFunc(s, isSpace) }
func trim(s string) string      { return strings.TrimFunc(s, isSpace) }

// splitAtWord cuts text at a keyword that stands alone: no letter, digit or underscore beside it.
func splitAtWord(text, word string) (parts []string) {
	start := 0
	for at := 0; ; {
		i := strings.Index(text[at:], word)
		if i < 0 {
			return append(parts, text[start:])
		}
		begin, end := at+i, at+i+len(word)
		before, _ := utf8.DecodeLastRuneInString(text[:begin])
		after, _ := utf8.DecodeRuneInString(text[end:])
		if !isWord(before) && !isWord(after) {
			parts, start = append(parts, text[start:begin]), end
		}
		at = end
	}
}
