// Package openapitest holds servers to their OpenAPI documents: for tests.
package openapitest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
)

// Document is an OpenAPI document that is valid.
type Document struct {
	*openapi3.T
	router routers.Router
}

// Load reads a document, and fails the test where it is none by the standard,
// or an example in it is not what its schema says.
func Load(t testing.TB, text []byte) *Document {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatalf("read the document: %v", err)
	}
	if err := doc.Validate(context.Background(), openapi3.EnableExamplesValidation()); err != nil {
		t.Fatalf("the document is not valid: %v", err)
	}
	for _, s := range doc.Components.Schemas {
		if s.Value.Type.Is("object") && len(s.Value.Properties) > 0 {
			s.Value.AdditionalProperties.Has = new(bool) // here nothing else may be there
		}
	}
	doc.Servers = nil
	router, err := legacy.NewRouter(doc)
	if err != nil {
		t.Fatalf("routes of the document: %v", err)
	}
	openapi3filter.RegisterBodyDecoder("*/*", asText)
	return &Document{doc, router}
}

// asText is the body of pages, pictures and streams.
func asText(body io.Reader, _ http.Header, _ *openapi3.SchemaRef, _ openapi3filter.EncodingFn) (any, error) {
	b, err := io.ReadAll(body)
	return string(b), err
}

// Check reports what is wrong with an answer to a request: its status or
// content type, a header or a member that the document does not know, or lacks.
// What no route takes must be answered so, without a body.
func (d *Document) Check(request *http.Request, answer *http.Response, body string) error {
	route, variables, err := d.router.FindRoute(request)
	if err != nil || !proper(request.URL.Path, variables) {
		return checkNoRoute(answer, body)
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: request, PathParams: variables, Route: route},
		Status:                 answer.StatusCode, Header: answer.Header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	}
	input.SetBodyBytes([]byte(body))
	if err := openapi3filter.ValidateResponse(context.Background(), input); err != nil {
		return fmt.Errorf("%s %s, answered with %d: %w", request.Method, request.URL.Path, answer.StatusCode, err)
	}
	return nil
}

// proper reports whether a path is written as its route is: the document's
// router overlooks slashes.
func proper(written string, variables map[string]string) bool {
	for _, v := range variables {
		if v == "" {
			return false
		}
	}
	return path.Clean(written) == written
}

// refusals are what a guard answers to anything.
var refusals = []int{http.StatusUnauthorized, http.StatusForbidden}

func checkNoRoute(answer *http.Response, body string) error {
	absent := answer.StatusCode == http.StatusNotFound || answer.StatusCode == http.StatusMethodNotAllowed
	switch request := answer.Request; {
	case absent && (body == "" || path.Clean(request.URL.Path) != request.URL.Path), slices.Contains(refusals, answer.StatusCode):
		return nil
	case request.Method == http.MethodHead, request.Method == http.MethodOptions: // GET without its body; before another site's call
		return nil
	case answer.StatusCode/100 == 3: // to the proper form of its path
		return nil
	default:
		return fmt.Errorf("%s %s is not in the document, and was answered with %d %.200q", request.Method, request.URL.Path, answer.StatusCode, body)
	}
}

// Route is an operation of a document.
type Route struct{ Method, Path string }

// Routes lists all operations, their paths with examples for what is variable.
func (d *Document) Routes() (list []Route) {
	for written, item := range d.Paths.Map() {
		for method := range item.Operations() {
			list = append(list, Route{method, strings.NewReplacer("{id}", "nobody", "{index}", "0", "{file}", "app.css").Replace(written)})
		}
	}
	slices.SortFunc(list, func(a, b Route) int { return strings.Compare(a.Path+a.Method, b.Path+b.Method) })
	return list
}

// Undescribed lists the types and members of which the document says nothing.
func (d *Document) Undescribed() (list []string) {
	for name, s := range d.Components.Schemas {
		if s.Value.Description == "" {
			list = append(list, name)
		}
		for member, m := range s.Value.Properties {
			if m.Value.Description == "" {
				list = append(list, name+"."+member)
			}
		}
	}
	slices.Sort(list)
	return list
}
