package prompt

import (
	"fmt"
	"strings"
)

// Phase is a prompt that is used up to and with a step, counted from 1.
type Phase struct {
	Until int
	Text  string
}

// Steps are those of a sampler. A second pass goes on counting after First steps of the one before, and fractions of it
// count from 1.
type Steps struct {
	Count int
	First int // 0 in the first pass
}

// Schedule says what a prompt is at each step:
//
//	[a:b:5]    a for 5 steps, then b; [a:b:0.3] for that part of all steps
//	[b:5]      nothing, then b
//	[a::5]     a, then nothing
//	[a|b|c]    each in turn, a step each
//
// They may be nested. Weights and brackets of other kinds stay in the texts. The last phase ends with the last step.
func Schedule(text string, steps Steps) ([]Phase, error) {
	if err := checkLength(text); err != nil {
		return nil, err
	}
	p := scheduleParser{text: text, seen: map[int]found{}}
	all, ok := p.all()
	if p.tooDeep {
		return nil, fmt.Errorf("the prompt has more than %d brackets open at once", MaxDepth)
	}
	if !ok || !p.scheduled {
		return []Phase{{steps.Count, text}}, nil
	}
	var phases []Phase
	texts := map[string]string{} // each kept once
	for _, until := range changes(all, steps) {
		var out strings.Builder
		all.write(&out, until, steps)
		text, known := texts[out.String()]
		if !known {
			text = out.String()
			texts[text] = text
		}
		if len(texts) > MaxTexts {
			return nil, fmt.Errorf("the prompt's schedule makes more than %d different texts", MaxTexts)
		}
		phases = append(phases, Phase{until, text})
	}
	return phases, nil
}

// changes are the last steps of all phases.
func changes(all sequence, steps Steps) (last []int) {
	ends := make(stepSet, steps.Count+1)
	all.ends(ends, steps)
	for step := 1; step <= steps.Count; step++ {
		if ends[0] || ends[step] || step == steps.Count {
			last = append(last, step)
		}
	}
	return last
}

// stepSet says of each step from 1 whether it is in the set. Place 0 stands for all.
type stepSet []bool

// element is a part of a prompt whose text depends on the step.
type element interface {
	ends(last stepSet, steps Steps) // adds the steps after which it may change
	write(out *strings.Builder, step int, steps Steps)
}

type plain string

func (plain) ends(stepSet, Steps)                          {}
func (p plain) write(out *strings.Builder, _ int, _ Steps) { out.WriteString(string(p)) }

type sequence []element

func (s sequence) ends(last stepSet, steps Steps) {
	for _, e := range s {
		e.ends(last, steps)
	}
}

func (s sequence) write(out *strings.Builder, step int, steps Steps) {
	for _, e := range s {
		e.write(out, step, steps)
	}
}

// switching is [before:after:when].
type switching struct {
	before, after sequence
	when          float64
	isPart        bool // of all steps
}

// end is the last step with the text before.
func (s switching) end(steps Steps) int {
	v := s.when
	switch {
	case !s.isPart:
		v -= float64(steps.First)
	case steps.First > 0:
		v = (v - 1) * float64(steps.Count)
	default:
		v *= float64(steps.Count)
	}
	return int(max(0, min(v, float64(steps.Count))))
}

func (s switching) ends(last stepSet, steps Steps) {
	if end := s.end(steps); end >= 1 {
		last[end] = true
	}
	s.before.ends(last, steps)
	s.after.ends(last, steps)
}

func (s switching) write(out *strings.Builder, step int, steps Steps) {
	if step <= s.end(steps) {
		s.before.write(out, step, steps)
	} else {
		s.after.write(out, step, steps)
	}
}

// alternating is [a|b|c].
type alternating []sequence

func (a alternating) ends(last stepSet, _ Steps) { last[0] = true }

func (a alternating) write(out *strings.Builder, step int, steps Steps) {
	a[(step-1)%len(a)].write(out, step, steps)
}
