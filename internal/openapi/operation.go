package openapi

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"waggle/internal/job"
)

// OperationShown is an operation as answers show it: without the pictures that
// came with it, and with every value that was filled in.
type OperationShown struct{}

var operationTexts = map[job.Operation]string{
	job.Generation: "Draws what a text says.",
	job.Transform:  "Draws over a picture, which says how large the result is.",
	job.Inpaint:    "Draws where a mask is white, in a picture that says how large the result is.",
}

// operations is a body of one of the three operations, or of others.
func (d *document) operations(others map[string][]string) *huma.MediaType {
	s := &huma.Schema{Discriminator: &huma.Discriminator{PropertyName: "operation", Mapping: map[string]string{}}}
	examples := map[string]*huma.Example{}
	for _, op := range []job.Operation{job.Generation, job.Transform, job.Inpaint} {
		name := componentName(string(op))
		d.types.Map()[name] = d.operationSchema(job.MembersOf(op))
		d.types.Map()[name].Description = operationTexts[op]
		offer(s, string(op), name)
		examples[string(op)] = &huma.Example{Summary: operationTexts[op], Value: example(op)}
	}
	for _, op := range slices.Sorted(maps.Keys(others)) {
		name := componentName(op)
		d.types.Map()[name] = textsSchema(op, others[op])
		offer(s, op, name)
	}
	return &huma.MediaType{Schema: s, Examples: examples}
}

// offer makes a component one of those that an operation may be.
func offer(s *huma.Schema, op, component string) {
	s.OneOf = append(s.OneOf, &huma.Schema{Ref: refs + component})
	s.Discriminator.Mapping[op] = refs + component
}

// componentName is rhai_script_get as RhaiScriptGet.
func componentName(op string) (name string) {
	for word := range strings.SplitSeq(op, "_") {
		name += strings.ToUpper(word[:1]) + word[1:]
	}
	return name
}

// textsSchema is an operation of which no more is said than the texts that it must have.
func textsSchema(op string, texts []string) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeObject, Required: append([]string{"operation"}, texts...), Properties: map[string]*huma.Schema{
		"operation": {Type: huma.TypeString, Enum: []any{op}, Description: "what to do"},
	}, Description: "Another operation of the protocol. Members that are not listed are passed on."}
	for _, text := range texts {
		s.Properties[text] = &huma.Schema{Type: huma.TypeString, Description: "as the protocol has it"}
	}
	return s
}

// shown makes the schema of OperationShown, if something shows one: the members
// of all three operations, without pictures.
func (d *document) shown() {
	s := d.types.Map()["OperationShown"]
	if s == nil {
		return
	}
	all := &huma.Schema{Type: huma.TypeObject, Properties: map[string]*huma.Schema{}}
	for _, op := range []job.Operation{job.Generation, job.Transform, job.Inpaint} {
		members := slices.DeleteFunc(job.MembersOf(op), func(m job.Member) bool {
			return m.Type == "picture" || strings.HasPrefix(m.Name, "controls")
		})
		one := d.operationSchema(members)
		maps.Copy(all.Properties, one.Properties)
		all.Required = one.Required // the same for all
	}
	all.Properties["operation"].Enum = values([]job.Operation{job.Generation, job.Transform, job.Inpaint})
	all.Description = "An operation as it was taken: without its pictures, and with all values that were filled in."
	*s = *all
}

// operationSchema is the object that a list of members describes.
func (d *document) operationSchema(members []job.Member) *huma.Schema {
	root := &huma.Schema{Type: huma.TypeObject, Properties: map[string]*huma.Schema{}}
	objects := map[string]*huma.Schema{"": root} // by the beginning of their members' names
	for _, m := range members {
		at := strings.LastIndex(m.Name, ".") + 1
		parent, name := objects[m.Name[:at]], m.Name[at:]
		s := memberSchema(m)
		s.Description = d.memberText(m.Name)
		if m.Required {
			parent.Required = append(parent.Required, name)
		}
		switch m.Type {
		case "object":
			objects[m.Name+"."] = s
		case "array":
			objects[m.Name+"[]."] = s.Items
		}
		parent.Properties[name] = s
		for _, other := range m.Also {
			parent.Properties[other] = s
			parent.Required = slices.DeleteFunc(parent.Required, func(r string) bool { return r == name })
			parent.AnyOf = []*huma.Schema{{Required: []string{name}}, {Required: []string{other}}}
		}
	}
	return root
}

// memberSchema is the schema of one member, those inside it apart.
func memberSchema(m job.Member) *huma.Schema {
	s := &huma.Schema{Type: m.Type, Nullable: !m.Required, Default: m.Default, Minimum: m.Min, Maximum: m.Max, Pattern: m.Pattern}
	switch m.Type {
	case "seed":
		s.Type, s.Format, s.Minimum = huma.TypeInteger, "uint64", number(0)
	case "numbers":
		s.Type, s.Items = huma.TypeArray, &huma.Schema{Type: huma.TypeNumber}
	case "array":
		s.Items = &huma.Schema{Type: huma.TypeObject, Properties: map[string]*huma.Schema{}}
	case "object":
		s.Properties = map[string]*huma.Schema{}
	case "picture":
		s.Type, s.ContentEncoding, s.Nullable = huma.TypeString, "base64", false
		s.Extensions = map[string]any{"contentMediaType": "image/png"}
	}
	s.MinItems, s.MaxItems = positive(m.MinItems), positive(m.MaxItems)
	s.MinLength, s.MaxLength = positive(m.MinLength), positive(m.MaxLength)
	if m.MultipleOf > 0 {
		s.MultipleOf = number(m.MultipleOf)
	}
	if s.Enum = values(m.OneOf); s.Nullable && len(s.Enum) > 0 {
		s.Enum = append(s.Enum, nil)
	}
	return s
}

func positive(n int) *int {
	if n <= 0 {
		return nil
	}
	return &n
}

// parts are the Go types of the objects inside an operation.
var parts = map[string]reflect.Type{
	"": reflect.TypeFor[job.Request](), "loras[].": reflect.TypeFor[job.LoRA](), "variation.": reflect.TypeFor[job.Variation](),
	"hires.": reflect.TypeFor[job.Hires](), "controls[].": reflect.TypeFor[job.Control](), "webhook.": reflect.TypeFor[job.Webhook](),
}

// wireNames are the members that have another name in JSON than their field's tag says.
var wireNames = map[string]string{"strength": "Strength", "input_image": "InputImage", "init_image": "InputImage"}

// memberText is the comment of the field that a member is read into.
func (d *document) memberText(name string) string {
	at := strings.LastIndex(name, ".") + 1
	t := parts[name[:at]]
	for _, f := range reflect.VisibleFields(t) {
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == name[at:] || at == 0 && wireNames[name] == f.Name {
			return d.fieldText(t, f.Name, name[at:])
		}
	}
	return ""
}

// examplePNG is a white picture of 64×64 pixels.
const examplePNG = "iVBORw0KGgoAAAANSUhEUgAAAEAAAABAAQAAAACCEkxzAAAAEklEQVR42mP4DwUMo4xRBukMAOPT/hAC2mzjAAAAAElFTkSuQmCC"

// example is a small valid operation.
func example(op job.Operation) map[string]any {
	e := map[string]any{
		"operation": op, "hive_id": "localhost", "model": "tiny-shapes", "prompt": "a yellow star on a black background", "steps": 8, "seed": 7,
	}
	switch op {
	case job.Generation:
		e["width"], e["height"] = 128, 128
	case job.Transform:
		e["strength"], e["input_image"] = 0.6, examplePNG
	case job.Inpaint:
		e["init_image"], e["mask_image"] = examplePNG, examplePNG
	}
	return e
}
