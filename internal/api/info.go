package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"waggle/internal/door"
	"waggle/internal/job"
)

// node returns the record of the node this server speaks for; empty, and
// starting, before it has written one.
func (s *Server) node(ctx context.Context) (job.Node, error) {
	nodes, err := s.Queue.Nodes(ctx)
	if err != nil {
		return job.Node{}, err
	}
	for _, n := range nodes {
		if n.ID == s.NodeID {
			return n, nil
		}
	}
	return job.Node{ID: s.NodeID, Status: job.Starting}, nil
}

// getHealth is GET /health: the process answers.
func (s *Server) getHealth(w http.ResponseWriter, _ *http.Request) {
	door.WriteJSON(w, http.StatusOK, job.Health{Status: "healthy", Timestamp: time.Now().UTC()})
}

// getReady is GET /ready: the node can make pictures now.
func (s *Server) getReady(w http.ResponseWriter, r *http.Request) {
	node, err := s.node(r.Context())
	if err != nil {
		s.fail(w, err)
		return
	}
	reason := node.Reason
	if s.Reachable != nil {
		if err := s.Reachable(); err != nil {
			node.Status, reason = job.Starting, err.Error()
		}
	}
	if node.Status.Available() {
		door.WriteJSON(w, http.StatusOK, job.Readiness{Ready: true, Timestamp: time.Now().UTC()})
		return
	}
	if reason == "" {
		reason = "model loading"
	}
	door.WriteJSON(w, http.StatusServiceUnavailable, job.Readiness{Reason: reason, Timestamp: time.Now().UTC()})
}

// getInfo is GET /info: the worker object of the protocol.
func (s *Server) getInfo(w http.ResponseWriter, r *http.Request) {
	node, err := s.node(r.Context())
	if err != nil {
		s.fail(w, err)
		return
	}
	node.Models, node.Samplers, node.Schedules = nil, nil, nil
	door.WriteJSON(w, http.StatusOK, node)
}

// getNodes is GET /v1/nodes.
func (s *Server) getNodes(w http.ResponseWriter, r *http.Request) {
	nodes, err := s.jobs.Nodes(r.Context())
	if err != nil {
		s.fail(w, err)
		return
	}
	door.WriteJSON(w, http.StatusOK, job.NodeList{Nodes: nodes})
}

// getModels is GET /v1/models: every model some node has, each once.
func (s *Server) getModels(w http.ResponseWriter, r *http.Request) {
	nodes, err := s.Queue.Nodes(r.Context())
	if err != nil {
		s.fail(w, err)
		return
	}
	door.WriteJSON(w, http.StatusOK, job.ModelList{Models: job.Models(nodes)})
}

// getSamplers is GET /v1/samplers.
func (s *Server) getSamplers(w http.ResponseWriter, r *http.Request) {
	node, err := s.node(r.Context())
	if err != nil {
		s.fail(w, err)
		return
	}
	door.WriteJSON(w, http.StatusOK, job.ChoiceList{Samplers: orEmpty(node.Samplers), Schedules: orEmpty(node.Schedules)})
}

// orEmpty is a list that is written as one where there is none.
func orEmpty[T any](list []T) []T { return append([]T{}, list...) }

// question is what the tokenizer is asked.
type question struct {
	Model string `json:"model,omitempty"` // the server's own, if it is empty or not known
	Text  string `json:"text"`            // at most 64 KiB
}

// tokenizeLimitBytes bounds the text of one question to the tokenizer.
const tokenizeLimitBytes = 64 << 10

// postTokenize is POST /v1/tokenize {model, text}.
func (s *Server) postTokenize(w http.ResponseWriter, r *http.Request) {
	body, release, ok := s.door.ReadJSON(w, r, s.BodyLimitBytes)
	defer release()
	if !ok {
		return
	}
	var q question
	err := json.Unmarshal(body, &q)
	if err != nil {
		err = job.Errorf(job.InvalidInput, "Failed to parse the request body as JSON: %w", err)
	} else if len(q.Text) > tokenizeLimitBytes {
		err = job.Errorf(job.InvalidInput, "Invalid input: text too long: %d bytes > %d", len(q.Text), tokenizeLimitBytes)
	}
	var tokens Tokens
	if err == nil {
		tokens, err = s.Tokenize(q.Model, q.Text)
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	door.WriteJSON(w, http.StatusOK, tokens)
}

// page is GET /, the page or whatever else stands there.
func (s *Server) page(w http.ResponseWriter, r *http.Request) { s.Page.ServeHTTP(w, r) }
