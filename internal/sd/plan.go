package sd

import (
	"errors"
	"fmt"

	"waggle/internal/nn"
	"waggle/internal/weights"
)

// Plan is what pictures drawn together need on the device, part by part, in the order of use.
type Plan struct {
	Parts []PartPlan `json:"parts"`
	// Phases are the bytes on the device while a first picture is encoded, stepped and decoded.
	Phases []Phase `json:"phases"`
	// Budget in bytes that this keeps to; 0 where there is none.
	Budget int64 `json:"budget,omitempty"`
	// Unloads says that networks leave the device when others' turns come, and return when theirs do.
	Unloads bool `json:"unloads,omitempty"`
	// SmallerBatches is the memory in bytes of the programs for fewer pictures than all: they come into use as pictures end,
	// or when some samplers ask the network twice a step. 0 for one picture.
	SmallerBatches int64 `json:"smaller_batches,omitempty"`
}

// PartPlan is the need of one network.
type PartPlan struct {
	Name string `json:"name"`
	Runs int    `json:"runs"`           // one after another for the whole batch, so that less is there at a time
	Band int    `json:"band,omitempty"` // most bytes of a value that are there at a time; the rest is in the host's memory
	nn.MemoryPlan
}

// Phase of a picture.
type Phase struct {
	Name  string `json:"name"` // encode, step or decode
	Bytes int64  `json:"bytes"`
}

// Total is the most that is on the device at a time, in bytes: within the budget, if there is one; else all weights, and
// activations up to the limit at which those of other programs are given back.
func (p Plan) Total() int64 {
	weights, together, largest := int64(0), p.SmallerBatches, int64(0)
	for _, part := range p.Parts {
		weights += part.Weights
		together += part.Activations()
		largest = max(largest, part.Activations())
	}
	total := weights + min(together, max(activationLimit, largest))
	if p.Budget > 0 {
		return min(total, p.Budget)
	}
	return total
}

// Peak is the most that is on the device while a first picture is drawn, in bytes.
func (p Plan) Peak() (most int64) {
	for _, phase := range p.Phases {
		most = max(most, phase.Bytes)
	}
	return most
}

// Flops counts the floating-point operations of a picture of so many steps, in a plan for one: products and attention only.
func (p Plan) Flops(steps int) int64 {
	total := int64(0)
	for _, part := range p.Parts {
		total += part.JobFlops + int64(steps)*part.StepFlops
	}
	return total
}

// Plan computes what drawing so many pictures of the request's shape together would allocate, without allocating anything.
// What cannot fit the budget is a BudgetError.
func (p *Pipeline) Plan(r Request, batch int) (Plan, error) {
	s, err := p.settle(r)
	if err != nil {
		return Plan{}, err
	}
	if batch < 1 {
		return Plan{}, fmt.Errorf("a batch of %d: want 1 or more", batch)
	}
	shape, err := p.shape(s)
	if err != nil {
		return Plan{}, err
	}
	plan := Plan{Budget: p.budget}
	device := &stock{budget: p.budget, weights: map[weights.Source]int64{}}
	var worst error
	vae, err := p.decoder(s.VAE)
	if err != nil {
		return Plan{}, err
	}
	for _, n := range append(p.parts(s, shape, batch), vae.part(s.height, s.width)) {
		if err := plan.add(p, n, device); err != nil {
			worst = worse(worst, fmt.Errorf("%s: %w", n.name, err))
		}
	}
	if worst != nil {
		return Plan{}, worst
	}
	plan.SmallerBatches, err = p.smallerBatches(s, shape, batch)
	return plan, err
}

// worse is the error that says more of what would do: of two refusals the one that needs more.
func worse(a, b error) error {
	var one, other *BudgetError
	if a == nil || errors.As(a, &one) && (!errors.As(b, &other) || other.Least > one.Least) {
		return b
	}
	return a
}

// add plans a part, whose turn comes after those before it.
func (plan *Plan) add(p *Pipeline, n part, device *stock) error {
	w, err := p.fit(n)
	if err != nil {
		return err
	}
	w.need.Missing = w.need.Weights // a plan begins with an empty device
	out := device.add(n.name, p.precise(n.source), w.need)
	plan.Unloads = plan.Unloads || len(out.weights) > 0
	plan.Parts = append(plan.Parts, PartPlan{n.name, w.runs, w.saving.Band, w.need})
	phase := Phase{n.phase, device.bytes()}
	if last := len(plan.Phases) - 1; last >= 0 && plan.Phases[last].Name == phase.Name {
		plan.Phases[last].Bytes = max(plan.Phases[last].Bytes, phase.Bytes)
		return nil
	}
	plan.Phases = append(plan.Phases, phase)
	return nil
}

// parts are the networks of a picture up to its latent, in the order of use.
func (p *Pipeline) parts(s settings, shape Shape, batch int) (parts []part) {
	for i, text := range p.networks.text {
		parts = append(parts, part{fmt.Sprintf("text encoder %d", i+1), "encode", s.loras.source(text.tensors), 1, func(int) *nn.Graph {
			return textGraph(text, text.config.skip(s.ClipSkip))
		}, false})
	}
	return append(parts, p.unetPart(shape, s.loras, batch))
}

// unetPart is the UNet of so many drawings of a shape.
func (p *Pipeline) unetPart(s Shape, set *loraSet, batch int) part {
	factor := p.networks.vae.config.Factor()
	return part{"unet", "step", set.source(p.networks.unet.tensors), batch * s.Passes, func(rows int) *nn.Graph {
		return unetGraph(p.networks.unet, rows, s.Height/factor, s.Width/factor, s.Tokens)
	}, false}
}

// smallerBatches is the memory of the programs for 1 to batch-1 drawings, as far as they are kept at a time.
func (p *Pipeline) smallerBatches(s settings, shape Shape, batch int) (bytes int64, err error) {
	for n := batch - 1; n > 0 && bytes < activationLimit; n-- {
		w, err := p.fit(p.unetPart(shape, s.loras, n))
		if err != nil {
			return 0, fmt.Errorf("unet: %w", err)
		}
		bytes += w.need.Activations()
	}
	return bytes, nil
}
