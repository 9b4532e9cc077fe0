package api

import (
	"context"
	"net/http"

	"waggle/internal/door"
	"waggle/internal/job"
)

// postJob is POST /v1/jobs.
func (s *Server) postJob(w http.ResponseWriter, r *http.Request) {
	body, release, ok := s.door.ReadJSON(w, r, s.BodyLimitBytes)
	defer release()
	if !ok {
		return
	}
	record, err := s.submit(r.Context(), body, r.Header.Get("Idempotency-Key"), s.door.ClientOf(r))
	if err != nil {
		s.fail(w, err)
		return
	}
	door.WriteJSON(w, http.StatusOK, job.Accept(record.ID))
}

// submit checks an operation and queues it. key is a client's idempotency key.
func (s *Server) submit(ctx context.Context, body []byte, key, client string) (job.Record, error) {
	r, err := job.Parse(body)
	if err != nil {
		return job.Record{}, err
	}
	r.Client = client
	if err := r.UseKey(key); err != nil {
		return job.Record{}, err
	}
	if r.Webhook != nil {
		if err := s.Webhook(*r.Webhook); err != nil {
			return job.Record{}, err
		}
	}
	if err := s.suit(ctx, &r); err != nil {
		return job.Record{}, err
	}
	if err := s.jobs.Decodable(ctx, r); err != nil {
		return job.Record{}, err
	}
	return s.Queue.Submit(ctx, r)
}

func noWebhooks(job.Webhook) error {
	return job.Errorf(job.InvalidInput, "Invalid input: webhook.url: this server sends no webhooks")
}

// suit checks what depends on the node, its samplers and its tokenizer, and
// gives sampler and schedule their proper names. A node whose model is still
// loading has neither, and takes the job unseen.
func (s *Server) suit(ctx context.Context, r *job.Request) error {
	node, err := s.node(ctx)
	if err != nil {
		return err
	}
	if err := r.Suit(node); err != nil {
		return err
	}
	if err := s.within(ctx, *r, node); err != nil {
		return err
	}
	if s.Tokenize == nil || !node.Status.Available() {
		return nil
	}
	if err := s.fits("Prompt", r.Model, r.Prompt); err != nil {
		return err
	}
	return s.fits("Negative prompt", r.Model, r.NegativePrompt)
}

// within checks the bounds of the model that the job will run on: the one named,
// here or on another node, or else this node's own.
func (s *Server) within(ctx context.Context, r job.Request, node job.Node) error {
	m, ok := node.Model(r.Model)
	if ok && m.Name != r.Model {
		nodes, err := s.Queue.Nodes(ctx)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			if other, found := n.Model(r.Model); found && other.Name == r.Model && n.Status.Available() {
				m = other
			}
		}
	}
	return r.Within(m.Limits)
}

func (s *Server) fits(what, model, text string) error {
	tokens, err := s.Tokenize(model, text)
	if kind := job.KindOf(err); err != nil && (kind == job.ModelInvalid || kind == job.ModelNotFound) {
		return nil // the job will say so
	}
	if err != nil {
		return err
	}
	if tokens.Count > job.TokenLimit {
		return job.Errorf(job.InvalidInput, "Invalid input: %s too long: %d > %d", what, tokens.Count, job.TokenLimit)
	}
	return nil
}
