package prompt

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// scheduleParser reads this grammar:
//
//	all       = { prompt | "[" | "]" | "(" | ")" | ":" }
//	prompt    = { bracketed | plain }
//	bracketed = "(" prompt [ ":" prompt ] ")" | "[" prompt "]"
//	          | "[" [ prompt ":" ] prompt ":" number "]" | "[" prompt "|" { prompt "|" } prompt "]"
//	plain     = { any character but \ [ ] ( ) : | or an escaped one }
//
// A bracket that begins nothing of that is a letter.
type scheduleParser struct {
	text      string
	at        int
	depth     int
	seen      map[int]found // what brackets begin, so that none is read twice
	scheduled bool          // something of it depends on the step
	tooDeep   bool
}

// found is what a bracket begins, nil for nothing, and where that ends.
type found struct {
	element
	end int
}

// all reads the whole text; ok is false where it has characters that the grammar does not allow.
func (p *scheduleParser) all() (s sequence, ok bool) {
	for !p.tooDeep {
		s = append(s, p.prompt()...)
		if p.at == len(p.text) {
			return s, true
		}
		if strings.IndexByte("[]():", p.text[p.at]) < 0 {
			return nil, false
		}
		s = append(s, plain(p.text[p.at:p.at+1]))
		p.at++
	}
	return nil, false
}

// prompt reads as far as there is text, or a bracket that ends.
func (p *scheduleParser) prompt() (s sequence) {
	for p.at < len(p.text) && !p.tooDeep {
		if n := plainLength(p.text[p.at:]); n > 0 {
			s = append(s, plain(p.text[p.at:p.at+n]))
			p.at += n
			continue
		}
		e := p.bracketed()
		if e == nil {
			return s
		}
		s = append(s, e)
	}
	return s
}

// plainLength is the length of the text before the next character with a meaning.
func plainLength(text string) int {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '[', ']', '(', ')', ':', '|':
			return i
		case '\\':
			if i+1 == len(text) || text[i+1] == '\n' {
				return i
			}
			_, size := utf8.DecodeRuneInString(text[i+1:])
			i += size
		}
	}
	return len(text)
}

// bracketed reads what the bracket here begins; where it begins nothing, it returns nil and stays.
func (p *scheduleParser) bracketed() element {
	start := p.at
	f, known := p.seen[start]
	if !known {
		f = p.find()
		p.seen[start] = f
	}
	p.at = f.end
	return f.element
}

func (p *scheduleParser) find() found {
	start := p.at
	if p.depth++; p.depth > MaxDepth {
		p.tooDeep = true
	}
	defer func() { p.depth-- }()
	var e element
	switch {
	case p.tooDeep:
	case p.text[start] == '(':
		e = p.round()
	case p.text[start] == '[':
		e = p.square()
	}
	if e == nil {
		return found{nil, start}
	}
	return found{e, p.at}
}

// skip goes over a character, if it is the next.
func (p *scheduleParser) skip(c byte) bool {
	if p.at == len(p.text) || p.text[p.at] != c {
		return false
	}
	p.at++
	return true
}

// round reads ( prompt ) or ( prompt : prompt ).
func (p *scheduleParser) round() element {
	p.skip('(')
	s := append(sequence{plain("(")}, p.prompt()...)
	if p.skip(':') {
		s = append(append(s, plain(":")), p.prompt()...)
	}
	if !p.skip(')') {
		return nil
	}
	return append(s, plain(")"))
}

// square reads what begins with [.
func (p *scheduleParser) square() element {
	p.skip('[')
	first := p.prompt()
	switch {
	case p.skip(']'):
		return append(append(sequence{plain("[")}, first...), plain("]"))
	case p.skip('|'):
		return p.alternatives(first)
	case p.skip(':'):
		return p.change(first)
	}
	return nil
}

// alternatives reads what follows [first| .
func (p *scheduleParser) alternatives(first sequence) element {
	all := alternating{first, p.prompt()}
	for p.skip('|') {
		all = append(all, p.prompt())
	}
	if !p.skip(']') {
		return nil
	}
	p.scheduled = true
	return all
}

// change reads what follows [first: .
func (p *scheduleParser) change(first sequence) element {
	s := switching{after: first}
	when, ok := p.when()
	if !ok {
		s.before, s.after = first, p.prompt()
		if !p.skip(':') {
			return nil
		}
		if when, ok = p.when(); !ok {
			return nil
		}
	}
	s.when, _ = strconv.ParseFloat(when, 64) // out of range is infinite
	s.isPart = strings.Contains(when, ".")
	p.scheduled = true
	return s
}

// when reads a number and the bracket behind it; if there is none, it stays.
func (p *scheduleParser) when() (number string, ok bool) {
	rest := trimLeft(p.text[p.at:])
	n := numberLength(rest)
	after, closed := strings.CutPrefix(trimLeft(rest[n:]), "]")
	if n == 0 || !closed {
		return "", false
	}
	p.at = len(p.text) - len(after)
	return rest[:n], true
}

// numberLength is the length of the number that text begins with: a sign, digits, a point, an exponent.
func numberLength(text string) int {
	i := 0
	digits := func() (n int) {
		for ; i < len(text) && text[i] >= '0' && text[i] <= '9'; i++ {
			n++
		}
		return n
	}
	one := func(of string) bool {
		if i < len(text) && strings.IndexByte(of, text[i]) >= 0 {
			i++
			return true
		}
		return false
	}
	one("+-")
	n := digits()
	if one(".") {
		n += digits()
	}
	if n == 0 {
		return 0
	}
	end := i
	if one("eE") {
		one("+-")
		if digits() > 0 {
			end = i
		}
	}
	return end
}
