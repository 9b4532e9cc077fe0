package shaders

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// A marked loop, complete on one line: for (var i = 0u; i < BOUND; i++) { // unroll   or   i += STEP.
var marked = regexp.MustCompile(`^\s*for \(var (\w+)(?:: u32)? = ([^;]+); \w+ < ([^;]+); \w+ ?(\+\+|\+= ?[^)]+)\) \{ // unroll\s*$`)

const maxUnrolledBytes = 4 << 20

// unroll replaces each marked loop by one block a round with the loop variable's value in place of its name.
func unroll(text string) (string, error) {
	values := constantValues(text)
	lines, err := unrollLines(strings.Split(text, "\n"), values)
	if err != nil {
		return "", err
	}
	return strings.Join(lines, "\n"), nil
}

func unrollLines(lines []string, values map[string]uint64) ([]string, error) {
	var out []string
	size := 0
	for i := 0; i < len(lines); i++ {
		m := marked.FindStringSubmatch(lines[i])
		if m == nil {
			out = append(out, lines[i])
			continue
		}
		end, err := blockEnd(lines, i)
		if err != nil {
			return nil, err
		}
		rounds, err := loopRounds(m, values)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		for _, round := range rounds {
			body, err := unrollLines(substitute(lines[i+1:end], m[1], round), values)
			if err != nil {
				return nil, err
			}
			for _, line := range body {
				size += len(line)
			}
			if size > maxUnrolledBytes {
				return nil, fmt.Errorf("line %d: unrolls to more than %d bytes", i+1, maxUnrolledBytes)
			}
			out = append(append(append(out, "{"), foldAll(body, values)...), "}")
		}
		i = end
	}
	return out, nil
}

// loopRounds lists the values that the loop variable takes.
func loopRounds(m []string, values map[string]uint64) ([]uint64, error) {
	from, err := evaluate(m[2], values)
	if err != nil {
		return nil, err
	}
	bound, err := evaluate(m[3], values)
	if err != nil {
		return nil, err
	}
	step := uint64(1)
	if rest, ok := strings.CutPrefix(m[4], "+="); ok {
		if step, err = evaluate(rest, values); err != nil {
			return nil, err
		}
	}
	if step == 0 || bound > 4096 {
		return nil, fmt.Errorf("loop over %s from %d to %d by %d is not for unrolling", m[1], from, bound, step)
	}
	var rounds []uint64
	for v := from; v < bound; v += step {
		rounds = append(rounds, v)
	}
	return rounds, nil
}

// blockEnd is the line of the brace that closes the block opened at the end of line start.
func blockEnd(lines []string, start int) (int, error) {
	depth := 0
	for i := start; i < len(lines); i++ {
		code, _, _ := strings.Cut(lines[i], "//")
		depth += strings.Count(code, "{") - strings.Count(code, "}")
		if depth == 0 {
			return i, nil
		}
	}
	return 0, fmt.Errorf("line %d: the block has no end", start+1)
}

// substitute puts value for the identifier name and broadcasts for shuffles.
func substitute(lines []string, name string, value uint64) []string {
	word := regexp.MustCompile(`\b` + name + `\b`)
	out := make([]string, len(lines))
	for i, line := range lines {
		line = word.ReplaceAllString(line, strconv.FormatUint(value, 10)+"u")
		out[i] = strings.ReplaceAll(line, "subgroupShuffle(", "subgroupBroadcast(")
	}
	return out
}

var bracketed = regexp.MustCompile(`\[([^\[\]]*[+*/%-][^\[\]]*)\]`)
var broadcastLane = regexp.MustCompile(`(subgroupBroadcast\(.*), ([^,]*)\)`)

// foldAll computes indices and broadcast lanes that have become constant.
func foldAll(lines []string, values map[string]uint64) []string {
	for i, line := range lines {
		line = bracketed.ReplaceAllStringFunc(line, func(s string) string {
			if v, err := evaluate(s[1:len(s)-1], values); err == nil {
				return fmt.Sprintf("[%du]", v)
			}
			return s
		})
		if m := broadcastLane.FindStringSubmatchIndex(line); m != nil {
			if v, err := evaluate(line[m[4]:m[5]], values); err == nil {
				line = line[:m[4]] + fmt.Sprintf("%du", v) + line[m[5]:]
			}
		}
		lines[i] = line
	}
	return lines
}

// evaluate computes an unsigned constant expression of + - * / %, parentheses, numbers and known names.
func evaluate(expression string, values map[string]uint64) (uint64, error) {
	p := &parser{text: strings.TrimSpace(expression), values: values}
	v, err := p.sum()
	if err == nil && p.skip() < len(p.text) {
		err = fmt.Errorf("expression %q is not constant", expression)
	}
	return v, err
}

type parser struct {
	text   string
	at     int
	values map[string]uint64
}

func (p *parser) skip() int {
	for p.at < len(p.text) && p.text[p.at] == ' ' {
		p.at++
	}
	return p.at
}

func (p *parser) peek() byte {
	if p.skip() < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

func (p *parser) sum() (uint64, error) {
	v, err := p.product()
	for err == nil && (p.peek() == '+' || p.peek() == '-') {
		op := p.text[p.at]
		p.at++
		var w uint64
		if w, err = p.product(); op == '+' {
			v += w
		} else {
			v -= w
		}
	}
	return v, err
}

func (p *parser) product() (uint64, error) {
	v, err := p.atom()
	for err == nil && strings.IndexByte("*/%", max(p.peek(), 1)) >= 0 {
		op := p.text[p.at]
		p.at++
		var w uint64
		if w, err = p.atom(); err != nil {
			return 0, err
		}
		switch {
		case op == '*':
			v *= w
		case w == 0:
			return 0, fmt.Errorf("division by zero in %q", p.text)
		case op == '/':
			v /= w
		default:
			v %= w
		}
	}
	return v, err
}

func (p *parser) atom() (uint64, error) {
	if p.peek() == '(' {
		p.at++
		v, err := p.sum()
		if err == nil && p.peek() != ')' {
			err = fmt.Errorf("missing ) in %q", p.text)
		}
		p.at++
		return v, err
	}
	start := p.at
	for p.at < len(p.text) && (unicode.IsLetter(rune(p.text[p.at])) || unicode.IsDigit(rune(p.text[p.at])) || p.text[p.at] == '_') {
		p.at++
	}
	word := p.text[start:p.at]
	if v, ok := p.values[word]; ok {
		return v, nil
	}
	v, err := strconv.ParseUint(strings.TrimSuffix(word, "u"), 0, 32)
	if err != nil {
		return 0, fmt.Errorf("%q in %q is not a constant", word, p.text)
	}
	return v, nil
}
