package openapi

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"pgregory.net/rapid"

	"waggle/internal/job"
	"waggle/internal/openapi/openapitest"
)

var all = []job.Operation{job.Generation, job.Transform, job.Inpaint}

// sample is the document of a server that takes operations and shows jobs.
func sample(t *testing.T) *openapitest.Document {
	t.Helper()
	nothing := func(http.ResponseWriter, *http.Request) {}
	return openapitest.Load(t, Table{
		{Method: "POST", Path: "/jobs", Handler: nothing, Name: "submit", Body: Operations{}, Answers: []Answer{{Status: 200, Description: "done", Body: job.Report{}}}},
	}.Document(Info{Title: "sample", Version: "v0"}))
}

// draw makes a value that keeps to a member's bounds.
func draw(t *rapid.T, m job.Member) any {
	if len(m.OneOf) > 0 {
		return rapid.SampledFrom(m.OneOf).Draw(t, m.Name)
	}
	switch m.Type {
	case "string":
		switch {
		case m.Name == "webhook.url":
			return "http://" + rapid.StringMatching(`[a-z]{1,20}`).Draw(t, m.Name)
		case m.Pattern == job.IDPattern:
			return rapid.StringMatching(m.Pattern).Draw(t, m.Name)
		}
		return rapid.StringMatching(`[a-z][a-z ]{0,80}`).Draw(t, m.Name)
	case "integer":
		step := max(m.MultipleOf, 1)
		return step * rapid.IntRange(int(*m.Min)/step, int(*m.Max)/step).Draw(t, m.Name)
	case "seed":
		return rapid.Uint64().Draw(t, m.Name)
	case "number":
		return rapid.Float64Range(*m.Min, *m.Max).Draw(t, m.Name)
	case "boolean":
		return rapid.Bool().Draw(t, m.Name)
	case "numbers":
		list := []float64{0}
		for range rapid.IntRange(m.MinItems, m.MaxItems).Draw(t, m.Name) - 1 {
			list = append([]float64{list[0] + 0.5}, list...)
		}
		return list
	case "picture":
		return examplePNG
	}
	t.Fatalf("member %s is of type %s, which this test does not know", m.Name, m.Type)
	return nil
}

// operation draws an operation that has some of the members that it may have.
func operation(t *rapid.T, members []job.Member) map[string]any {
	root := map[string]any{}
	objects := map[string]map[string]any{"": root}
	for _, m := range members {
		at := strings.LastIndex(m.Name, ".") + 1
		parent, name := objects[m.Name[:at]], m.Name[at:]
		if parent == nil || !m.Required && !rapid.Bool().Draw(t, m.Name+" is there") {
			continue
		}
		switch m.Type {
		case "object":
			objects[m.Name+"."] = map[string]any{}
			parent[name] = objects[m.Name+"."]
		case "array":
			objects[m.Name+"[]."] = map[string]any{}
			parent[name] = []any{objects[m.Name+"[]."]}
		default:
			parent[name] = draw(t, m)
		}
	}
	return root
}

// tame mends what bounds of single members cannot say.
func tame(op map[string]any) {
	if steps, ok := op["steps"].(int); ok && op["stop_at_step"] != nil {
		op["stop_at_step"] = min(op["stop_at_step"].(int), steps)
	} else {
		delete(op, "stop_at_step")
	}
	if op["sigmas"] != nil {
		delete(op, "stop_at_step")
	}
	if list, ok := op["controls"].([]any); ok {
		c := list[0].(map[string]any)
		delete(c, "end")
	}
}

// Whatever keeps to the document is an operation; and what is shown of it keeps to the document too.
func TestOperationsOfTheDocument(t *testing.T) {
	doc := sample(t)
	body := doc.Paths.Value("/jobs").Post.RequestBody.Value.Content.Get("application/json").Schema.Value
	rapid.Check(t, func(t *rapid.T) {
		drawn := operation(t, job.MembersOf(rapid.SampledFrom(all).Draw(t, "operation")))
		tame(drawn)
		text, err := json.Marshal(drawn)
		if err != nil {
			t.Fatal(err)
		}
		keeps(t, body, text)
		r, err := job.Parse(text)
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		shown, err := json.Marshal(r.WithoutPictures())
		if err != nil {
			t.Fatal(err)
		}
		keeps(t, doc.Components.Schemas["OperationShown"].Value, shown)
	})
}

func keeps(t *rapid.T, s *openapi3.Schema, text []byte) {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	if err := s.VisitJSON(v, openapi3.EnableJSONSchema2020()); err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
}

// Every member of the document is read: what is of another type is refused by its name.
func TestMembersAreRead(t *testing.T) {
	for _, op := range all {
		for _, m := range job.MembersOf(op) {
			if strings.HasSuffix(m.Name, "operation") {
				continue
			}
			for _, name := range append([]string{m.Name}, m.Also...) {
				text, err := json.Marshal(spoiled(op, name))
				if err != nil {
					t.Fatal(err)
				}
				last := name[strings.LastIndex(name, ".")+1:]
				if _, err := job.Parse(text); err == nil || !strings.Contains(err.Error(), last) {
					t.Errorf("%s with a wrong %s: %v", op, name, err)
				}
			}
		}
	}
}

// spoiled is an operation whose member of that name has a type that none has.
func spoiled(op job.Operation, name string) map[string]any {
	e := example(op)
	if strings.HasSuffix(name, "image") {
		delete(e, "input_image")
		delete(e, "init_image")
		if name == "mask_image" {
			e["init_image"] = examplePNG
		}
	}
	at := e
	if outer, inner, nested := strings.Cut(name, "."); nested {
		full := map[string]any{"path": "p", "seed": 1, "strength": 0.5, "model": "m", "image": examplePNG, "url": "http://example.com"}
		if list, ok := strings.CutSuffix(outer, "[]"); ok {
			e[list] = []any{full}
		} else {
			e[outer] = full
		}
		at, name = full, inner
	}
	at[name] = []any{map[string]any{}, "x"}
	if name == "loras" || name == "controls" {
		at[name] = "x"
	}
	return e
}

// Bounds are the validator's: the value at a bound is let through, the one beyond it is not.
func TestBoundsAreTheValidators(t *testing.T) {
	for _, m := range job.MembersOf(job.Generation) {
		if m.Max == nil || strings.Contains(m.Name, ".") || m.Name == "stop_at_step" {
			continue
		}
		for value, fine := range map[float64]bool{*m.Min: true, *m.Max: true, *m.Max + float64(max(m.MultipleOf, 1)): false} {
			e := example(job.Generation)
			e[m.Name] = value
			text, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := job.Parse(text); (err == nil) != fine {
				t.Errorf("%s %g: %v", m.Name, value, err)
			}
		}
	}
}
