package openapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// Info is what a document says of its server.
type Info struct {
	Title, Version, Description string
	// Tags are the groups of routes in the order in which they are shown.
	Tags []Tag
	// Keyed says that the server asks for a token.
	Keyed bool
}

// Tag is a group of routes.
type Tag struct{ Name, Description string }

// bearer is the name of the one security scheme.
const bearer = "bearer"

// document is an OpenAPI document in the making.
type document struct {
	types    huma.Registry
	comments map[string]string
	used     map[int]bool // shared answers
}

// Document is the OpenAPI 3.1 document of the table, as JSON. It panics where a
// row cannot be described: the rows are part of the program.
func (t Table) Document(info Info) []byte {
	d := newDocument()
	api := huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info:    &huma.Info{Title: info.Title, Version: info.Version, Description: info.Description},
		Servers: []*huma.Server{{URL: "/", Description: "this server"}},
		Paths:   map[string]*huma.PathItem{},
		// A token is shown where the server was started with one.
		Security: []map[string][]string{{bearer: {}}},
	}
	if !info.Keyed {
		api.Security = append([]map[string][]string{{}}, api.Security...)
	}
	for _, tag := range info.Tags {
		api.Tags = append(api.Tags, &huma.Tag{Name: tag.Name, Description: tag.Description})
	}
	for _, r := range t {
		item := api.Paths[r.path()]
		if item == nil {
			item = &huma.PathItem{}
			api.Paths[r.path()] = item
		}
		r.place(item, d.operation(r))
	}
	responses := d.sharedResponses(d.used)
	d.finish()
	api.Components = &huma.Components{
		Schemas:   d.types,
		Responses: responses,
		SecuritySchemes: map[string]*huma.SecurityScheme{
			bearer: {Type: "http", Scheme: "bearer", Description: "A token of the server, as its operator gave it out."},
		},
	}
	b, err := json.MarshalIndent(&api, "", " ")
	if err != nil {
		panic("openapi: " + err.Error())
	}
	return append(b, '\n')
}

// place puts an operation where its method belongs.
func (r Route) place(item *huma.PathItem, o *huma.Operation) {
	at, ok := map[string]**huma.Operation{
		http.MethodGet: &item.Get, http.MethodPost: &item.Post, http.MethodPut: &item.Put, http.MethodDelete: &item.Delete, http.MethodPatch: &item.Patch,
	}[r.Method]
	if !ok || *at != nil {
		panic(fmt.Sprintf("openapi: route %s: its method is not known, or it is there twice", r.pattern()))
	}
	*at = o
}

func (d *document) operation(r Route) *huma.Operation {
	o := &huma.Operation{
		OperationID: r.Name, Tags: []string{r.Tag}, Summary: r.Summary, Description: r.Description,
		Responses: map[string]*huma.Response{},
	}
	if r.Public {
		o.Security = []map[string][]string{}
	}
	for _, p := range r.params() {
		o.Parameters = append(o.Parameters, d.param(p))
	}
	if r.Body != nil {
		o.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": d.body(r.Body)}}
	}
	for _, a := range r.Answers {
		o.Responses[strconv.Itoa(a.Status)] = d.answer(a)
	}
	for _, status := range r.errors() {
		if o.Responses[strconv.Itoa(status)] == nil { // what the route says of it itself is more
			d.used[status] = true
			o.Responses[strconv.Itoa(status)] = &huma.Response{Ref: "#/components/responses/" + shared[status].name}
		}
	}
	return o
}

// errors are the route's own, and those which the guard and the reading of bodies give.
func (r Route) errors() []int {
	all := slices.Clone(r.Errors)
	all = append(all, http.StatusForbidden)
	if !r.Public {
		all = append(all, http.StatusUnauthorized, http.StatusTooManyRequests)
	}
	if r.Body != nil {
		all = append(all, http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusServiceUnavailable)
	}
	return all
}

// params are the route's own, after those of its path that have no row of their own.
func (r Route) params() []Param {
	var all []Param
	for part := range strings.SplitSeq(r.path(), "/") {
		name, ok := strings.CutPrefix(part, "{")
		if name = strings.TrimSuffix(name, "}"); !ok || slices.ContainsFunc(r.Params, func(p Param) bool { return p.Name == name }) {
			continue
		}
		all = append(all, Param{Name: name, In: "path", Description: pathParams[name], Type: ""})
	}
	return append(all, r.Params...)
}

// pathParams are parts of paths that mean the same everywhere.
var pathParams = map[string]string{
	"id":   "The job's id.",
	"file": "Name of the file.",
}

func (d *document) param(p Param) *huma.Param {
	s := d.schema(p.Type)
	if p.Min != p.Max {
		s.Minimum, s.Maximum = number(p.Min), number(p.Max)
	}
	s.Pattern = p.Pattern
	return &huma.Param{Name: p.Name, In: p.In, Description: p.Description, Required: p.Required || p.In == "path", Schema: s}
}

func number(n int) *float64 {
	f := float64(n)
	return &f
}

func (d *document) body(v any) *huma.MediaType {
	if o, ok := v.(Operations); ok {
		return d.operations(o.Others)
	}
	return &huma.MediaType{Schema: d.schema(v)}
}

// eventSchema is one event, which is how readers of such documents take the
// schema of a stream. It says nothing of the stream as one text.
func eventSchema() *huma.Schema {
	text := func(words string) *huma.Schema { return &huma.Schema{Type: huma.TypeString, Description: words} }
	return &huma.Schema{Description: "One event of the stream.", Properties: map[string]*huma.Schema{
		"event": text("The event's name."), "id": text("Its number."), "data": text("JSON, or the mark of the stream's end."),
	}}
}

func (d *document) answer(a Answer) *huma.Response {
	response := &huma.Response{Description: a.Description}
	switch {
	case a.Body != nil:
		response.Content = map[string]*huma.MediaType{"application/json": {Schema: d.schema(a.Body)}}
	case a.Type != "":
		content := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
		switch {
		case a.Data != nil:
			content.Schema = eventSchema()
		case !strings.HasPrefix(a.Type, "text/"):
			content.Schema = &huma.Schema{} // bytes: any
		}
		if a.Data != nil { // each event's data; 3.1 has no word for it
			content.Extensions = map[string]any{"x-event-data": d.schema(a.Data)}
		}
		response.Content = map[string]*huma.MediaType{a.Type: content}
	}
	return response
}
