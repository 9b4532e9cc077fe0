package tokenizer

import (
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// normalize brings text to the form that the vocabulary was made from: NFC, single spaces, lower case.
func normalize(text string) string {
	text = norm.NFC.String(strings.ToValidUTF8(text, "\uFFFD"))
	var out strings.Builder
	out.Grow(len(text))
	space := false
	for _, r := range text {
		if unicode.IsSpace(r) {
			if !space {
				out.WriteByte(' ')
			}
			space = true
			continue
		}
		space = false
		writeLower(&out, r)
	}
	return out.String()
}

// writeLower writes the lower case of r. U+0130 is the one letter whose full mapping has two characters without a context
// (Unicode SpecialCasing.txt).
func writeLower(out *strings.Builder, r rune) {
	if r == '\u0130' {
		out.WriteString("i\u0307")
		return
	}
	out.WriteRune(unicode.ToLower(r))
}

// contractions end English words and are words of their own.
var contractions = []string{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}

// words cuts normalized text: a contraction, a run of letters, one digit, or a run of anything else but space.
func words(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for text = strings.TrimLeft(text, " "); text != ""; text = strings.TrimLeft(text, " ") {
			n := wordLength(text)
			if !yield(text[:n]) {
				return
			}
			text = text[n:]
		}
	}
}

// wordLength is the number of bytes of the first word of text, which does not begin with a space.
func wordLength(text string) int {
	for _, contraction := range contractions {
		if strings.HasPrefix(text, contraction) {
			return len(contraction)
		}
	}
	first, size := utf8.DecodeRuneInString(text)
	if unicode.IsNumber(first) {
		return size
	}
	kind := kindOf(first)
	for i, r := range text {
		if kindOf(r) != kind {
			return i
		}
	}
	return len(text)
}

type kind int

const (
	other kind = iota
	letter
	number
	space
)

func kindOf(r rune) kind {
	switch {
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
		return number
	case unicode.IsSpace(r):
		return space
	}
	return other
}
