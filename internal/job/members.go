package job

import (
	"fmt"
	"regexp"
)

// Member is one member of an operation's JSON form: what the parser reads and
// what the validator lets through. Zero values of bounds mean that there is none.
type Member struct {
	Name     string   // its way from the outside, as "hires.scale" and "loras[].path"
	Also     []string // other names it goes by; the first that is there counts
	Type     string   // string, integer, seed (64 bits, unsigned), number, boolean, numbers, object, array (of objects) or picture
	Required bool
	Default  any // what is taken where the member is absent or null; nil where that has no name

	Min, Max             *float64
	MultipleOf           int
	MinItems, MaxItems   int
	MinLength, MaxLength int // bytes
	Pattern              string
	OneOf                []string
}

// MembersOf lists what an operation may have, in the order in which it is read.
// The list is a dry run of parser and validator, so it cannot differ from them.
func MembersOf(op Operation) []Member {
	list := []Member{{Name: "operation", Type: "string", Required: true, OneOf: []string{string(op)}}}
	r := NewRequest(op, "", "")
	m := decoder{note: func(one Member) { list = append(list, one) }}
	m.common(&r)
	m.special(&r)
	m.extras(&r)
	r.Steps, r.Eta = StepsLimit, new(float64) // what others are measured by, and what is looked at only if it is there
	bounds := map[string]Member{}
	v := validator{note: func(b Member) { bounds[b.Name] = bounds[b.Name].and(b) }}
	v.all(r)
	for i := range list {
		list[i] = list[i].and(bounds[list[i].Name])
	}
	return list
}

// anyIndex is the place in a list that a member's name tells.
var anyIndex = regexp.MustCompile(`\[\d+\]`)

// describe tells of a member what the place it is decoded into shows. Where it
// is absent that place keeps its value.
func describe(name string, into any, required bool) Member {
	m := Member{Name: name, Required: required}
	switch into := into.(type) {
	case *string:
		m.Type, m.Default = "string", given(*into)
	case *ID:
		m.Type = "string"
	case *Priority:
		m.Type, m.Default = "string", given(string(*into))
	case *int:
		m.Type, m.Default, m.Min = "integer", given(*into), float(0)
	case *uint64, **uint64:
		m.Type = "seed"
	case *float64:
		m.Type, m.Default = "number", given(*into)
	case **float64:
		m.Type = "number"
	case *bool:
		m.Type, m.Default = "boolean", *into
	case *[]float64:
		m.Type = "numbers"
	default:
		panic(fmt.Sprintf("job: member %s is of type %T, which MembersOf does not know", name, into))
	}
	if required {
		m.Default = nil
	}
	return m
}

// given is a default that says something.
func given[T comparable](v T) any {
	if zero := *new(T); v == zero {
		return nil
	}
	return v
}

func float(n int) *float64 {
	f := float64(n)
	return &f
}

// and adds the bounds of another look at the same member.
func (m Member) and(b Member) Member {
	if b.Min != nil {
		m.Min = b.Min
	}
	if b.Max != nil {
		m.Max = b.Max
	}
	m.MultipleOf = max(m.MultipleOf, b.MultipleOf)
	m.MinItems, m.MaxItems = max(m.MinItems, b.MinItems), max(m.MaxItems, b.MaxItems)
	m.MinLength, m.MaxLength = max(m.MinLength, b.MinLength), max(m.MaxLength, b.MaxLength)
	m.Pattern += b.Pattern
	m.OneOf = append(m.OneOf, b.OneOf...)
	return m
}
