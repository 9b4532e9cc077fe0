package engine

import (
	"slices"
	"strings"
	"testing"

	"waggle/internal/job"
)

// withModels has a node of three models, of which one is broken.
func withModels(r *rig, _ *Config) {
	var list []job.ModelInfo
	for _, name := range []string{"scripted", "second", "third"} {
		list = append(list, job.ModelInfo{Name: name})
	}
	r.node.SetModels(list, map[string]bool{"broken": true})
	r.loadErr["broken"] = job.Errorf(job.ModelInvalid, "model broken: truncated")
}

func (r *rig) loadedModels() (names []string) {
	for _, m := range r.told().Models {
		if m.Loaded {
			names = append(names, m.Name)
		}
	}
	return names
}

// A job runs on the model that it names. Models are kept within the budget, the
// one used longest ago goes first.
func TestModelSwitch(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		for _, row := range []struct{ model, loaded string }{
			{"scripted", "scripted"}, {"second", "scripted second"}, {"scripted", "scripted second"},
			{"third", "scripted third"}, {"second", "second third"},
		} {
			r.completes(r.submit("a", onModel(row.model)), 7, 4)
			if got := strings.Join(r.loadedModels(), " "); got != row.loaded {
				t.Errorf("after %s: loaded %q, want %q", row.model, got, row.loaded)
			}
		}
		if want := []string{"scripted", "second", "third", "second"}; !slices.Equal(r.done().loaded, want) {
			t.Errorf("loaded %v, want %v", r.done().loaded, want)
		}
	}, withModels, func(_ *rig, c *Config) { c.Memory = 11 * mib })
}

// Where memory is unknown there is one model at a time.
func TestOneModelAtATime(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		r.completes(r.submit("a", onModel("second")), 7, 4)
		if got := r.loadedModels(); !slices.Equal(got, []string{"second"}) {
			t.Errorf("loaded %v", got)
		}
	}, withModels)
}

// What does not fit after all makes the others go, and is tried once more.
func TestOutOfMemoryEvicts(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		r.completes(r.submit("a"), 7, 4)
		r.upset("b", times(1, outOfSpace))
		r.completes(r.submit("b", onModel("second")), 7, 4)
		if got := r.loadedModels(); !slices.Equal(got, []string{"second"}) {
			t.Errorf("loaded %v", got)
		}
		r.upset("c", times(1, outOfSpace))
		if record, _ := r.wait(r.submit("c", onModel("second"))); record.Kind != job.OutOfMemory {
			t.Errorf("with nothing to give back: %+v", record.Outcome)
		}
	}, withModels, func(_ *rig, c *Config) { c.Memory = 100 * mib })
}

// A name that no node knows runs on the node's own model, a broken model's job
// fails, and one that another node has is left to it.
func TestWhoseModel(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		r.queue.PutNode(t.Context(), job.Node{ID: "other", Status: job.Ready, Models: []job.ModelInfo{{Name: "theirs"}}})
		r.queue.PutNode(t.Context(), job.Node{ID: "ill", Status: job.Starting, Models: []job.ModelInfo{{Name: "nobody's"}}})
		theirs := r.submit("a", onModel("theirs"))
		r.completes(r.submit("b", onModel("unheard")), 7, 4)
		r.completes(r.submit("b", onModel("nobody's")), 7, 4)
		if record, _ := r.wait(r.submit("c", onModel("broken"))); record.Kind != job.ModelInvalid || !strings.Contains(record.Message, "truncated") {
			t.Errorf("%+v", record.Outcome)
		}
		if got := r.record(theirs).State; got != job.Queued {
			t.Errorf("the job for another node's model is %s", got)
		}
		if !slices.Equal(r.done().loaded, []string{"scripted", "broken"}) {
			t.Errorf("loaded %v", r.done().loaded)
		}
	}, withModels)
}

// Jobs of different models do not share steps.
func TestModelsDoNotMix(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		a, b := r.submit("a", steps(5)), r.submit("b", onModel("second"))
		r.completes(a, 7, 5)
		r.completes(b, 7, 4)
		if slices.Max(sizes(r.done().rounds)) != 1 {
			t.Errorf("rounds %v", r.done().rounds)
		}
	}, withModels, func(_ *rig, c *Config) { c.Memory = 100 * mib })
}

// The operator's name for the node's own model is as good as the model's; a job
// that goes by another node's is left to it.
func TestOperatorsName(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		r.queue.PutNode(t.Context(), job.Node{ID: "other", ModelID: "v2-1", Status: job.Ready, Models: []job.ModelInfo{{Name: "v1-5"}}})
		theirs := r.submit("a", onModel("v2-1"))
		r.completes(r.submit("b", onModel("v1-5")), 7, 4)
		if got := r.record(theirs).State; got != job.Queued {
			t.Errorf("the job for another node's model is %s", got)
		}
		if !slices.Equal(r.done().loaded, []string{"scripted"}) {
			t.Errorf("loaded %v", r.done().loaded)
		}
	}, withModels, func(r *rig, _ *Config) { r.node.record.ModelID = "v1-5" })
}
