package web

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// docsSchema is what the page shows of a JSON schema.
type docsSchema struct {
	Ref                  string       `json:"$ref"`
	Type                 docsTypeName `json:"type"`
	Description, Format  string
	Properties           map[string]docsSchema
	Required             []string
	Items                *docsSchema
	AnyOf, OneOf         []docsSchema
	Enum                 []any
	Default              any
	Minimum, Maximum     *float64
	MultipleOf           float64
	MinItems, MaxItems   int
	MinLength, MaxLength int
	Pattern              string
	ContentEncoding      string
}

// docsTypeName is the type of a schema, null apart.
type docsTypeName string

// UnmarshalJSON reads a name, or a list of names of which null is one.
func (n *docsTypeName) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*n = docsTypeName(one)
		return nil
	}
	var list []string
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(name string) bool { return name == "null" })
	*n = docsTypeName(strings.Join(list, " or "))
	return nil
}

const docsComponent = "#/components/schemas/"

// docsType is a type for people: words, and then names of types that the page describes.
type docsType struct {
	Words string
	Names []string
}

func (s docsSchema) kind() docsType {
	if name, ok := strings.CutPrefix(s.Ref, docsComponent); ok {
		return docsType{Names: []string{name}}
	}
	var names []string
	for _, one := range append(slices.Clone(s.AnyOf), s.OneOf...) {
		names = append(names, one.kind().Names...)
	}
	switch {
	case len(names) > 0:
		return docsType{Names: names}
	case s.Type == "array" && s.Items != nil:
		items := s.Items.kind()
		return docsType{Words: strings.TrimSpace("array of " + items.Words), Names: items.Names}
	case s.Type == "object" && len(s.Properties) == 1: // a list
		for name, property := range s.Properties {
			inner := property.kind()
			return docsType{Words: fmt.Sprintf("object with %s: %s", name, inner.Words), Names: inner.Names}
		}
	case s.ContentEncoding != "":
		return docsType{Words: s.ContentEncoding}
	case s.Format != "" && s.Format != "double":
		return docsType{Words: fmt.Sprintf("%s (%s)", s.Type, s.Format)}
	}
	return docsType{Words: string(s.Type)}
}

// bounds are what a value must keep to, in words.
func (s docsSchema) bounds() string {
	var list []string
	say := func(given bool, format string, args ...any) {
		if given {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	say(len(s.Enum) > 0, "%s", oneOf(s.Enum))
	switch {
	case s.Minimum != nil && s.Maximum != nil:
		say(true, "%g to %g", *s.Minimum, *s.Maximum)
	case s.Minimum != nil:
		say(true, "from %g", *s.Minimum)
	}
	say(s.MultipleOf > 0, "a multiple of %g", s.MultipleOf)
	say(s.MaxItems > 0 && s.MinItems != s.MaxItems, "%d to %d entries", s.MinItems, s.MaxItems)
	say(s.MaxItems > 0 && s.MinItems == s.MaxItems, "%d entries", s.MaxItems)
	say(s.MinLength > 0, "not empty")
	say(s.MaxLength > 0, "at most %d bytes", s.MaxLength)
	say(s.Pattern != "", "like %s", s.Pattern)
	say(s.Default != nil, "%v if it is absent", s.Default)
	return strings.Join(list, "; ")
}

func oneOf(enum []any) string {
	var words []string
	for _, v := range enum {
		if v != nil {
			words = append(words, fmt.Sprint(v))
		}
	}
	return strings.Join(words, ", ")
}

// members are those of an object: the required ones in their order, then the
// others by name; those of an object inside follow it.
func (s docsSchema) members(prefix string) (list []docsRow) {
	names := slices.Clone(s.Required)
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		p := s.Properties[name]
		list = append(list, docsRow{
			Name: prefix + name, Required: slices.Contains(s.Required, name), Type: p.kind(), Bounds: p.bounds(), Text: p.Description,
		})
		switch {
		case len(p.Properties) > 0:
			list = append(list, p.members(prefix+name+".")...)
		case p.Items != nil && len(p.Items.Properties) > 0:
			list = append(list, p.Items.members(prefix+name+"[].")...)
		}
	}
	return list
}
