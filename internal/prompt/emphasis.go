package prompt

import (
	"fmt"
	"strconv"
	"strings"
)

// Break is the text of a [Span] that ends a chunk; its weight is −1. In brackets BREAK is a word like others, as in the
// A1111 web UI: the brackets' weight makes it one.
const Break = "BREAK"

// IsBreak reports whether the span is no text but ends a chunk.
func (s Span) IsBreak() bool { return s.Text == Break && s.Weight == -1 }

// step by which a bracket without a number changes a weight.
const bracketWeight = 1.1

// Emphasis reads the weights of a prompt as the A1111 web UI does: (a) is a times 1.1, (a:1.3) is a times 1.3, [a] is a
// divided by 1.1, and a backslash makes a bracket a letter. There is at least one span.
func Emphasis(text string) ([]Span, error) {
	if err := checkLength(text); err != nil {
		return nil, err
	}
	var e emphasis
	for text != "" && e.err == nil {
		text = text[e.read(text):]
	}
	for _, from := range e.round {
		e.multiply(from, bracketWeight)
	}
	for _, from := range e.square {
		e.multiply(from, 1/bracketWeight)
	}
	if e.err != nil {
		return nil, e.err
	}
	return joined(e.spans)
}

// emphasis is a prompt read up to some point: its spans, and for each bracket that is open the first span in it.
type emphasis struct {
	spans         []Span
	round, square []int
	err           error
}

// read takes in the symbol that text begins with, and returns its length.
func (e *emphasis) read(text string) int {
	switch text[0] {
	case '\\':
		length := 1
		if len(text) > 1 && strings.IndexByte(`()[]\`, text[1]) >= 0 {
			length = 2
		}
		e.spans = append(e.spans, Span{text[1:length], 1})
		return length
	case '(':
		e.open(&e.round)
	case '[':
		e.open(&e.square)
	case ')':
		e.close(&e.round, bracketWeight, ")")
	case ']':
		e.close(&e.square, 1/bracketWeight, "]")
	case ':':
		number, length := closingWeight(text)
		if length > 0 && len(e.round) > 0 {
			e.close(&e.round, e.number(number), "")
			return length
		}
		length = max(length, 1)
		e.add(text[:length])
		return length
	default:
		length := strings.IndexAny(text, `\()[]:`)
		if length < 0 {
			length = len(text)
		}
		e.add(text[:length])
		return length
	}
	return 1
}

func (e *emphasis) open(brackets *[]int) {
	if len(e.round)+len(e.square) >= MaxDepth {
		e.err = fmt.Errorf("the prompt has more than %d brackets open at once", MaxDepth)
		return
	}
	*brackets = append(*brackets, len(e.spans))
}

// close ends the innermost bracket; where none is open, it is text.
func (e *emphasis) close(brackets *[]int, weight float64, text string) {
	last := len(*brackets) - 1
	if last < 0 {
		e.add(text)
		return
	}
	e.multiply((*brackets)[last], weight)
	*brackets = (*brackets)[:last]
}

func (e *emphasis) multiply(from int, weight float64) {
	for i := from; i < len(e.spans); i++ {
		e.spans[i].Weight *= weight
	}
}

// add takes in text in which only BREAK has a meaning.
func (e *emphasis) add(text string) {
	parts := splitAtWord(text, Break)
	for i, part := range parts {
		if i > 0 {
			e.spans, part = append(e.spans, Span{Break, -1}), trimLeft(part)
		}
		if i < len(parts)-1 {
			part = trimRight(part)
		}
		e.spans = append(e.spans, Span{part, 1})
	}
}

// closingWeight reads a weight and the bracket that it ends, ": 1.3 )", at the beginning of text. Without them, length is 0.
func closingWeight(text string) (number string, length int) {
	rest := trimLeft(text[1:])
	end := 0
	for end < len(rest) && (strings.IndexByte(".0123456789", rest[end]) >= 0 || end == 0 && strings.IndexByte("+-", rest[0]) >= 0) {
		end++
	}
	number = rest[:end]
	rest, closed := strings.CutPrefix(trimLeft(rest[end:]), ")")
	if !closed || strings.Trim(number, "+-") == "" {
		return "", 0
	}
	return number, len(text) - len(rest)
}

func (e *emphasis) number(s string) float64 {
	if !isDecimal(s) {
		e.err = fmt.Errorf("the prompt's weight %.20q is no number", s)
		return 0
	}
	w, _ := strconv.ParseFloat(s, 64) // out of range is infinite, and refused as too great
	return w
}

// joined makes one span of neighbours with the same weight.
func joined(spans []Span) (out []Span, err error) {
	for i := 0; i < len(spans); {
		j := i + 1
		for j < len(spans) && spans[j].Weight == spans[i].Weight {
			j++
		}
		var text strings.Builder
		for _, s := range spans[i:j] {
			text.WriteString(s.Text)
		}
		out = append(out, Span{text.String(), spans[i].Weight})
		if err := checkWeight(spans[i].Weight); err != nil {
			return nil, err
		}
		i = j
	}
	if len(out) == 0 {
		out = []Span{{"", 1}}
	}
	return out, nil
}
