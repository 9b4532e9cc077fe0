package prompt

import (
	"fmt"
	"strconv"
	"strings"
)

// ComfyEmphasis reads the weights of a prompt as ComfyUI does: (a) is a times 1.1, (a:1.3) is a with the weight 1.3 whatever
// is around it, and \( is a letter. There are no other brackets. Neighbours of one weight stay apart: words of one span are
// kept together in a chunk.
func ComfyEmphasis(text string) ([]Span, error) {
	if err := checkLength(text); err != nil {
		return nil, err
	}
	spans, err := comfySpans(hideEscaped.Replace(text), 1, 0)
	for i := range spans {
		spans[i].Text = showEscaped.Replace(spans[i].Text)
	}
	return spans, err
}

// Escaped brackets are written as control characters while the others are looked for.
var (
	hideEscaped = strings.NewReplacer(`\)`, "\x00\x01", `\(`, "\x00\x02")
	showEscaped = strings.NewReplacer("\x00\x01", ")", "\x00\x02", "(")
)

func comfySpans(text string, weight float64, depth int) (spans []Span, err error) {
	if depth > MaxDepth {
		return nil, fmt.Errorf("the prompt has more than %d brackets open at once", MaxDepth)
	}
	if err := checkWeight(weight); err != nil {
		return nil, err
	}
	for _, item := range comfyItems(text) {
		if len(item) < 2 || item[0] != '(' || item[len(item)-1] != ')' {
			spans = append(spans, Span{item, weight})
			continue
		}
		inner, own := comfyWeight(item[1:len(item)-1], weight*bracketWeight)
		more, err := comfySpans(inner, own, depth+1)
		if err != nil {
			return nil, err
		}
		spans = append(spans, more...)
	}
	return spans, nil
}

// comfyWeight takes ":1.3" off the end of text; without a number, the weight is the one given.
func comfyWeight(text string, weight float64) (string, float64) {
	colon := strings.LastIndexByte(text, ':')
	if colon <= 0 {
		return text, weight
	}
	w, err := strconv.ParseFloat(trim(text[colon+1:]), 64)
	if err != nil && w == 0 { // too great a number is infinite, and refused later
		return text, weight
	}
	return text[:colon], w
}

// comfyItems cuts text into what is in brackets, with them, and what is between.
func comfyItems(text string) (items []string) {
	depth, start := 0, 0
	cut := func(at int) {
		if at > start {
			items = append(items, text[start:at])
		}
		start = at
	}
	for i := range len(text) {
		switch text[i] {
		case '(':
			if depth == 0 {
				cut(i)
			}
			depth++
		case ')':
			if depth--; depth == 0 {
				cut(i + 1)
			}
		}
	}
	cut(len(text))
	return items
}
