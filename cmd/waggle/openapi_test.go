package main

import (
	"bytes"
	"net/http"
	"testing"

	"waggle/internal/openapi/openapitest"
)

// holds asks for each path, and holds what comes to the server's own document.
func (s *server) holds(paths ...string) {
	s.Helper()
	doc := openapitest.Load(s, s.ask(http.MethodGet, "/openapi.json", nil).body)
	if doc.Info.Version != version {
		s.Errorf("the document is of version %q, the program of %q", doc.Info.Version, version)
	}
	if page := s.ask(http.MethodGet, "/docs", nil); page.status != http.StatusOK || !bytes.Contains(page.body, []byte("/v1/jobs/{id}/stream")) {
		s.Errorf("GET /docs: %d %.100q", page.status, page.body)
	}
	for _, path := range paths {
		r, err := http.NewRequest(http.MethodGet, s.url+path, nil)
		if err != nil {
			s.Fatal(err)
		}
		a := s.ask(http.MethodGet, path, nil)
		if err := doc.Check(r, &http.Response{StatusCode: a.status, Header: a.header, Request: r}, string(a.body)); err != nil {
			s.Errorf("not as the document says: %v", err)
		}
		if a.status != http.StatusOK {
			s.Errorf("GET %s: %d %.200q", path, a.status, a.body)
		}
	}
}

// testDocument: what the program tells of real models and jobs is what its document says.
func testDocument(t *testing.T, s *server) {
	id, stream := s.post(star(fields{"steps": 2}))
	s.finished(stream)
	s.holds("/", "/health", "/ready", "/info", "/metrics", "/v1/models", "/v1/samplers", "/v1/nodes", "/v1/jobs", "/v1/jobs/"+id, "/v1/jobs/"+id+"/image", stream)
}

// TestQueenDocument: the same of a queen who knows a hive and a worker, and has had a job.
func TestQueenDocument(t *testing.T) {
	s, w := startQueen(t), newWorker(t)
	newHive(t).join(s, w)
	s.made(lighthouse(nil))
	s.holds("/", "/health", "/metrics", "/v1/info", "/v1/models", "/v1/nodes", "/v1/jobs")
}
