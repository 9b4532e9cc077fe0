package job

import (
	"encoding/json"
	"slices"
	"strings"
)

// Members are the members of a JSON object that a stranger sent, of no more
// values in all than an operation can have: a body of many tiny values takes
// many times its size in memory.
func Members(body []byte) (map[string]json.RawMessage, error) {
	if n := values(body); n > valuesLimit {
		return nil, parseError("more than %d values", valuesLimit)
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil || members == nil {
		return nil, parseError("the body must be a JSON object")
	}
	return members, nil
}

// UseKey makes a client's Idempotency-Key the job's id; an empty one changes
// nothing.
func (r *Request) UseKey(key string) error {
	switch {
	case key == "":
		return nil
	case !ValidID(key):
		return ErrKey
	case r.ID != "" && r.ID != ID(key):
		return Errorf(InvalidInput, "Invalid input: id and Idempotency-Key differ")
	}
	r.ID = ID(key)
	return nil
}

// ErrKey: an Idempotency-Key cannot be a job's id.
var ErrKey = Errorf(InvalidInput, "Invalid input: Idempotency-Key must be 1 to %d of A-Z a-z 0-9 _ -", idLimit)

// Suit gives sampler and schedule the names they have on a node, which may tell
// nothing of them yet. An error lists what there is.
func (r *Request) Suit(n Node) error {
	if len(n.Samplers) == 0 {
		return nil
	}
	sampler, schedule, ok := ChooseSampler(n.Samplers, n.Schedules, r.Sampler)
	if !ok {
		return unknownChoice("sampler", r.Sampler, n.Samplers)
	}
	if schedule.Name == "" {
		if schedule, ok = Choose(n.Schedules, r.Schedule); !ok {
			return unknownChoice("schedule", r.Schedule, n.Schedules)
		}
	}
	r.Sampler, r.Schedule = sampler.Name, schedule.Name
	return nil
}

func unknownChoice(what, name string, list []Choice) error {
	var names []string
	for _, c := range list {
		names = append(names, c.Name)
	}
	return Errorf(InvalidInput, "Invalid input: unknown %s %s; there are %s", what, quote(name), strings.Join(names, ", "))
}

// Models are the models of nodes, each once, as the first one that has it tells
// of it. It is loaded if any has it loaded.
func Models(nodes []Node) []ModelInfo {
	models := []ModelInfo{}
	for _, n := range nodes {
		for _, m := range n.Models {
			at := slices.IndexFunc(models, func(have ModelInfo) bool { return have.Name == m.Name })
			if at < 0 {
				models = append(models, m)
			} else {
				models[at].Loaded = models[at].Loaded || m.Loaded
			}
		}
	}
	return models
}
