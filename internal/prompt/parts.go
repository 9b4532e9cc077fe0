package prompt

import (
	"fmt"
	"strconv"
	"strings"
)

// Span is a piece of a prompt with its weight.
type Span struct {
	Text   string
	Weight float64
}

// Split cuts a prompt at AND: "a cat :0.7 AND a dog" is two prompts whose guidance is added with these weights (Liu et al.
// 2022, composable diffusion).
func Split(text string) ([]Span, error) {
	if err := checkLength(text); err != nil {
		return nil, err
	}
	texts := splitAtWord(text, "AND")
	if len(texts) > MaxParts {
		return nil, fmt.Errorf("the prompt joins %d parts by AND, at most %d", len(texts), MaxParts)
	}
	var parts []Span
	for _, t := range texts {
		part := weighed(t)
		if err := checkWeight(part.Weight); err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// weighed takes the weight off the end of a part: "a dog :1.3".
func weighed(text string) Span {
	text = trimRight(text)
	colon := strings.LastIndexByte(text, ':')
	if colon < 0 {
		return Span{text, 1}
	}
	number := trimLeft(text[colon+1:])
	if !isDecimal(number) {
		return Span{text, 1}
	}
	weight, _ := strconv.ParseFloat(number, 64) // out of range is infinite, and refused as too great
	return Span{trimRight(text[:colon]), weight}
}

// isDecimal reports whether s is a sign, or none, and digits with at most one point: "1", "1.", ".5".
func isDecimal(s string) bool {
	s = strings.TrimLeft(s[:min(len(s), 1)], "+-") + s[min(len(s), 1):]
	whole, fraction, _ := strings.Cut(s, ".")
	return isDigits(whole) && isDigits(fraction) && whole+fraction != ""
}

func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }
