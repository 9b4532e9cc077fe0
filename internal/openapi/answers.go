package openapi

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// shared are the answers that many routes give, by status.
var shared = map[int]struct{ name, text string }{
	http.StatusBadRequest: {"BadRequest",
		"The request is not what it should be, or a value is out of its bounds; the text names the member and what is allowed."},
	http.StatusUnauthorized: {"Unauthorized", "The server wants a token, and none of its own came with the request."},
	http.StatusForbidden:    {"Forbidden", "The server is not reached by that name, or a site that it does not know calls."},
	http.StatusNotFound:     {"NotFound", "There is no such thing, or no more."},
	http.StatusConflict:     {"Conflict", "The id belongs to other content, or the job is in no state for this."},
	http.StatusRequestEntityTooLarge: {"TooLarge",
		"The body has more bytes than this server takes."},
	http.StatusUnsupportedMediaType: {"UnsupportedMediaType", "The body is not `application/json`."},
	http.StatusUpgradeRequired:      {"UpgradeRequired", "The route is a WebSocket, and the request does not ask for one."},
	http.StatusTooManyRequests: {"TooManyRequests",
		"This client asks too often, or too many wrong tokens came from its address. Try again after `Retry-After` seconds."},
	http.StatusServiceUnavailable: {"Unavailable",
		"There is no room now, the servers that keep jobs cannot be reached, or this one stops. Try again after `Retry-After` seconds."},
}

// refusal is the body of a 401.
type refusal struct {
	Error refusalReason `json:"error"` // why
}

// refusalReason is why a request was refused.
type refusalReason struct {
	Code    string `json:"code"`    // always `unauthorized`
	Message string `json:"message"` // what to do
}

// sharedResponses describes those that some route gives.
func (d *document) sharedResponses(used map[int]bool) map[string]*huma.Response {
	all := map[string]*huma.Response{}
	for status := range used {
		s := shared[status]
		response := &huma.Response{Description: s.text, Content: plainText()}
		switch status {
		case http.StatusUnauthorized:
			response.Content = map[string]*huma.MediaType{"application/json": {Schema: d.schema(refusal{})}}
			response.Headers = map[string]*huma.Header{"WWW-Authenticate": header("How to show a token: `Bearer`.", huma.TypeString)}
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			response.Headers = map[string]*huma.Header{"Retry-After": required(header("Seconds to wait.", huma.TypeInteger))}
		}
		all[s.name] = response
	}
	return all
}

// required is a header that every such answer has.
func required(h *huma.Header) *huma.Header {
	h.Required = true
	return h
}

func header(text, kind string) *huma.Header {
	return &huma.Header{Description: text, Schema: &huma.Schema{Type: kind}}
}

func plainText() map[string]*huma.MediaType {
	return map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString, Description: "One line for people."}}}
}
