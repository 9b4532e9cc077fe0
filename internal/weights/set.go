package weights

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Set is a Source of tensors gathered from elsewhere: the data stays where it
// is, only the names are new.
type Set struct {
	tensors map[string]Tensor
	names   []string
}

// NewSet gathers tensors under their names; the same name twice is an error.
func NewSet(tensors []Tensor) (*Set, error) {
	s := &Set{tensors: make(map[string]Tensor, len(tensors))}
	for _, t := range tensors {
		if _, twice := s.tensors[t.Name]; twice {
			return nil, fmt.Errorf("tensor %q is there twice, under two spellings of its name", t.Name)
		}
		s.tensors[t.Name] = t
	}
	s.names = slices.Sorted(maps.Keys(s.tensors))
	return s, nil
}

// Names lists the tensors, sorted. The slice must not be changed.
func (s *Set) Names() []string { return s.names }

// Tensor finds a tensor by its name in this set.
func (s *Set) Tensor(name string) (Tensor, bool) {
	t, ok := s.tensors[name]
	return t, ok
}

// Rename gathers the tensors of src under new names, leaving out those for
// which rename says no.
func Rename(src Source, rename func(name string) (string, bool)) (*Set, error) {
	var tensors []Tensor
	for _, name := range src.Names() {
		t, ok := src.Tensor(name)
		if !ok {
			continue
		}
		if t.Name, ok = rename(name); ok {
			tensors = append(tensors, t)
		}
	}
	return NewSet(tensors)
}

// Under gathers the tensors whose names begin with prefix, without it.
func Under(src Source, prefix string) *Set {
	s, err := Rename(src, func(name string) (string, bool) { return strings.CutPrefix(name, prefix) })
	if err != nil {
		panic(err) // names that differ still differ without a common prefix
	}
	return s
}
