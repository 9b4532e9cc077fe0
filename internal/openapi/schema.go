package openapi

import (
	_ "embed" // comments.json
	"encoding/json"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"waggle/internal/job"
)

// commentsJSON has what the source says of types and their fields, by names
// like job.Node and job.Node.Port. comments_test.go writes it.
//
//go:embed comments.json
var commentsJSON []byte

const refs = "#/components/schemas/"

func newDocument() *document {
	d := &document{types: huma.NewMapRegistry(refs, huma.DefaultSchemaNamer), used: map[int]bool{}}
	if err := json.Unmarshal(commentsJSON, &d.comments); err != nil {
		panic("openapi: comments.json: " + err.Error())
	}
	d.types.RegisterTypeAlias(reflect.TypeFor[job.Request](), reflect.TypeFor[OperationShown]())
	return d
}

// schema is the schema of a value's type; structs are components.
func (d *document) schema(v any) *huma.Schema {
	switch v := v.(type) {
	case Either:
		return d.either(v)
	case List:
		return &huma.Schema{Type: huma.TypeObject, Required: []string{v.Member}, Properties: map[string]*huma.Schema{
			v.Member: {Type: huma.TypeArray, Description: v.Text, Items: d.schema(v.Of)},
		}}
	}
	t := reflect.TypeOf(v)
	s := d.types.Schema(t, true, "")
	s.Enum = enums[t]
	return s
}

func (d *document) either(list Either) *huma.Schema {
	s := &huma.Schema{}
	for _, v := range list {
		s.AnyOf = append(s.AnyOf, d.schema(v))
	}
	return s
}

// enums are the types with few values.
var enums = map[reflect.Type][]any{
	reflect.TypeFor[job.State]():     values(job.States()),
	reflect.TypeFor[job.Status]():    values(job.Statuses()),
	reflect.TypeFor[job.Kind]():      values(job.Kinds()),
	reflect.TypeFor[job.EventType](): values(job.EventTypes()),
	reflect.TypeFor[job.NodeKind]():  values(job.NodeKinds()),
}

func values[T any](list []T) (all []any) {
	for _, v := range list {
		all = append(all, v)
	}
	return all
}

// finish adds to the components what the registry does not know: comments,
// and values that a type allows. Members may be added to any of them later, so
// none is closed.
func (d *document) finish() {
	d.shown()
	for name, s := range d.types.Map() {
		t := d.types.TypeFromRef(refs + name)
		if t == nil {
			continue // not from a type
		}
		if t.Name() == "" { // of a field that hides another
			delete(d.types.Map(), name)
			continue
		}
		s.AdditionalProperties = nil
		if text := d.comments[typeName(t)]; text != "" {
			s.Description = text
		}
		d.finishFields(s, t)
	}
}

// finishFields goes over a struct's members. Those of an embedded struct are
// its own; where two have one name, the outer counts.
func (d *document) finishFields(s *huma.Schema, t reflect.Type) {
	done := map[string]bool{}
	fields := reflect.VisibleFields(t)
	slices.SortStableFunc(fields, func(a, b reflect.StructField) int { return len(a.Index) - len(b.Index) })
	for _, f := range fields {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		property := s.Properties[name]
		if property == nil || done[name] {
			continue
		}
		done[name] = true
		if f.Type == reflect.TypeFor[*struct{}]() { // hides a member of the embedded struct
			delete(s.Properties, name)
			s.Required = slices.DeleteFunc(s.Required, func(r string) bool { return r == name })
			continue
		}
		property.Description = d.fieldText(ownerOf(t, f), f.Name, name)
		property.Enum = enums[f.Type]
		switch {
		case property.Type == huma.TypeArray:
			property.Nullable = false // ours are empty, never null
		case f.Type.Kind() == reflect.Uint64, f.Type == reflect.TypeFor[*uint64]():
			property.Format = "uint64"
		case property.Type == huma.TypeInteger:
			property.Format = "" // of numbers that are small
		}
	}
}

// fieldText is the comment of a field, with the name that it has in JSON.
func (d *document) fieldText(t reflect.Type, field, name string) string {
	text := d.comments[typeName(t)+"."+field]
	if rest, ok := strings.CutPrefix(text, field+" "); ok {
		text = "`" + name + "` " + rest
	}
	return text
}

// ownerOf is the struct that declares a field, t or one embedded in it.
func ownerOf(t reflect.Type, f reflect.StructField) reflect.Type {
	for _, i := range f.Index[:len(f.Index)-1] {
		t = t.Field(i).Type
	}
	return t
}

func typeName(t reflect.Type) string { return path.Base(t.PkgPath()) + "." + t.Name() }
