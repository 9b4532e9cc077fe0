package api

import (
	"context"
	"net/http"
	"strings"

	"waggle/internal/door"
	"waggle/internal/job"
)

// submitted is the answer to a submission.
type submitted struct {
	JobID  job.ID `json:"job_id"`
	SSEURL string `json:"sse_url"`
}

func streamURL(id job.ID) string { return "/v1/jobs/" + string(id) + "/stream" }

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
	door.WriteJSON(w, http.StatusOK, submitted{record.ID, streamURL(record.ID)})
}

// submit checks an operation and queues it. key is a client's idempotency key.
func (s *Server) submit(ctx context.Context, body []byte, key, client string) (job.Record, error) {
	r, err := job.Parse(body)
	if err != nil {
		return job.Record{}, err
	}
	r.Client = client
	if key != "" {
		if err := useKey(&r, key); err != nil {
			return job.Record{}, err
		}
	}
	if r.Webhook != nil {
		if err := s.Webhook(*r.Webhook); err != nil {
			return job.Record{}, err
		}
	}
	if err := s.suit(ctx, &r); err != nil {
		return job.Record{}, err
	}
	if err := s.decodable(ctx, r); err != nil {
		return job.Record{}, err
	}
	return s.Queue.Submit(ctx, r)
}

func noWebhooks(job.Webhook) error {
	return job.Errorf(job.InvalidInput, "Invalid input: webhook.url: this server sends no webhooks")
}

// useKey makes an Idempotency-Key header the job's id.
func useKey(r *job.Request, key string) error {
	if !job.ValidID(key) {
		return job.Errorf(job.InvalidInput, "Invalid input: Idempotency-Key must be 1 to 64 of A-Z a-z 0-9 _ -")
	}
	if r.ID != "" && r.ID != job.ID(key) {
		return job.Errorf(job.InvalidInput, "Invalid input: id and Idempotency-Key differ")
	}
	r.ID = job.ID(key)
	return nil
}

// suit checks what depends on the node, its samplers and its tokenizer, and
// gives sampler and schedule their proper names. A node whose model is still
// loading has neither, and takes the job unseen.
func (s *Server) suit(ctx context.Context, r *job.Request) error {
	node, err := s.node(ctx)
	if err != nil {
		return err
	}
	if len(node.Samplers) > 0 {
		if err := choose(r, node); err != nil {
			return err
		}
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

func choose(r *job.Request, node job.Node) error {
	sampler, schedule, ok := job.ChooseSampler(node.Samplers, node.Schedules, r.Sampler)
	if !ok {
		return unknown("sampler", r.Sampler, node.Samplers)
	}
	if schedule.Name == "" {
		if schedule, ok = job.Choose(node.Schedules, r.Schedule); !ok {
			return unknown("schedule", r.Schedule, node.Schedules)
		}
	}
	r.Sampler, r.Schedule = sampler.Name, schedule.Name
	return nil
}

func unknown(what, name string, list []job.Choice) error {
	var names []string
	for _, c := range list {
		names = append(names, c.Name)
	}
	return job.Errorf(job.InvalidInput, "Invalid input: unknown %s %q; there are %s", what, name, strings.Join(names, ", "))
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
