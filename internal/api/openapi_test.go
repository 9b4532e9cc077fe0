package api

import (
	"net/http"
	"testing"
	"time"

	"waggle/internal/door"
	"waggle/internal/job"
	"waggle/internal/openapi/openapitest"
)

// What the document says is there answers, as the document says; call holds every answer to it.
func TestDocumentedRoutes(t *testing.T) {
	h := start(t, script{}, func(c *Config) {
		c.Tokenize = func(_, text string) (Tokens, error) { return Tokens{Count: 1, Pieces: []string{text}}, nil }
		c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		})
		c.Docs = func([]byte) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "text/html") })
		}
	})
	routes := h.doc.Routes()
	if want := len(h.server.table()); len(routes) != want || want < 25 {
		t.Errorf("%d operations are documented, %d routes are there", len(routes), want)
	}
	if list := h.doc.Undescribed(); len(list) > 0 {
		t.Errorf("say what these are, in a comment behind the field: %q", list)
	}
	for _, r := range routes {
		a := h.call(r.Method, r.Path, "")
		if a.StatusCode == http.StatusMethodNotAllowed || a.StatusCode == http.StatusNotFound && a.body == "" {
			t.Errorf("%s %s is documented, and answered with %s", r.Method, r.Path, a.Status)
		}
	}
	served := h.get("/openapi.json")
	if doc := openapitest.Load(t, []byte(served.body)); doc.Info.Version != "v0" || doc.Paths.Len() != h.doc.Paths.Len() {
		t.Errorf("served: version %q, %d paths", doc.Info.Version, doc.Paths.Len())
	}
}

// The answers that show most, of jobs in several states.
func TestAnswersOfTheDocument(t *testing.T) {
	h := start(t, script{})
	done := h.submit(jobBody(`,"batch":2,"negative_prompt":"fog","variation":{"seed":3,"strength":0.5}`))
	h.follow(done)
	h.wants(h.call("DELETE", "/v1/jobs/"+h.submit(jobBody(`,"steps":150`)), ""), 200, "")
	for _, path := range []string{
		"/health", "/ready", "/info", "/v1/models", "/v1/samplers", "/v1/nodes", "/v1/jobs", "/v1/jobs?state=complete&limit=1",
		"/v1/jobs/" + done, "/v1/jobs/" + done + "/stream", "/v1/jobs/" + done + "/image/1", "/v1/jobs/" + done + "/image?thumb=16",
	} {
		h.wants(h.get(path), 200, "")
	}
	h.putNode(job.Starting)
	for deadline := time.Now().Add(10 * time.Second); h.get("/ready").StatusCode != 503; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a node that starts is ready")
		}
	}
	h.wants(h.call("POST", "/v1/jobs", "{"), 400, "")
	h.wants(h.call("POST", "/v1/jobs", "{}", "Content-Type: text/plain"), 415, "")
	h.wants(h.call("POST", "/v1/jobs/"+done+"/pause", ""), 409, "")
	h.wants(h.call("DELETE", "/v1/pictures/"+done, ""), 200, "")
	h.wants(h.get("/v1/jobs/"+done), 404, "")
	h.wants(h.call("PUT", "/v1/jobs", ""), 405, "")
}

// Whether a token is wanted is said by the document.
func TestDocumentOfKeys(t *testing.T) {
	open := start(t, script{})
	if got := len(open.doc.Security); got != 2 {
		t.Errorf("without keys: %d ways in, want none and a token", got)
	}
	closed := start(t, script{}, func(c *Config) { c.Door.Keys = []door.Key{{Secret: "honey"}} })
	if got := len(closed.doc.Security); got != 1 {
		t.Errorf("with a key: %d ways in, want a token", got)
	}
	for path, public := range map[string]bool{"/health": true, "/openapi.json": true, "/": true, "/v1/jobs": false, "/info": false} {
		if documented := closed.doc.Paths.Value(path).Get.Security != nil; documented != public {
			t.Errorf("%s: public by the document: %v", path, documented)
		}
		if answered := closed.get(path).StatusCode == 200; answered != public {
			t.Errorf("%s: public: %v", path, answered)
		}
	}
}
