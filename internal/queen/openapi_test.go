package queen

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"waggle/internal/openapi/openapitest"
)

// asks asks, and holds the answer to the document.
func (h *harness) asks(doc *openapitest.Document, method, path, body string) (status int, text string) {
	h.Helper()
	r, err := http.NewRequestWithContext(h.Context(), method, h.url+path, strings.NewReader(body))
	if err != nil {
		h.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		h.Fatal(err)
	}
	defer answer.Body.Close()
	b := []byte{}
	if path != "/v1/heartbeats/stream" { // which has no end
		if b, err = io.ReadAll(answer.Body); err != nil {
			h.Fatal(err)
		}
	}
	if err := doc.Check(r, answer, string(b)); err != nil {
		h.Errorf("not as the document says: %v", err)
	}
	return answer.StatusCode, string(b)
}

// What the queen's document says is there answers, as it says.
func TestDocumentedRoutes(t *testing.T) {
	h := open(t, Config{Version: "v0", Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "text/plain") })})
	doc := openapitest.Load(t, h.table().Document(h.info()))
	routes := doc.Routes()
	if want := len(h.table()); len(routes) != want || want < 15 {
		t.Errorf("%d operations are documented, %d routes are there", len(routes), want)
	}
	if list := doc.Undescribed(); len(list) > 0 {
		t.Errorf("say what these are, in a comment behind the field: %q", list)
	}
	for _, r := range routes {
		if r.Path == "/v1/shutdown" {
			continue
		}
		status, body := h.asks(doc, r.Method, r.Path, "")
		if status == http.StatusMethodNotAllowed || status == http.StatusNotFound && body == "" {
			t.Errorf("%s %s is documented, and answered with %d", r.Method, r.Path, status)
		}
	}
	_, served := h.asks(doc, "GET", "/openapi.json", "")
	if got := openapitest.Load(t, []byte(served)); got.Info.Version != "v0" || got.Paths.Len() != doc.Paths.Len() {
		t.Errorf("served: version %q, %d paths", got.Info.Version, got.Paths.Len())
	}
}

// The answers that show most.
func TestAnswersOfTheDocument(t *testing.T) {
	h := open(t, Config{Version: "v0"})
	doc := openapitest.Load(t, h.table().Document(h.info()))
	h.worker(func(w io.Writer, _ *http.Request) {
		io.WriteString(w, "event: complete\ndata: {\"type\":\"complete\",\"image\":\"\",\"format\":\"png\"}\n\ndata: [DONE]\n\n")
	})
	done := h.post()
	h.read(done)
	for _, row := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/v1/jobs", "", 200},
		{"GET", "/v1/jobs/" + done, "", 200},
		{"GET", "/v1/jobs/" + done + "/stream", "", 200},
		{"GET", "/v1/nodes", "", 200},
		{"GET", "/v1/models", "", 200},
		{"GET", "/v1/info", "", 200},
		{"GET", "/health", "", 200},
		{"POST", "/v1/jobs", `{"operation":"status"}`, 200},
		{"POST", "/v1/jobs", `{`, 400},
		{"POST", "/v1/hive/ready", `{"hive_id":"h","hive_url":"http://127.0.0.1:9"}`, 200},
		{"POST", "/v1/hive/ready", `{"hive_id":"h","hive_url":"?"}`, 400},
		{"POST", "/v1/worker-heartbeat", `{"worker":{"id":"bee","model_id":"m","device":"CPU-0","port":9,"status":"ready","implementation":"w","version":"0"},"timestamp":"2025-11-14T20:00:00Z"}`, 200},
		{"POST", "/v1/worker-heartbeat", `{}`, 400},
		{"DELETE", "/v1/jobs/" + done, "", 404},
		{"PUT", "/v1/jobs", "", 405},
	} {
		if status, body := h.asks(doc, row.method, row.path, row.body); status != row.status {
			t.Errorf("%s %s %s: %d %.200q, want %d", row.method, row.path, row.body, status, body, row.status)
		}
	}
}

// The bounds of names that the document tells are those that are kept.
func TestNamesOfTheDocument(t *testing.T) {
	h := open(t, Config{Version: "v0"})
	doc := openapitest.Load(t, h.table().Document(h.info()))
	for _, name := range []string{"HiveReady.hive_id", "WorkerSelf.id", "WorkerSelf.model_id"} {
		component, member, _ := strings.Cut(name, ".")
		s := doc.Components.Schemas[component].Value.Properties[member].Value
		if s.MinLength != 1 || s.MaxLength == nil || *s.MaxLength != nameLimit {
			t.Errorf("%s: %d to %v bytes, want 1 to %d", name, s.MinLength, s.MaxLength, nameLimit)
		}
	}
}
